"""Values of options as people write them: sizes, rates, seconds, trainers."""

import math
import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import msgspec

from shard.errors import JobError
from shard.records.dedup import Scheme
from shard.records.trainers import SUFFIXES, Trainer

_COUNT = re.compile(r"(\d+(?:\.\d+)?)([kmgt]?)", re.IGNORECASE)
_SCHEME_FIELDS = ("ngram", "num-perm", "seed")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


class HomePath(click.ParamType[Path]):
    """A path of this machine, `~/…` below the home also where the shell has left it so, as in `--to=~/x`."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return home_path(value)


def home_path(value: str | Path) -> Path:
    return Path(os.path.expanduser(value))  # noqa: PTH111  the other raises for '~nobody'


class Size(click.ParamType[int]):
    """`256MiB`, `1.5G`, `4096`: bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is no size; write 256MiB, 1.5GB or a number of bytes", param, ctx)
        number, prefix, binary = match.groups()
        power = " kmgt".index(prefix.lower() or " ")
        size = int(Fraction(number) * (1024 if binary else 1000) ** power)
        if size < 1:
            self.fail(f"{value!r} is less than a byte", param, ctx)
        return size


class Count(click.ParamType[int]):
    """`100M`, `1.5G`, `4096`: a number of things, by powers of 1000."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _COUNT.fullmatch(value.strip())
        count = int(Fraction(match[1]) * 1000 ** " kmgt".index(match[2].lower() or " ")) if match else 0
        if count < 1:
            self.fail(f"{value!r} is no count; write 100M, 1.5G or a number", param, ctx)
        return count


class Trainers(click.ParamType[tuple[Trainer, ...]]):
    """`megatron,nanogpt`: trainers that read the payload as it lies."""

    name = "trainers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Trainer, ...]:
        if isinstance(value, tuple):
            return value
        names = [name.strip() for name in str(value).split(",")]
        for name in names:
            if name not in SUFFIXES:
                hint = (
                    f"give names out of {', '.join(SUFFIXES)}, with commas between; 'shardfleet export' writes others"
                )
                self.fail(f"{name!r} is no trainer that reads the payload as it lies: {hint}", param, ctx)
        # In one order, however they are given: plans of equal meaning are equal.
        return tuple(trainer for trainer in SUFFIXES if trainer in names)


class Schemes(click.ParamType[Scheme]):
    """`minhash`, `exact`, or either with fields behind it: `minhash,ngram=3,num-perm=128,seed=7`."""

    name = "scheme"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Scheme:
        if isinstance(value, Scheme):
            return value
        kind, *fields = [part.strip() for part in str(value).split(",")]
        given = {"kind": kind}
        for field in fields:
            name, _, number = field.partition("=")
            if name not in _SCHEME_FIELDS or name in given:
                self.fail(f"{field!r} is none of {', '.join(f'{name}=N' for name in _SCHEME_FIELDS)}", param, ctx)
            given[name] = number
        try:
            named = {name.replace("-", "_"): text for name, text in given.items()}
            return msgspec.convert(named, Scheme, strict=False)
        except (msgspec.ValidationError, JobError) as error:
            self.fail(f"{value!r}: {error}; write minhash, exact, or minhash,ngram=3,num-perm=128", param, ctx)


class Rate(click.ParamType[float]):
    """`0.1%` or `0.001`; all of it, `100%`, where that is something one may want."""

    name = "rate"

    def __init__(self, *, all_of_it: bool = False) -> None:
        self._all_of_it = all_of_it

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            rate = float(Fraction(text[:-1]) / 100) if text.endswith("%") else float(text)
        except (ValueError, ZeroDivisionError):  # Fraction takes 1/0 for a number, until it is one
            self.fail(f"{value!r} is no rate; write 0.1% or 0.001", param, ctx)
        if not (0 <= rate < 1 or (self._all_of_it and rate == 1)):
            self.fail(f"{value!r} is not between 0 and 1", param, ctx)
        return rate


class Seconds(click.FloatRange):
    """A number of seconds that JSON can hold: neither inf nor nan."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return seconds
