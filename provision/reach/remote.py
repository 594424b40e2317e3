"""`python -m shard …` on a host."""

from collections.abc import Sequence

from provision.errors import RemoteError
from provision.plan.plan import HostPlan, Plan
from provision.reach.channel import Channel
from shard.processes import HOST_VARIABLE, JOB_VARIABLE


def ask_shard(
    channel: Channel,
    plan: Plan,
    host: HostPlan,
    *verb: str,
    timeout: float,
    stdin: bytes = b"",
    fine: Sequence[int] = (),
    marked: bool = False,
) -> bytes:
    """What a command of the worker prints on a host; one that is `marked` is a process of the run, and stops with it.

    Raises RemoteError, with the last line of its complaint, when its exit status is not 0; one of `fine` will do where
    something was printed.
    """
    mark = plan.run_id if marked else None
    return ask_worker(channel, plan.python_on(host), *verb, timeout=timeout, stdin=stdin, fine=fine, marked=mark)


def ask_worker(
    channel: Channel,
    python: str,
    *verb: str,
    timeout: float,
    stdin: bytes = b"",
    fine: Sequence[int] = (),
    marked: str | None = None,
) -> bytes:
    """The same by a given interpreter. With `marked`, the command carries the cookie of that run on that host, by which
    it is found again and ended: see shard/processes.py."""
    host = channel.host
    cookie = () if marked is None else ("env", f"{JOB_VARIABLE}={marked}", f"{HOST_VARIABLE}={host.name}")
    done = channel.run((*cookie, python, "-m", "shard", *verb), timeout=timeout, stdin=stdin)
    if done.returncode == 0 or (done.returncode in fine and done.stdout):
        return done.stdout
    if done.returncode == 127:
        raise RemoteError(
            f"{host.name}: no {python} there; install shardfleet with 'shardfleet provision', or name an interpreter "
            "that has it with --remote-python"
        )
    complaint = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    raise RemoteError(f"{host.name}: {python} -m shard {verb[0]}: exit status {done.returncode}: {complaint}")


def job_argument(plan: Plan, host: HostPlan) -> tuple[str, str]:
    """Names the job of a host to the worker's commands."""
    return "--job", plan.job_directory(host.name)


def held_argument(plan: Plan, host: HostPlan) -> tuple[str, ...]:
    """The same to those that look at what it has written. With the directories: the job is that of the latest start,
    and the plan may have been made anew since, with others."""
    return (*job_argument(plan, host), "--output-dir", host.output_dir, "--holdout-dir", host.holdout_dir)
