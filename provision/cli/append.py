"""append: new source files behind what directories on all hosts hold already."""

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from click.core import ParameterSource

from provision.cli.dataset import INPUT_NAMES
from provision.cli.options import run_options
from provision.cli.runs import require_one_style, say, start
from provision.errors import NothingToAppendError
from provision.prepare.append import Held, held_by, shares
from provision.prepare.prepare import Request, hosts_of, prepare
from provision.reach.ssh.config import write_ssh_config
from provision.tokenizer.resolve import NO_EOD
from shard.records.inputs import BY_SUFFIX


@click.command(short_help="Add files of a dataset that are not in DIRECTORY yet.")
@click.argument("directory")
@run_options
@click.option("--plain", is_flag=True, help="Lines instead of the dashboard. [default when not on a terminal]")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON lines; the last is the run_done object.")
@click.pass_context
def append(context: click.Context, directory: str, request: Request, plain: bool, as_json: bool) -> None:
    """Add source files of a dataset that are not in DIRECTORY yet, on the hosts that have it, and on new ones.

    DIRECTORY is the --output-dir of an earlier launch, --holdout-dir goes with it. Tokenizer, end of document, holdout
    rule and text column are those of the shards there, unless they are given. Committed shards are not touched: new
    units get the numbers behind them. All else is as with launch; the same append again does nothing.
    """
    require_one_style(plain, as_json)
    given = {
        name for name in request.__dataclass_fields__ if context.get_parameter_source(name) != ParameterSource.DEFAULT
    }
    given |= {
        name for name in ("text_column", *INPUT_NAMES) if context.get_parameter_source(name) != ParameterSource.DEFAULT
    }
    request = replace(request, output_dir=directory)
    held = _held(request)
    try:
        prepared = prepare(_like(request, held, given), say, held=held)
    except NothingToAppendError as nothing:
        click.echo(str(nothing))
        return
    start(prepared, plain=plain, as_json=as_json)


# The directory is the argument, and nothing is replaced.
append.params = [option for option in append.params if option.name not in ("output_dir", "overwrite")]
for option in append.params:
    if isinstance(option, click.Option) and option.name in ("tokenizer", "holdout_rate", "holdout_seed"):
        option.show_default = "that of the shards"


def _held(request: Request) -> Held:
    hosts = hosts_of(request)
    say(f"asking {len(hosts)} {'host' if len(hosts) == 1 else 'hosts'} what is there…")
    with TemporaryDirectory(prefix="shardfleet-append-") as scratch:
        config = Path(scratch) / "ssh_config"
        write_ssh_config(config, hosts, user_config=request.ssh_config)
        pythons = {host.name: sys.executable if host.is_local else request.remote_python for host in hosts}
        return held_by(hosts, config, shares(hosts, request.output_dir, request.holdout_dir), pythons)


def _like(request: Request, held: Held, given: set[str]) -> Request:
    """The request with what was not given taken from the shards."""
    record = held.record
    eod, bos = record.tokenizer.eod_id, record.tokenizer.bos_id
    of_shards = {
        "tokenizer": record.tokenizer.name,
        "eod": NO_EOD if eod is None else str(eod),
        "bos": None if bos is None else str(bos),
        "holdout_rate": record.holdout.rate,
        "holdout_seed": record.holdout.seed,
    }
    dataset = request.dataset
    if "text_column" not in given:
        dataset = replace(dataset, text_column=record.source.text_column)
    if not given & INPUT_NAMES:
        dataset = replace(dataset, input=record.identity.input or BY_SUFFIX)
    taken = {name: value for name, value in of_shards.items() if name not in given}
    return replace(request, dataset=dataset, **taken)  # type: ignore[arg-type]
