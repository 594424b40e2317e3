"""`shardfleet dedup RUN`: duplicates among the shards of several hosts, found here and left out there."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from shard.dedup.run import deduplicate, open_pair
from shard.records.dedup import Kind, Scheme, Scope, Settings
from shard.tokenizer.raw_bytes import ByteReference
from tests.support.deduped import (
    DATASETS,
    EACH,
    asked,
    dedup_argv,
    first_run,
    is_first,
    lists,
    made,
    once_on_one_machine,
    wait_for,
    wanted,
)
from tests.support.fleet import Fleet, running_fleet
from tests.support.plans import tree_of

pytestmark = pytest.mark.ssh


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, copies_hub: Path) -> Iterator[Fleet]:
    """Two hosts whose run is complete, with signatures."""
    with running_fleet(tmp_path_factory.mktemp("dedup"), copies_hub, {"alpha": 2, "beta": 1}) as fleet:
        done = fleet.launch("--plain", "--signatures", *DATASETS)
        assert done.returncode == 0, done.stdout + done.stderr
        yield fleet


@pytest.fixture(scope="module")
def expected(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What deduplication on one machine makes of all shards together: `removed`, `once`, `once_holdout`."""
    return once_on_one_machine(fleet, tmp_path_factory.mktemp("expected"))


def test_as_on_one_machine(fleet: Fleet, expected: Path) -> None:
    """Removal lists, payloads, indexes and fingerprint are those of one machine that has all shards; the estimate comes
    first, and every row of the dataset is accounted for."""
    done = fleet.run(*dedup_argv(fleet, "once", "--plain"), timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stderr.split())
    assert "8 bands of 8 rows" in said and " documents would go, " in said
    assert lists(fleet) == tree_of(expected / "removed")
    assert made(fleet, "once") == wanted(expected)
    (run,) = (run for run in (fleet.directory / "runs").iterdir() if not is_first(run))
    checked = fleet.call("verify", str(run))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert all(any((home / fleet.base / "once").glob("*.bin")) for home in fleet.homes.values())


def test_again_changes_nothing(fleet: Fleet, expected: Path) -> None:
    """The same command again finds every unit written, fetches no keys, and leaves the same bytes."""
    keys = {path: path.stat().st_mtime_ns for path in (fleet.directory / "runs").glob("*/dedup-*/keys/*")}
    again = fleet.run(*dedup_argv(fleet, "once", "--json"), timeout=120)
    assert again.returncode == 0, again.stdout + again.stderr
    assert '"event":"run_done"' in again.stdout.replace(" ", "") and '"event":"unit_done"' not in again.stdout
    assert len(keys) == 12 and {path: path.stat().st_mtime_ns for path in keys} == keys
    assert made(fleet, "once") == wanted(expected)


def test_guard_and_dry_run(fleet: Fleet) -> None:
    """Where more would go than is allowed, and in a dry run, nothing is written on any host."""
    before = {host: sorted(path.name for path in (home / fleet.base).iterdir()) for host, home in fleet.homes.items()}
    dry = fleet.run(*dedup_argv(fleet, "other", "--dry-run", "--max-removed", "1%"), timeout=60)
    assert dry.returncode == 0 and " documents would go, 21." in dry.stderr, dry.stderr
    refused = fleet.run(*dedup_argv(fleet, "other", "--max-removed", "1%"), timeout=60)
    assert refused.returncode == 2 and "more than --max-removed 1.00%" in refused.stderr
    taken = fleet.run(*dedup_argv(fleet, "shards"), timeout=60)
    assert taken.returncode == 2 and "has shards there" in taken.stderr
    after = {host: sorted(path.name for path in (home / fleet.base).iterdir()) for host, home in fleet.homes.items()}
    assert after == before


def test_a_script_that_was_not_run(fleet: Fleet) -> None:
    """A plan made anew, and not started, has other directories: refused before anything is made or said of them, by
    gather and verify too. Other ranks, another order, one more host do not matter."""
    hosts = fleet.directory / "hosts.txt"
    before = hosts.read_text()
    script = fleet.argv("script", "--signatures", *DATASETS)
    hosts.write_text(f"alpha 2\nbeta 1 output_dir=~/{fleet.base}/moved holdout_dir=~/{fleet.base}/moved_holdout\n")
    assert fleet.run(*script).returncode == 0
    run = first_run(fleet).name
    refused = fleet.run(*dedup_argv(fleet, "never"), timeout=60)
    assert refused.returncode == 2 and f"{fleet.base}/moved and " in refused.stderr, refused.stderr
    assert fleet.call("gather", run).returncode == fleet.call("verify", run).returncode == 1
    assert not [
        path.name for path in (fleet.homes["beta"] / fleet.base).iterdir() if path.name[:5] in ("moved", "never")
    ]
    hosts.write_text("localhost 1\nbeta 3\nalpha 1\n")
    assert fleet.run(*script).returncode == 0
    lists_before = lists(fleet)
    done = fleet.run(*dedup_argv(fleet, "never", "--dry-run"), timeout=60)
    assert done.returncode == 0 and lists(fleet) == lists_before, done.stderr
    hosts.write_text(before)
    assert fleet.run(*script).returncode == 0


def test_ctrl_c_while_hosts_write(fleet: Fleet, expected: Path) -> None:
    """Ctrl+C while hosts write what is left stops all of them, proven; the same command goes on with what is there."""
    before = set((fleet.directory / "runs").iterdir())
    running = fleet.begin(dedup_argv(fleet, "later", "--plain"))
    held = held_payload(fleet)
    wait_for(lambda: any((run / "plan.json").exists() for run in set((fleet.directory / "runs").iterdir()) - before))
    content = held.read_bytes()
    held.unlink()
    os.mkfifo(held)  # nobody writes to it: who reads it waits
    wait_for(lambda: len(made(fleet, "later")) > 2 * 4 and len(fleet.processes()) > 4)
    running.interrupt()
    assert running.wait() == 130, running.text
    fleet.wait_until_quiet()
    held.unlink()
    held.write_bytes(content)
    assert f"train/{held.name}" not in made(fleet, "later")
    done = fleet.run(*dedup_argv(fleet, "later", "--plain"), timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made(fleet, "later") == wanted(expected)


def test_ctrl_c_while_hosts_are_asked(fleet: Fleet) -> None:
    """Ctrl+C while a host is silent about its signatures ends the command at once, and nothing is left there."""
    signatures = sorted((fleet.homes["beta"] / fleet.base / "shards").glob("[0-9]*.sig"))[-1]
    content = signatures.read_bytes()
    signatures.unlink()
    os.mkfifo(signatures)  # nobody writes to it: who looks into it waits
    running = fleet.begin(dedup_argv(fleet, "never"))
    wait_for(lambda: bool(asked(fleet)))
    running.interrupt()
    assert running.wait(20) == 130, running.text
    wait_for(lambda: not asked(fleet), 20)
    signatures.unlink()
    signatures.write_bytes(content)


def test_another_at_work_is_left_alone(fleet: Fleet) -> None:
    """Ctrl+C ends nothing of a run that is under way; nor is one deduplicated that works without a launcher."""
    run = first_run(fleet)
    job = next(fleet.homes["alpha"].glob(f".shardfleet/runs/{run.name}/alpha/job.json"))
    content = job.read_bytes()
    cookie = {"SHARDFLEET_JOB": run.name, "SHARDFLEET_HOST": "alpha"}
    with subprocess.Popen(["sleep", "600"], env={**fleet.environment, **cookie}) as worker:
        with (run / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            running = fleet.begin(dedup_argv(fleet, "never"))
            wait_for(lambda: "asking the hosts" in running.text)
            running.interrupt()
            assert running.wait() == 130, running.text
        assert worker.poll() is None
        job.write_bytes(content.replace(b'"on_disconnect":"stop"', b'"on_disconnect":"continue"'))
        refused = fleet.run(*dedup_argv(fleet, "never"), timeout=60)
        assert refused.returncode == 2 and "still at work on alpha" in refused.stderr, refused.stderr
        assert worker.poll() is None
        job.write_bytes(content)
        worker.kill()


def test_other_scope_and_kind(fleet: Fleet, expected: Path) -> None:
    """Exact copies alone need no other signatures; where others are needed, ranks make them first. With scope source,
    those in one dataset go."""
    pair = open_pair([expected / "train", expected / "holdout"])
    asked_for: tuple[tuple[Kind, int, Scope], ...] = (("exact", 42, "global"), ("minhash", 7, "source"))
    for kind, seed, scope in asked_for:
        settings = Settings(scheme=Scheme(kind=kind, seed=seed), scope=scope)
        here = deduplicate(pair, ByteReference(), settings, expected / scope).duplicates
        done = fleet.run(
            *dedup_argv(fleet, "other", "--dry-run", "--kind", kind, "--seed", str(seed), "--scope", scope), timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{len(here.removed)} of 450 documents would go" in done.stderr
        assert len(here.removed) == EACH if kind == "exact" else 0 < len(here.removed) < 2 * EACH
        assert ("the ranks make them now" in done.stderr) == (kind == "minhash")


def held_payload(fleet: Fleet) -> Path:
    """A payload that is not among the first of its host."""
    return sorted((fleet.homes["alpha"] / fleet.base / "shards").glob("[0-9]*.bin"))[-1]


@pytest.mark.slow
def test_killed_at_every_stage(tmp_path: Path, copies_hub: Path, expected: Path) -> None:
    """SIGKILL of the launcher while ranks sign, while pairs are sought, while hosts write: the hosts
    stop by themselves, and in the end all is as on one machine, whatever the hosts, from shards without signatures."""
    with running_fleet(tmp_path, copies_hub, {"alpha": 1, "beta": 2}) as fleet:
        first = fleet.launch("--plain", *DATASETS)
        assert first.returncode == 0, first.stdout + first.stderr
        base = [home / fleet.base for home in fleet.homes.values()]
        stages: list[Callable[[], bool]] = [
            lambda: any(any((root / "shards").glob("*.sig")) for root in base),
            lambda: any((fleet.directory / "runs").glob("*/dedup-*/keys.duckdb")),
            lambda: any(any((root / "once").glob("0*.json")) for root in base),
        ]
        command = dedup_argv(fleet, "once", "--plain")
        for reached in stages:
            running = fleet.begin(command)
            while not reached() and running.process.poll() is None:
                os.sched_yield()
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.process.wait()
            fleet.wait_until_quiet(30.0)
        done = fleet.run(*command, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert lists(fleet) == tree_of(expected / "removed")
        assert made(fleet, "once") == wanted(expected)
        assert not [path for root in base for path in root.rglob("*.tmp")]
