"""`shardfleet dedup DIR HOLDOUT`: where it may write, and what it refuses before it begins."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from provision.cli import cli
from shard.records.job import Holdout
from tests.support.jobs import make_job, write_corpus
from tests.support.plans import tree_of
from tests.support.worker import write_all

TEXTS = [f"document {number % 8} of ten, two of which stand here twice" for number in range(10)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten documents, two of them copies, as one unit; `train` and `holdout` below the directory."""
    root = tmp_path_factory.mktemp("ten")
    write_corpus(root / "corpus", TEXTS, files=1)
    write_all(make_job(root / "corpus", root, holdout=Holdout(rate=0.0)))
    return root


def test_directories_that_cannot_be(store: Path, tmp_path: Path) -> None:
    """A working directory that has shards, or that is in what is to be made, one that is a file, targets one inside the
    other and a directory without its holdout are refused before anything is made."""
    train, holdout = (str(store / split) for split in ("train", "holdout"))
    before = tree_of(store)
    (tmp_path / "file").write_bytes(b"")
    out, inside = str(tmp_path / "out"), str(tmp_path / "out" / "in")
    for given, said in (
        (["--work-dir", train], "has shards"),
        (["--work-dir", out], "is to be made"),
        (["--work-dir", inside], "is to be made"),
        (["--work-dir", str(tmp_path / "file")], "no place for signatures and removal lists: File exists"),
        (["--holdout-dir", out], "are the same directory"),
        (["--holdout-dir", inside], "are one inside the other"),
    ):
        refused = CliRunner().invoke(cli, ["dedup", train, holdout, "--to", out, *given, "--kind", "exact"])
        assert said in str(refused.exception), (given, refused.output)
    alone = CliRunner().invoke(cli, ["dedup", train, "--to", out])
    assert alone.exit_code == 2 and "give train and holdout, one behind the other" in alone.output
    assert tree_of(store) == before and [path.name for path in tmp_path.iterdir()] == ["file"]


def test_home_is_understood(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `~` that the shell has left, as after `--to=`, is the user's home; at the end only what dedup has made is
    called superfluous."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    pair = [str(store / split) for split in ("train", "holdout")]
    command = ["dedup", *pair, "--to=~/out", "--work-dir=~/", "--kind", "exact", "--max-removed", "50%"]
    done = CliRunner().invoke(cli, [*command, "--processes", "1"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out_holdout", "removed", "signatures"]
    assert f"{tmp_path}/signatures, {tmp_path}/removed: remove them" in done.output


@pytest.mark.parametrize(
    ("most", "fits"), [("20%", True), ("0.2", True), ("19.999%", False), ("100%", True), ("0", False)]
)
def test_guard_at_its_border(store: Path, tmp_path: Path, most: str, fits: bool) -> None:
    """As many duplicates as are allowed go, one more does not; the message has numbers where percentages look alike."""
    pair = [str(store / split) for split in ("train", "holdout")]
    command = ["dedup", *pair, "--to", str(tmp_path / "out"), "--kind", "exact", "--processes", "1"]
    done = CliRunner().invoke(cli, [*command, "--max-removed", most])
    assert (done.exit_code == 0) == (tmp_path / "out").exists() == fits, done.output
    assert "2 of 10 documents would go, 20.00%" in done.output
    assert fits or ": 2 of 10, not " in str(done.exception)
