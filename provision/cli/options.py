"""The options that describe a run, shared by plan, script and launch."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from provision.cli.dataset import DATASET_NAMES, dataset_options, dataset_spec
from provision.cli.exportoptions import EXPORT_NAMES, EXPORT_OPTIONS, export_wanted
from provision.cli.failing import FAILURE_OPTIONS
from provision.cli.fetching import FETCH_OPTIONS
from provision.cli.hostsfile import hosts_option, slots_option
from provision.cli.storage import compress_option, compression_of, for_option, frame_tokens_option, signatures_option
from provision.cli.values import Rate, Size
from provision.plan.plan import Policy
from provision.prepare.prepare import Request
from provision.tokenizer.resolve import NO_EOD, OWN
from shard.records.dedup import Scheme
from shard.records.options import Options
from shard.records.trainers import Trainer
from shard.tokenizer.ranks import RANK_FILES

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_PYTHON = "~/.shardfleet/venv/bin/python"


_OPTIONS = (
    hosts_option,
    slots_option,
    *dataset_options,
    click.option(
        "--tokenizer",
        default="gpt2",
        show_default=True,
        metavar="NAME",
        help=f"{', '.join(RANK_FILES)}, bytes, hf:owner/name, a tokenizer.json, a SentencePiece .model, a directory "
        "with one of them, or a .tiktoken file.",
    ),
    click.option(
        "--eod",
        metavar=f"{NO_EOD}|ID",
        help="Token after every document, or none.  [default: the tokenizer's own]",
    ),
    click.option(
        "--bos",
        metavar="[ID]",
        is_flag=False,
        flag_value=OWN,
        help="Token before every document: the tokenizer's own, or one given by its id.  [default: none]",
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
    for_option,
    compress_option,
    frame_tokens_option,
    signatures_option,
    click.option(
        "--unit-size",
        "unit_bytes",
        type=Size(),
        default="256MiB",
        show_default=True,
        help="Larger source files are cut into parts of at most this size, a shard each.",
    ),
    *FETCH_OPTIONS,
    *FAILURE_OPTIONS,
    click.option(
        "--gather-holdout",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Bring the holdout of all hosts to DIR on this machine when the run is complete.",
    ),
    *EXPORT_OPTIONS,
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
        taken = {option: values.pop(option, _ABSENT.get(option)) for option in _NAMES}
        return command(*args, request=_request(**taken), **values)

    decorated: Any = wrapped
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    result: F = decorated
    return result


_ABSENT = {"output_dir": "", "overwrite": False}
"""For commands that have not got these options: they say themselves."""
_NAMES = (
    *("hosts_file", "default_slots", *DATASET_NAMES, "tokenizer", "eod", "bos"),
    *("output_dir", "holdout_dir", "holdout_rate", "holdout_seed", "unit_bytes", "fetch", "spans_in_flight"),
    *("trainers", "compress_level", "frame_tokens", "signatures"),
    *("max_bandwidth", "attempts", "retry_seconds", "stall_seconds", "grace_seconds", "on_disconnect", "lease_seconds"),
    *("detached", "on_host_failure", "rebalance", "lost_seconds", "gather_holdout"),
    *EXPORT_NAMES,
    *("skip_unready", "skip_space_check", "lost", "ssh_config", "remote_python", "run_dir", "overwrite"),
)


def _request(
    *,
    trainers: tuple[Trainer, ...],
    compress_level: int | None,
    frame_tokens: int | None,
    signatures: Scheme | None,
    fetch: Any,
    spans_in_flight: int,
    max_bandwidth: int | None,
    attempts: int,
    retry_seconds: float,
    stall_seconds: float,
    grace_seconds: float,
    on_disconnect: Any,
    lease_seconds: float,
    detached: bool,
    on_host_failure: Any,
    rebalance: bool,
    lost_seconds: float,
    gather_holdout: Path | None,
    **others: Any,
) -> Request:
    if max_bandwidth is not None and fetch == "download":
        raise click.UsageError("--max-bandwidth limits streaming: leave out --fetch download, or the limit")
    return Request(
        compression=compression_of(compress_level, frame_tokens),
        dataset=dataset_spec(**{name: others.pop(name) for name in DATASET_NAMES}),
        options=Options(
            fetch=fetch,
            trainers=trainers,
            signatures=signatures,
            attempts=attempts,
            retry_seconds=retry_seconds,
            stall_seconds=stall_seconds,
            spans_in_flight=spans_in_flight,
            max_bandwidth=max_bandwidth,
            grace_seconds=grace_seconds,
            on_disconnect="continue" if detached else on_disconnect,
            lease_seconds=None if detached else lease_seconds,
        ),
        policy=Policy(
            detached=detached,
            on_host_failure=on_host_failure,
            rebalance=rebalance,
            lost_seconds=lost_seconds,
            gather_holdout=None if gather_holdout is None else str(gather_holdout.expanduser().absolute()),
            export=export_wanted(**{name: others.pop(name) for name in EXPORT_NAMES}),
        ),
        **others,
    )
