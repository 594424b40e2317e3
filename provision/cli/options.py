"""The options that describe a run, shared by plan, script and launch."""

import math
import re
from collections.abc import Callable
from fractions import Fraction
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from provision.catalog.types import DatasetSpec
from provision.prepare import Request
from provision.tokenizers import NO_EOD
from shard.job import Options
from shard.tokenizer.ranks import RANK_FILES

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_PYTHON = "~/.shardfleet/venv/bin/python"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


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


class Rate(click.ParamType[float]):
    """`0.1%` or `0.001`."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            rate = float(Fraction(text[:-1]) / 100) if text.endswith("%") else float(text)
        except (ValueError, ZeroDivisionError):  # Fraction takes 1/0 for a number, until it is one
            self.fail(f"{value!r} is no rate; write 0.1% or 0.001", param, ctx)
        if not 0 <= rate < 1:
            self.fail(f"{value!r} is not between 0 and 1", param, ctx)
        return rate


class Seconds(click.FloatRange):
    """A number of seconds that JSON can hold: neither inf nor nan."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return seconds


_OPTIONS = (
    click.option(
        "--hosts",
        "hosts_file",
        type=click.Path(path_type=Path),
        default=Path("hosts.txt"),
        show_default=True,
        help="One host a line: name and rank count.",
    ),
    click.option(
        "--default-slots", type=click.IntRange(min=1), metavar="N", help="Rank count of hosts whose line has none."
    ),
    click.option(
        "--dataset",
        required=True,
        metavar="NAME",
        help="owner/name on the Hugging Face Hub, a directory, or an fsspec URL such as s3://bucket/path.",
    ),
    click.option("--revision", metavar="REV", help="Branch, tag or commit on the Hub.  [default: main]"),
    click.option("--config", metavar="NAME", help="Configuration of the dataset, as its card on the Hub lists them."),
    click.option(
        "--include",
        multiple=True,
        metavar="GLOB",
        help="Take only files whose path matches; ** crosses directories. May be given several times.",
    ),
    click.option("--text-column", default="text", show_default=True, metavar="NAME", help="Column with the documents."),
    click.option(
        "--tokenizer",
        default="gpt2",
        show_default=True,
        metavar="NAME",
        help=f"{', '.join(RANK_FILES)}, bytes, hf:owner/name, a tokenizer.json or a .tiktoken file.",
    ),
    click.option(
        "--eod",
        metavar=f"{NO_EOD}|ID",
        help="Token after every document, or none.  [default: the tokenizer's own]",
    ),
    click.option(
        "--output-dir",
        default="~/dataset_shard",
        show_default=True,
        metavar="DIR",
        help="Where each host puts its shards; ~ is the host's home.",
    ),
    click.option(
        "--holdout-dir",
        default="~/holdout_shard",
        show_default=True,
        metavar="DIR",
        help="Where each host puts its holdout.",
    ),
    click.option(
        "--holdout-rate",
        type=Rate(),
        default="0.1%",
        show_default=True,
        help="Share of documents held out, chosen by content.",
    ),
    click.option(
        "--holdout-seed",
        type=click.IntRange(0, 2**64 - 1),
        default=0,
        show_default=True,
        metavar="N",
        help="Another seed holds out other documents.",
    ),
    click.option(
        "--unit-size",
        "unit_bytes",
        type=Size(),
        default="256MiB",
        show_default=True,
        help="Larger source files are cut into parts of at most this size, a shard each.",
    ),
    click.option(
        "--fetch",
        type=click.Choice(["stream", "download"]),
        default="stream",
        show_default=True,
        help="From the Hub: read only the text column over the network, or download whole files and check sha256.",
    ),
    click.option(
        "--spans-in-flight",
        type=click.IntRange(1, 64),
        default=4,
        show_default=True,
        metavar="N",
        help="Range requests that each rank keeps under way.",
    ),
    click.option(
        "--attempts",
        type=click.IntRange(min=1),
        default=3,
        show_default=True,
        metavar="N",
        help="Tries of one unit before it is put aside and named.",
    ),
    click.option(
        "--retry-seconds",
        type=Seconds(min=0, min_open=True),
        default=900.0,
        show_default=True,
        metavar="S",
        help="How long one request to the Hub is tried again, with growing waits.",
    ),
    click.option(
        "--stall-seconds",
        type=Seconds(min=0, min_open=True),
        default=30.0,
        show_default=True,
        metavar="S",
        help="A connection that brings nothing for so long is given up and tried again.",
    ),
    click.option(
        "--grace",
        "grace_seconds",
        type=Seconds(min=0),
        default=5.0,
        show_default=True,
        metavar="S",
        help="When stopping: time between SIGTERM and SIGKILL.",
    ),
    click.option(
        "--on-disconnect",
        type=click.Choice(["stop", "continue"]),
        default="stop",
        show_default=True,
        help="What a host does when it has lost the launcher.",
    ),
    click.option(
        "--lease",
        "lease_seconds",
        type=Seconds(min=4),
        default=900.0,
        show_default=True,
        metavar="S",
        help="A host reached over SSH takes the launcher for lost after so long without a sign.",
    ),
    click.option(
        "--ssh-config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="OpenSSH client config for pdsh and our own connections.  [default: ~/.ssh/config]",
    ),
    click.option(
        "--remote-python",
        default=DEFAULT_PYTHON,
        show_default=True,
        metavar="PATH",
        help="Interpreter that has shardfleet, on hosts reached over SSH. This machine uses the running one.",
    ),
    click.option(
        "--run-dir",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Plan, script, events and ledger of the run.  [default: runs/<run id>]",
    ),
    click.option(
        "--overwrite",
        is_flag=True,
        help="Replace shards of another fingerprint in the output directories. Those of this one are kept.",
    ),
)


def run_options(command: F) -> F:
    """Give a command the options of a run; it receives them as one Request."""

    @wraps(command)
    def wrapped(*args: Any, **values: Any) -> Any:
        taken = {option: values.pop(option) for option in _NAMES}
        return command(*args, request=_request(**taken), **values)

    decorated: Any = wrapped
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    result: F = decorated
    return result


_NAMES = (
    *("hosts_file", "default_slots", "dataset", "revision", "config", "include", "text_column", "tokenizer", "eod"),
    *("output_dir", "holdout_dir", "holdout_rate", "holdout_seed", "unit_bytes", "fetch", "spans_in_flight"),
    *("attempts", "retry_seconds", "stall_seconds", "grace_seconds", "on_disconnect", "lease_seconds"),
    *("ssh_config", "remote_python", "run_dir", "overwrite"),
)


def _request(
    *,
    dataset: str,
    revision: str | None,
    config: str | None,
    include: tuple[str, ...],
    text_column: str,
    fetch: Any,
    spans_in_flight: int,
    attempts: int,
    retry_seconds: float,
    stall_seconds: float,
    grace_seconds: float,
    on_disconnect: Any,
    lease_seconds: float,
    **others: Any,
) -> Request:
    return Request(
        dataset=DatasetSpec(name=dataset, revision=revision, config=config, include=include, text_column=text_column),
        options=Options(
            fetch=fetch,
            attempts=attempts,
            retry_seconds=retry_seconds,
            stall_seconds=stall_seconds,
            spans_in_flight=spans_in_flight,
            grace_seconds=grace_seconds,
            on_disconnect=on_disconnect,
            lease_seconds=lease_seconds,
        ),
        **others,
    )
