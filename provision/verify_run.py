"""Verification of a run on all its hosts: each reads its own shards, the proof is over their union."""

import msgspec

from provision.channel import Channel
from provision.errors import ProvisionError, RemoteError
from provision.fleet import on_all
from provision.rundir import RunDirectory
from shard.verify.coverage import report_of
from shard.verify.report import Report

_TIMEOUT_SECONDS = 24 * 3600.0


def verify_run(run: RunDirectory) -> tuple[Report, list[str]]:
    """The merged report, and one line for every host that gave none."""
    plan = run.read_plan()
    hosts = {host.name: host for host in plan.hosts}

    def ask(channel: Channel) -> Report:
        host = hosts[channel.host.name]
        argv = (plan.python_on(host), "-m", "shard", "verify", "--job", plan.job_directory(host.name))
        done = channel.run(argv, timeout=_TIMEOUT_SECONDS)
        try:
            return msgspec.json.decode(done.stdout, type=Report)
        except msgspec.DecodeError as error:
            reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or str(error)
            raise RemoteError(f"{host.name}: cannot be verified: {reason}") from error

    answers = on_all([host.host for host in plan.hosts], run.ssh_config, ask)
    problems = [str(answer) for answer in answers.values() if isinstance(answer, ProvisionError)]
    directories = [
        directory for answer in answers.values() if isinstance(answer, Report) for directory in answer.directories
    ]
    return report_of(directories, plan.units), problems
