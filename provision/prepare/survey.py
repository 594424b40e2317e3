"""Asking every host what it has, before a plan is made final."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import huggingface_hub
import msgspec

from provision import __version__
from provision.errors import ProvisionError, RemoteError, SignInError, UnknownHostKeyError
from provision.plan.plan import HostPlan, Plan
from provision.reach.channel import Channel
from provision.reach.fleet import on_all
from provision.reach.remote import ask_shard
from shard.host.survey import Survey
from shard.records.hub import HubQuestion

_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host says, and by how much its clock is ahead of ours."""

    survey: Survey
    ahead: tuple[float, float]
    """Seconds, at least and at most; negative where it is behind."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Why a host gives no survey."""

    at: Literal["SSH", "host key", "sign in", "Python", "version"]
    """The first thing that was not as it should be: what comes before it was."""
    reason: str
    """With the host's name and what to do."""


Surveys = Mapping[str, Answer | Silence]
"""By host name."""


class _Version(msgspec.Struct, frozen=True):
    """What the answers of all versions have in common."""

    version: str


def survey_hosts(plan: Plan, ssh_config: Path) -> Surveys:
    """Every host's survey, or why there is none; all are asked at once."""
    by_name = {host.name: host for host in plan.hosts}
    question = b""
    # Of several, the first: that a host gets to the Hub, with which token, is what differs between hosts.
    for dataset in plan.hub_datasets[:1]:
        token = huggingface_hub.get_token()
        asked = HubQuestion(endpoint=dataset.endpoint or "", dataset=dataset.root, token=token)
        question = msgspec.json.encode(asked)

    def ask(channel: Channel) -> Answer | Silence:
        return _ask(plan, by_name[channel.host.name], channel, question)

    answers = on_all([host.host for host in plan.hosts], ssh_config, ask, workers=64)
    return {
        host.name: _silence(answer) if isinstance(answer, ProvisionError) else answer
        for host, answer in answers.items()
    }


def _silence(error: ProvisionError) -> Silence:
    """For a host to which there is no connection."""
    if isinstance(error, UnknownHostKeyError):
        return Silence("host key", str(error))
    return Silence("sign in" if isinstance(error, SignInError) else "SSH", str(error))


def _ask(plan: Plan, host: HostPlan, channel: Channel, question: bytes) -> Answer | Silence:
    directories = ("--output-dir", host.output_dir, "--holdout-dir", host.holdout_dir)
    before = time.time()
    try:
        said = ask_shard(channel, plan, host, "survey", *directories, timeout=_TIMEOUT_SECONDS, stdin=question)
    except RemoteError as error:
        return Silence("Python", str(error))
    after = time.time()
    try:
        # First: another version may ask and answer otherwise.
        version = msgspec.json.decode(said, type=_Version).version
        survey = msgspec.json.decode(said, type=Survey) if version == __version__ else None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Silence(
            "version",
            f"{host.name}: does not answer as shardfleet {__version__} ({error}); install the same version there with "
            "'shardfleet provision', and let its shell start-up files print nothing",
        )
    if survey is None:
        return Silence(
            "version",
            f"{host.name}: has shardfleet {version}, this is {__version__}; install the same there with "
            "'shardfleet provision'",
        )
    # It began after `before` and ended before `after`, by its own clock `seconds` apart.
    return Answer(survey, (survey.clock - after, survey.clock - survey.seconds - before))
