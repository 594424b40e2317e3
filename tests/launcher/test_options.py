"""provision/cli: options, help and exit codes."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from provision.cli import cli
from provision.cli.options import run_options
from provision.cli.storage import compression_of
from provision.cli.values import Rate, Schemes, Size, Trainers
from provision.errors import InputError
from provision.prepare.prepare import Request
from shard.records.compression import Compression
from shard.records.dedup import Scheme

REPOSITORY = Path(__file__).parents[2]


def commands() -> list[tuple[str, click.Command]]:
    """Every command with its words."""
    found: list[tuple[str, click.Command]] = []

    def walk(words: str, command: click.Command) -> None:
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                walk(f"{words} {name}".strip(), inner)
        else:
            found.append((words, command))

    walk("", cli)
    return found


def options_of(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


@pytest.mark.parametrize(("words", "command"), commands())
def test_every_option_is_in_the_help(words: str, command: click.Command) -> None:
    """--help of every command lists each of its options, each with a sentence."""
    text = CliRunner().invoke(cli, [*words.split(), "--help"]).output
    for option in options_of(command):
        if not option.hidden:
            assert option.opts[0] in text
            assert option.help, f"{words} {option.opts[0]} has no help"


@pytest.mark.parametrize("words", ["", "hub", "tokenizer"])
def test_commands_are_said_in_a_line(words: str) -> None:
    """Lists of commands fit 80 columns, and no sentence in them is cut off."""
    said = CliRunner().invoke(cli, [*words.split(), "--help"], terminal_width=80).output
    assert "..." not in said.partition("Commands:")[2]
    assert max(map(len, said.splitlines())) <= 80


def test_append_takes_from_the_shards_what_is_not_given() -> None:
    """append's help does not name launch's defaults for what the shards decide."""
    shown = {option.name: option.show_default for option in options_of(dict(commands())["append"])}
    assert {shown[name] for name in ("tokenizer", "holdout_rate", "holdout_seed")} == {"that of the shards"}


def test_every_option_of_launch_is_in_the_docs() -> None:
    """docs/options.md has a row for every option of launch, and none for another."""
    page = (REPOSITORY / "docs" / "options.md").read_text()
    launch = dict(commands())["launch"]
    named = {option.opts[0] for option in options_of(launch)}
    rows = set(re.findall(r"^\| `(--[a-z-]+)", page, flags=re.MULTILINE))
    assert rows | {"--plain", "--json"} == named


def test_every_command_is_in_the_readme() -> None:
    """The README names every command."""
    readme = (REPOSITORY / "README.md").read_text()
    for words, _ in commands():
        assert f"shardfleet {words}" in readme


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4096", 4096), ("1k", 1000), ("1KiB", 1024), ("256MiB", 256 << 20), ("256 mib", 256 << 20),
        ("1.5GB", 1_500_000_000), ("2TiB", 2 << 40), ("1B", 1),
    ],
)  # fmt: skip
def test_sizes(text: str, expected: int) -> None:
    """Sizes take decimal and binary units."""
    assert Size().convert(text, None, None) == expected


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1 2", "1e9", "0", "0.1", "12 parsecs"])
def test_no_sizes(text: str) -> None:
    """What is no size, or less than a byte, is refused with an example."""
    with pytest.raises(click.BadParameter, match=r"256MiB|less than a byte"):
        Size().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "expected"), [("0.1%", 0.001), ("0.001", 0.001), ("1e-3", 0.001), ("0", 0.0), ("12.5 %", 0.125)]
)
def test_rates(text: str, expected: float) -> None:
    """A rate is written in percent or as a fraction; both mean the same."""
    assert Rate().convert(text, None, None) == expected


@pytest.mark.parametrize("text", ["", "%", "x", "100%", "1", "-0.1", "nan", "inf", "0.1%%", "1/0%"])
def test_no_rates(text: str) -> None:
    """What is no rate in [0, 1) is refused."""
    with pytest.raises(click.BadParameter):
        Rate().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("olmo", ("olmo",)), ("olmo, megatron", ("megatron", "olmo")), ("nanogpt,nanogpt", ("nanogpt",))],
)
def test_trainers(text: str, expected: tuple[str, ...]) -> None:
    """Trainers are named with commas between, in any order."""
    assert Trainers().convert(text, None, None) == expected


@pytest.mark.parametrize("text", ["", "mds", "megatron,", "megatron nanogpt", "Megatron"])
def test_no_trainers(text: str) -> None:
    """What is no trainer that reads the payload as it lies is refused, with those that are."""
    with pytest.raises(click.BadParameter, match="megatron, nanogpt, datatrove, olmo"):
        Trainers().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("minhash", Scheme()),
        ("exact", Scheme(kind="exact")),
        ("minhash, seed=7,num-perm=128,ngram=3", Scheme(ngram=3, num_perm=128, seed=7)),
    ],
)
def test_schemes(text: str, expected: Scheme) -> None:
    """Signatures are asked for by kind, with what differs from the usual behind it."""
    assert Schemes().convert(text, None, None) == expected


@pytest.mark.parametrize(
    "text", ["", "md5", "minhash,", "minhash,rows=8", "minhash,ngram=0", "minhash,ngram=x", "minhash,seed=1,seed=2"]
)
def test_no_schemes(text: str) -> None:
    """What is no scheme is refused before anything is looked at."""
    result = CliRunner().invoke(cli, ["plan", "--dataset", "x", "--signatures", text])
    assert result.exit_code == 2
    assert "Invalid value for '--signatures'" in result.output


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--compress", "0"], "0 is not in the range 1<=x<=19"),
        (["--compress=20"], "20 is not in the range"),
        (["--compress", "--frame-tokens", "12"], "--frame-tokens 12: compression frame_tokens 12 is not from 1024"),
        (["--frame-tokens", "64k"], "--frame-tokens is for --compress"),
    ],
)
def test_no_compression(words: list[str], answer: str) -> None:
    """A level or frame size that is none is refused, and so is one without the other."""
    result = CliRunner().invoke(cli, ["plan", "--dataset", "x", *words])
    assert result.exit_code == 2
    assert answer in " ".join(result.output.split())


def test_compression_may_have_a_level() -> None:
    """--compress takes a level or the default."""
    assert compression_of(None, None) is None
    assert compression_of(3, 2048) == Compression(level=3, frame_tokens=2048)
    assert compression_of(9, None) == Compression()


@pytest.mark.parametrize("option", ["--retry-seconds", "--stall-seconds", "--grace", "--lease", "--lost-after"])
@pytest.mark.parametrize("value", ["inf", "nan", "-1", "soon"])
def test_seconds_are_numbers(option: str, value: str) -> None:
    """Seconds are finite and not negative: a plan is JSON, which has no infinity."""
    result = CliRunner().invoke(cli, ["launch", "--dataset", "x", option, value])
    assert result.exit_code == 2
    assert option in result.output


@pytest.mark.parametrize("value", ["nobody", ""])
def test_lost_host_that_is_none(tmp_path: Path, value: str) -> None:
    """--lost takes names of hosts.txt: another is refused before anything is asked, and those that there are named."""
    (tmp_path / "hosts.txt").write_text("gpu[1-2] 1\n")
    arguments = ["plan", "--hosts", str(tmp_path / "hosts.txt"), "--dataset", str(tmp_path), "--lost", value]
    error = CliRunner().invoke(cli, arguments).exception
    assert isinstance(error, InputError)
    assert str(error) == f"--lost {value}: no such host in {tmp_path}/hosts.txt, which names gpu1, gpu2"


def test_an_unknown_option_is_exit_code_2() -> None:
    """A mistyped option is refused, with its name."""
    result = CliRunner().invoke(cli, ["launch", "--datset", "x"])
    assert result.exit_code == 2
    assert "--datset" in result.output


def test_a_limit_is_for_streaming(tmp_path: Path) -> None:
    """--max-bandwidth together with --fetch download is refused, with what to leave out."""
    arguments = ["plan", "--dataset", str(tmp_path), "--max-bandwidth", "20M", "--fetch", "download"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "leave out --fetch download" in result.output


@pytest.mark.parametrize(
    ("words", "bos"), [((), None), (("--bos",), "own"), (("--bos", "--eod", "none"), "own"), (("--bos", "5"), "5")]
)
def test_bos_with_and_without_an_id(words: tuple[str, ...], bos: str | None) -> None:
    """--bos alone is the tokenizer's own token; an id may follow it, and other options."""
    seen: list[Request] = []

    @click.command()
    @run_options
    def command(request: Request) -> None:
        seen.append(request)

    assert CliRunner().invoke(command, ["--dataset", "x", *words]).exit_code == 0
    assert seen[0].bos == bos
