"""The command as users call it: in a process of its own, with its exit codes and messages."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from provision import __version__
from tests.support.jobs import write_corpus

SHARDFLEET = str(Path(sys.executable).parent / "shardfleet")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with hosts.txt and a dataset."""
    (tmp_path / "hosts.txt").write_text("# a cluster\nlocalhost 2\nalice@gpu[1-2] slots=4 port=2222\n")
    (tmp_path / "one.txt").write_text("localhost 2\n")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "dataset.json").touch()
    write_corpus(tmp_path / "data", ["one", "two"], files=2)
    return tmp_path


def call(place: Path, *arguments: str, module: bool = False) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "provision"] if module else [SHARDFLEET]
    environment = {"HOME": str(place), "PATH": "/usr/bin:/bin", "COLUMNS": "150"}
    return subprocess.run(
        [*command, *arguments], cwd=place, env=environment, capture_output=True, text=True, timeout=60
    )


def test_version(place: Path) -> None:
    """`--version` is that of the package, and `python -m provision` is the same command."""
    assert call(place, "--version").stdout == f"shardfleet, version {__version__}\n"
    assert call(place, "--version", module=True).stdout == f"shardfleet, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan",), "--dataset"),
        (("plan", "--dataset", "data", "--fetch", "guess"), "--fetch"),
        (("plan", "--dataset", "data", "--holdout-rate", "2"), "not between 0 and 1"),
        (("plan", "--dataset", "data", "--unit-size", "big"), "256MiB"),
        (("plan", "--dataset", "data", "--attempts", "0"), "--attempts"),
        (("plan", "--dataset", "data", "--lease", "1"), "--lease"),
        (("plan", "--dataset", "data", "--hosts", "no.txt"), "no.txt: no such file"),
        (("plan", "--dataset", "data", "--format", "mds"), "--format and --to go together"),
        (
            ("plan", "--dataset", "data", "--tokenizer", "bytes", "--to", "x", "--format", "mds"),
            "--to='x': not a whole path",
        ),
        (
            ("plan", "--dataset", "data", "--tokenizer", "bytes", "--to", "/x", "--format", "parquet-packed"),
            "needs --context-length",
        ),
        (("export", "~/x", "--format", "mds", "--to", "y", "--hosts", "one.txt"), "--to='y': not a whole path"),
        (("verify",), "TARGETS"),
        (("verify", "nowhere"), "no directory of shards"),
        (("verify", "nowhere", "neither"), "nowhere: no dataset.json there"),
        (("verify", "x" * 300), "no directory of shards"),
        (("plan", "--dataset", "data", "--hosts", "data"), "data: a directory; name the file in it"),
        (("plan", "--dataset", "data", "--tokenizer", "my.json"), "my.json: no such tokenizer: there is no file"),
        (("status", "nowhere"), "no run directory"),
        (("launch", "--dataset", "data", "--plain", "--json"), "--plain and --json: give one of them"),
        (("append", "/x", "--dataset", "data", "--plain", "--json"), "--plain and --json: give one of them"),
        (("attach", "nowhere", "--plain", "--json"), "--plain and --json: give one of them"),
        (("dedup", "nowhere", "--to", "/x", "--plain", "--json"), "--plain and --json: give one of them"),
        (("dedup", "shards", "--to", "/x"), "shards: a directory of shards; give train and holdout"),
        (("attach", "nowhere"), "there are none under runs/ here"),
        (("abort", "nowhere"), "no run directory"),
        (("nonsense",), "nonsense"),
        (("hub", "serve", "nowhere"), "nowhere"),
        (("hosts", "--format", "yaml"), "yaml"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_what_is_refused(place: Path, arguments: tuple[str, ...], message: str) -> None:
    """Bad usage and bad input exit with 2, name what is wrong, and show no traceback."""
    done = call(place, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_hosts_for_other_tools(place: Path) -> None:
    """`hosts` prints hosts.txt as pdsh list, DeepSpeed hostfile and Ansible inventory."""
    assert call(place, "hosts").stdout == "localhost,alice@gpu1,alice@gpu2\n"
    deepspeed = call(place, "hosts", "--format", "deepspeed").stdout
    assert deepspeed == "localhost slots=2\nalice@gpu1 slots=4\nalice@gpu2 slots=4\n"
    hosts = json.loads(call(place, "hosts", "--format", "ansible").stdout)["all"]["hosts"]
    assert hosts["localhost"]["ansible_connection"] == "local"
    assert (hosts["gpu1"]["ansible_user"], hosts["gpu1"]["ansible_port"]) == ("alice", 2222)


def test_plan_as_json(place: Path) -> None:
    """`plan --json` is one object: the plan, and what each host said; nothing is written."""
    before = sorted(path.name for path in place.iterdir())
    done = call(place, "plan", "--hosts", "one.txt", "--dataset", "data", "--tokenizer", "bytes", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert [unit["path"] for unit in plan["units"]] == ["part-0.parquet", "part-1.parquet"]
    assert plan["hosts"][0]["units"] == [0, 1]
    assert plan["surveys"]["localhost"]["version"] == __version__
    assert sorted(path.name for path in place.iterdir()) == before


def test_plan_names_hosts_that_are_not_ready(place: Path) -> None:
    """`plan` is made even where hosts cannot be reached; they are named beside it."""
    (place / "far.txt").write_text("localhost 1\nnowhere.invalid 1\n")
    done = call(place, "plan", "--hosts", "far.txt", "--dataset", "data", "--tokenizer", "bytes")
    assert done.returncode == 0, done.stderr
    assert "nowhere.invalid" in done.stdout
    assert "nowhere.invalid:" in done.stderr


def test_script_is_written_and_named(place: Path) -> None:
    """`script` writes run_all_hosts.sh, says where, and starts nothing."""
    done = call(place, "script", "--hosts", "one.txt", "--dataset", "data", "--tokenizer", "bytes")
    assert done.returncode == 0, done.stderr
    assert f"wrote {place / 'run_all_hosts.sh'}" in done.stderr
    assert not (place / "dataset_shard").exists()


def test_errors_send_a_terminal_no_orders(place: Path) -> None:
    """What a name from an archive has beside printable characters is not written to the terminal."""
    name = "\x1b]0;owned\x07\udcff.txt"
    (place / "tars").mkdir()
    with tarfile.open(place / "tars" / "a.tar", "w", errors="surrogateescape", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size = 9
        archive.addfile(member, io.BytesIO(b"truncated"))
    whole = (place / "tars" / "a.tar").read_bytes()
    (place / "tars" / "a.tar").write_bytes(whole[: 512 + 4])
    done = call(place, "text", "--dataset", "tars", "--to", "a.jsonl")
    assert done.returncode == 1
    assert "a.tar:  ]0;owned  .txt: not a whole tar archive" in done.stderr
