"""What a checkpoint keeps of a loader, and whether it fits another one (pure)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from shard.errors import LoaderStateError
from shard.loader.weights import Schedule, Shares
from shard.records.frozen import Record

STATE_VERSION = 1

_REMEDIES = {
    "fingerprint": "it is of another dataset, split, or set of shards",
    "context_length": "give a dataset for each epoch to change it between epochs",
    "global_batch_size": "the world size may change, this may not",
}


class LoaderState(Record, frozen=True, kw_only=True):
    """All of it: the number of the next step, and what the meaning of that number hangs on."""

    version: int
    step: int
    """Of the run: the next one."""
    epoch: int
    epoch_step: int
    """That step within its epoch."""
    fingerprint: str
    """Of the epoch's dataset: `data_identity`, or that of all hosts together."""
    context_length: int
    packing: str
    seed: int
    shuffle: str
    global_batch_size: int
    declared: tuple[tuple[int, tuple[int, ...]], ...] | None = None
    """Of a mixture: the stages that its dataset was given, as (start, samples in a block)."""
    changed: tuple[tuple[int, tuple[int, ...]], ...] | None = None
    """Its stages after `set_weights`; None where nothing was set."""


def encode_state(state: LoaderState) -> dict[str, Any]:
    """As plain JSON values."""
    found: dict[str, Any] = msgspec.to_builtins(state)
    return {name: value for name, value in found.items() if value is not None}


def decode_state(state: Mapping[str, Any]) -> LoaderState:
    """Raises LoaderStateError."""
    try:
        found = msgspec.convert(dict(state), LoaderState)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise LoaderStateError(f"not the state of a loader: {error}") from error
    if found.version != STATE_VERSION:
        raise LoaderStateError(f"state of version {found.version}; this reads {STATE_VERSION}")
    return found


def require_same(found: LoaderState, own: LoaderState) -> None:
    """Whether a state is of a loader as this one, which would say `own` at the same step. Raises LoaderStateError."""
    names = ("fingerprint", "context_length", "packing", "seed", "shuffle", "global_batch_size")
    differing = []
    for name in names:
        theirs, ours = getattr(found, name), getattr(own, name)
        if theirs != ours:
            if name == "fingerprint":
                theirs, ours = theirs[:12], ours[:12]
            remedy = f" ({_REMEDIES[name]})" if name in _REMEDIES else ""
            differing.append(f"{name}: the state has {theirs}, this loader {ours}{remedy}")
    if differing:
        raise LoaderStateError("the state is of another loader: " + "; ".join(differing))
    if (found.epoch, found.epoch_step) != (own.epoch, own.epoch_step):
        raise LoaderStateError(
            f"step {found.step} was step {found.epoch_step} of epoch {found.epoch}, and would be step {own.epoch_step} "
            f"of epoch {own.epoch} here: earlier epochs have another number of steps (drop_last, steps_per_epoch, or "
            "their datasets differ)"
        )


def spell_schedule(schedule: Schedule) -> tuple[tuple[int, tuple[int, ...]], ...]:
    return tuple((stage.start, stage.counts) for stage in schedule)


def schedule_of(spelled: tuple[tuple[int, tuple[int, ...]], ...]) -> Schedule:
    return tuple(Shares(start, counts) for start, counts in spelled)
