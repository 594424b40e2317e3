"""Asking every host what it has, before a plan is made final."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from provision import __version__
from provision.channel import Channel
from provision.errors import NotReadyError, ProvisionError, RemoteError
from provision.fleet import on_all
from provision.plan import HostPlan, Plan
from shard.host.survey import Survey
from shard.progress import ordinals_of

_TIMEOUT_SECONDS = 120.0

Surveys = Mapping[str, Survey | ProvisionError]
"""By host name."""


def survey_hosts(plan: Plan, ssh_config: Path) -> Surveys:
    """Every host's survey, or why there is none."""
    by_name = {host.name: host for host in plan.hosts}

    def ask(channel: Channel) -> Survey:
        host = by_name[channel.host.name]
        return _ask(plan, host, channel)

    answers = on_all([host.host for host in plan.hosts], ssh_config, ask)
    return {host.name: answer for host, answer in answers.items()}


def committed_of(plan: Plan, surveys: Surveys) -> dict[str, list[int]]:
    """Units that hosts have finished for this very fingerprint, by host."""
    return {
        name: [ordinal for ordinal in ordinals_of(answer.committed) if ordinal < len(plan.units)]
        for name, answer in surveys.items()
        if isinstance(answer, Survey) and answer.identity == plan.identity
    }


def problems(plan: Plan, surveys: Surveys) -> list[str]:
    """One line per host that cannot take part, with its remedy."""
    found = []
    for name, answer in surveys.items():
        if isinstance(answer, ProvisionError):
            found.append(str(answer))
        elif answer.problem:
            found.append(f"{name}: {answer.problem}")
        elif answer.identity is not None and answer.identity != plan.identity and not plan.overwrite:
            differing = "; ".join(plan.identity.differing(answer.identity))
            found.append(
                f"{name}: {_output_dir(plan, name)} holds shards of another run. Differing: {differing}. "
                "Choose another --output-dir, or replace those shards with --overwrite"
            )
    return [*found, *_twice(plan, surveys)]


def _twice(plan: Plan, surveys: Surveys) -> list[str]:
    """Units that are committed in two places: a trainer would see their rows twice."""
    committed = committed_of(plan, surveys)
    places = {name: answer.place or name for name, answer in surveys.items() if isinstance(answer, Survey)}
    found = []
    for index, (first, units) in enumerate(committed.items()):
        for second, others in list(committed.items())[index + 1 :]:
            both = sorted(set(units) & set(others))
            if both and places[first] != places[second]:
                found.append(
                    f"{first} and {second}: both have finished {len(both)} units, the first is {both[0]:06d}, "
                    "and every row must be there once: remove those files from the output and holdout directories "
                    "of one of them"
                )
    return found


def require_ready(plan: Plan, surveys: Surveys) -> None:
    """Raise NotReadyError, naming every host that cannot take part."""
    found = problems(plan, surveys)
    if found:
        raise NotReadyError("\n".join(["not started:", *(f"  {line}" for line in found)]))


def _ask(plan: Plan, host: HostPlan, channel: Channel) -> Survey:
    python = plan.python_on(host)
    argv: Sequence[str] = (
        *(python, "-m", "shard", "survey"),
        *("--output-dir", host.output_dir, "--holdout-dir", host.holdout_dir),
    )
    done = channel.run(argv, timeout=_TIMEOUT_SECONDS)
    if done.returncode == 127:
        raise RemoteError(
            f"{host.name}: no {python} there; install shardfleet on it (docs/guide.md, Provisioning), or name an "
            "interpreter that has it with --remote-python"
        )
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise RemoteError(f"{host.name}: {python} -m shard survey: exit status {done.returncode}: {last}")
    try:
        answer = msgspec.json.decode(done.stdout, type=Survey)
    except msgspec.DecodeError as error:
        raise RemoteError(
            f"{host.name}: does not answer as shardfleet {__version__} ({error}); install the same version there, and "
            "let its shell start-up files print nothing"
        ) from error
    if answer.version != __version__:
        raise RemoteError(
            f"{host.name}: has shardfleet {answer.version}, this is {__version__}; install the same there"
        )
    return answer


def _output_dir(plan: Plan, name: str) -> str:
    return next(host.output_dir for host in plan.hosts if host.name == name)
