"""What is to be done, as frozen records: shared by the launcher that plans and the workers that do.

Everything here is JSON on disk (`plan.json` on the launcher, `job.json` on a host) and is validated when it
is read: types by msgspec, meaning by `__post_init__`.
"""

import hashlib
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import msgspec

from shard.records.compression import Compression
from shard.records.dataset import Dataset as Dataset
from shard.records.dataset import require_dataset
from shard.records.frozen import Record, canonical_json, require, require_directory
from shard.records.identity import Identity as Identity
from shard.records.identity import broken_link
from shard.records.inputs import BY_SUFFIX
from shard.records.options import Options
from shard.records.removal import Removal
from shard.records.trainers import require_served
from shard.records.unit import MOST_UNITS, Unit

FORMAT = "shardfleet"
FORMAT_VERSION = 1

MAX_RANKS = 1024
"""Ranks one host may run. More is a port or an address that slipped into the count."""

_RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,80}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
_BARE_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


class TokenizerSpec(Record, frozen=True, kw_only=True):
    """Which tokenizer. The file itself travels beside the job under the name `file`."""

    name: str
    kind: Literal["tiktoken", "hf", "sentencepiece", "bytes"]
    vocab_size: int
    """One more than the largest id, special tokens included."""
    eod_id: int | None
    """Written after every document; None for no end-of-document token."""
    sha256: str
    """Of the tokenizer file; of the empty string for `bytes`."""
    file: str | None = None
    """File name inside the job's tokenizer directory."""
    bos_id: int | None = None
    """Written before every document; None for no such token."""

    def __post_init__(self) -> None:
        require(1 <= self.vocab_size <= 2**31, f"tokenizer {self.name!r}: vocabulary of {self.vocab_size}")
        require(bool(_SHA256.fullmatch(self.sha256)), f"tokenizer {self.name!r}: sha256 {self.sha256!r}")
        require(
            self.file is None or bool(_BARE_FILE.fullmatch(self.file)),
            f"tokenizer {self.name!r}: file {self.file!r} is no bare file name",
        )
        for what, token in (("end-of-document", self.eod_id), ("beginning-of-document", self.bos_id)):
            require(
                token is None or 0 <= token < self.vocab_size,
                f"{what} id {token} is outside the vocabulary of {self.name!r} (0 to {self.vocab_size - 1})",
            )

    @property
    def dtype(self) -> Literal["uint16", "uint32"]:
        """Token type on disk: two bytes wherever every id fits."""
        return "uint16" if self.vocab_size <= 1 << 16 else "uint32"

    @property
    def frame(self) -> tuple[int, int]:
        """Tokens that every document has before and after its text: 0 or 1 each."""
        return int(self.bos_id is not None), int(self.eod_id is not None)


class Holdout(Record, frozen=True, kw_only=True):
    """Which documents are held out: those whose xxh3_64(utf8, seed) lies below `threshold`."""

    rate: float = 0.001
    seed: int = 0

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "rate", float(self.rate))  # 0 and 0.0 have one fingerprint
        require(0.0 <= self.rate < 1.0, f"holdout rate {self.rate} is not in [0, 1)")
        require(0 <= self.seed < 1 << 64, f"holdout seed {self.seed} is not an unsigned 64-bit number")

    @property
    def threshold(self) -> int:
        """rate · 2^64, exactly (no float rounding)."""
        return int(Fraction(repr(self.rate)) * (1 << 64))


class Job(Record, frozen=True, kw_only=True):
    """One host's share of a run: what its supervisor reads."""

    version: int
    run_id: str
    host: str
    """As hosts.txt names it."""
    first_rank: int
    ranks: int
    world_size: int
    output_dir: str
    """On the host; `~` is its home."""
    holdout_dir: str
    dataset: Dataset
    tokenizer: TokenizerSpec
    holdout: Holdout
    identity: Identity
    earlier: tuple[Identity, ...] = ()
    """What the directories hold already, oldest first, where this run appends to them."""
    options: Options
    removal: Removal | None = None
    """What there is already is written without some documents, in place of tokenizing; None: units are tokenized."""
    units: tuple[Unit, ...]
    """Those before the first of the identity are there already: what is lacking beside them is made, no more."""
    discard: tuple[int, ...] = ()
    """Units that another host has done: what is committed of them here is removed first."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        require(self.version == FORMAT_VERSION, f"job version {self.version}; this is version {FORMAT_VERSION}")
        require(bool(_RUN_ID.fullmatch(self.run_id)), f"run id {self.run_id!r}")
        require(bool(_HOST.fullmatch(self.host)), f"host {self.host!r} is no host name")
        require(1 <= self.ranks <= MAX_RANKS, f"host {self.host}: {self.ranks} ranks")
        require(
            0 <= self.first_rank <= self.world_size - self.ranks <= MOST_UNITS,
            f"host {self.host}: {self.ranks} ranks from {self.first_rank} on are not among {self.world_size}",
        )
        require_directory("output_dir", self.output_dir)
        require_directory("holdout_dir", self.holdout_dir)
        require_dataset(self.dataset)
        ordinals = {unit.ordinal for unit in self.units}
        require(len(ordinals) == len(self.units), f"host {self.host}: a unit stands twice")
        require(
            max(ordinals, default=-1) < self.identity.units,
            f"unit {max(ordinals, default=-1)} of {self.identity.units}",
        )
        first = self.identity.first_unit
        require(
            min(ordinals, default=first) >= first or self.options.signatures is not None,
            f"unit {min(ordinals, default=0)} is before the first, {first}, and nothing is to be made beside it",
        )
        require(
            all(0 <= ordinal < self.identity.units for ordinal in self.discard),
            f"a unit to discard is none of {self.identity.units}",
        )
        broken = broken_link((*self.earlier, self.identity))
        require(broken is None, f"earlier: {broken}")
        known = identity_of(self.dataset, self.tokenizer, self.holdout, ())
        compression = self.identity.compression
        placed = ("units", "units_sha256", "first_unit", "base", "compression", "without")
        rest = {name: getattr(self.identity, name) for name in placed}
        differing = msgspec.structs.replace(known, **rest).differing(self.identity)
        require(not differing, f"the identity is that of another job: {'; '.join(differing)}")
        require(compression is None or bool(compression.ranks_sha256), "compression without a rank table")
        require_readable(self.options, self.tokenizer, compression)

    @property
    def fingerprint(self) -> str:
        return self.identity.fingerprint


def require_readable(options: Options, tokenizer: TokenizerSpec, compression: Compression | None) -> None:
    """Raise JobError where a trainer that is asked for could not read these tokens."""
    require(
        compression is None or not options.trainers,
        f"--for {','.join(options.trainers)} with --compress: these trainers map raw tokens, and there will be none; "
        "leave one of the two out, or use 'shardfleet export' afterwards",
    )
    require_served(
        options.trainers,
        tokenizer=tokenizer.name,
        vocab_size=tokenizer.vocab_size,
        dtype=tokenizer.dtype,
        eod_id=tokenizer.eod_id,
    )


def identity_of(
    dataset: Dataset,
    tokenizer: TokenizerSpec,
    holdout: Holdout,
    units: Sequence[Unit],
    compression: Compression | None = None,
    base: Identity | None = None,
) -> Identity:
    """What decides the output bytes of these options over these units, which come behind those of `base`.

    Names are left out on purpose: a mirror, a local copy or another commit with the same files gives the same bytes.
    """
    return Identity(
        format=FORMAT,
        version=FORMAT_VERSION,
        tokenizer_kind=tokenizer.kind,
        tokenizer_sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        eod_id=tokenizer.eod_id,
        bos_id=tokenizer.bos_id,
        dtype=tokenizer.dtype,
        text_column=dataset.text_column,
        holdout_rate=holdout.rate,
        holdout_seed=holdout.seed,
        input=dataset.input if dataset.input != BY_SUFFIX else None,
        units=(0 if base is None else base.units) + len(units),
        units_sha256=hashlib.sha256(canonical_json(list(units))).hexdigest(),
        compression=compression,
        first_unit=0 if base is None else base.units,
        base=None if base is None else base.fingerprint,
    )
