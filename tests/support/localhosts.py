"""Two hosts that are both this machine, with shards of one run, and the run directory that knows of them."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from provision.catalog.types import SourceFile
from provision.finish.gather import Gathered, gather
from provision.finish.placement import coverage_of, manifest_of, place
from provision.hosts import Host
from provision.plan.hostjob import job_of
from provision.plan.ledger import Entry, Ledger, read_ledger
from provision.plan.plan import HostPlan, Plan
from provision.plan.rundir import RunDirectory
from provision.reach.ssh.config import write_ssh_config
from shard.host.commits import commits_of
from shard.pipeline import Counters, Workplace, write_unit
from shard.records.frozen import canonical_json
from shard.records.job import Holdout
from shard.records.options import Options
from shard.source.download import Scratch
from shard.storage.store import open_store, scratch_of
from shard.tokenizer.load import load_tokenizer
from tests.support.jobs import files_dataset, files_units, write_corpus
from tests.support.plans import plan_of

FIRST, SECOND = "127.0.0.1", "127.0.0.2"
UNITS = 6


@dataclass(frozen=True)
class Cluster:
    """Two hosts with directories of their own, half of the units each, and a run directory."""

    plan: Plan
    run: RunDirectory

    def host(self, name: str) -> HostPlan:
        return next(host for host in self.plan.hosts if host.name == name)

    def train(self, name: str) -> Path:
        return Path(self.host(name).output_dir)

    def holdout(self, name: str) -> Path:
        return Path(self.host(name).holdout_dir)

    def job_directory(self, name: str) -> Path:
        return Path(self.plan.job_directory(name)).expanduser()

    def units(self, name: str) -> list[int]:
        return sorted(int(path.stem) for path in self.train(name).glob("[0-9]*.json"))

    def copy(self, unit: int, source: str, target: str) -> None:
        """Have a second host commit a unit, too."""
        for directory in (self.train, self.holdout):
            for file in directory(source).glob(f"{unit:06d}.*"):
                shutil.copy(file, directory(target))

    def gather(self, without: tuple[str, ...] = ()) -> Gathered:
        return gather(self.run, self.plan, without=without)

    def known(self, *names: str) -> Gathered:
        """What gathering from these hosts would find, without asking them."""
        found = {name: commits_of(job_of(self.plan, self.host(name))) for name in names}
        ledger = self.commits()
        placement = place(self.plan, found, ledger)
        coverage = coverage_of(self.plan, placement)
        return Gathered(manifest_of(self.plan, placement, coverage, asked=names, twice=()), placement, found, {}, ())

    def commits(self) -> Ledger:
        """What the ledger says when all has been heard."""
        return {
            commit.counts.unit: Entry(host.name, commit.counts)
            for host in self.plan.hosts
            for commit in commits_of(job_of(self.plan, host)).units
        }

    def ledger(self) -> Ledger:
        return read_ledger(self.run.ledger, self.plan.fingerprint)


def host_in(root: Path, name: str) -> Host:
    return Host(name=name, ranks=2, output_dir=str(root / name / "train"), holdout_dir=str(root / name / "holdout"))


def write_plan_of(root: Path, documents: Sequence[str | None], options: Options = Options()) -> Plan:  # noqa: B008  frozen
    """Have both hosts write their units, below `root`. Returns the plan by which they did."""
    corpus = write_corpus(root / "corpus", documents, files=UNITS)
    files = [SourceFile(path=u.path, size=u.size, content_id=u.content_id) for u in files_units(corpus)]
    plan = plan_of(
        [host_in(root, FIRST), host_in(root, SECOND)],
        files=files,
        dataset=files_dataset(corpus),
        holdout=Holdout(rate=0.3),
        local_python=sys.executable,
        options=options,
    )
    for host in plan.hosts:
        job = job_of(plan, host)
        with open_store(job) as directories:
            place_ = Workplace(
                job=job,
                rank=host.first_rank,
                tokenizer=load_tokenizer(job.tokenizer, root),
                directories=directories,
                scratch=Scratch(scratch_of(job, directories)),
                counters=Counters(),
                locations={},
            )
            for unit in job.units:
                write_unit(place_, unit).commit()
    return plan


def copied(root: Path, written: Plan, target: Path) -> Cluster:
    """Copies of those directories, free to be changed, with jobs below this user's home."""
    hosts = []
    for host in written.hosts:
        shutil.copytree(root / host.name, target / host.name)
        moved = host_in(target, host.name)
        hosts.append(replace(host, output_dir=moved.output_dir, holdout_dir=moved.holdout_dir))
    cluster = Cluster(replace(written, hosts=tuple(hosts)), RunDirectory(target / "run"))
    cluster.run.make()
    cluster.run.write_plan(cluster.plan)
    write_ssh_config(cluster.run.ssh_config, [host.host for host in hosts], user_config=None)
    for host in cluster.plan.hosts:
        cluster.job_directory(host.name).mkdir(parents=True)
        (cluster.job_directory(host.name) / "job.json").write_bytes(canonical_json(job_of(cluster.plan, host)))
    return cluster
