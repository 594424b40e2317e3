"""`shardfleet import` and `concat`: directories of shards from others, by the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from provision.cli import cli
from shard.errors import SourceError


def invoke(*arguments: object) -> Result:
    """Errors of ours come through, as they do to main()."""
    return CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A directory as nanoGPT's preparers write it, of bytes."""
    directory = tmp_path / "tokens"
    directory.mkdir()
    for name, texts in (("train", ["one", "two", "three"]), ("val", ["four"])):
        ids = [token for text in texts for token in (*text.encode(), 256)]
        (directory / f"{name}.bin").write_bytes(np.array(ids, dtype="<u2").tobytes())
    return directory


def test_import_makes_directories_like_any_other(tokens: Path, tmp_path: Path) -> None:
    """The command says what it made; verify, inspect, cat and export take it, and give back the files."""
    target = tmp_path / "shards"
    said = invoke("import", tokens, "--format", "nanogpt", "--tokenizer", "bytes", "--to", target).stdout
    assert said == (
        f"{target}: 3 documents, 14 tokens from 1 file\n{target}_holdout: 1 documents, 5 tokens from 1 file\n"
    )
    assert "verified: complete" in invoke("verify", target).stdout
    assert json.loads(invoke("inspect", target, "--json").stdout)["documents"] == 3
    assert invoke("cat", target, "--document", 2).stdout == "three\n"
    invoke("export", target, f"{target}_holdout", "--format", "nanogpt", "--to", tmp_path / "out")
    for name in ("train.bin", "val.bin"):
        assert (tmp_path / "out" / name).read_bytes() == (tokens / name).read_bytes()


def test_home_that_the_shell_has_left(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--to=~/x`, which bash leaves as it is, is below the home, as it is for `launch`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tokens)
    invoke("import", "~/tokens", "--format=nanogpt", "--tokenizer=bytes", "--to=~/a", "--holdout-dir=~/b")
    invoke("export", "~/a", "~/b", "--format=nanogpt", "--to=~/c")
    invoke("concat", tmp_path / "a", tmp_path / "b", "--to=~/d", "--holdout-dir=~/e")
    assert {path.name for path in tmp_path.iterdir()} == {"tokens", *"abcde"}
    assert {path.name for path in tokens.iterdir()} == {"train.bin", "val.bin"}


def test_import_of_other_ids_leaves_nothing(tokens: Path, tmp_path: Path) -> None:
    """The file and the id are named, and no directory is there."""
    with pytest.raises(SourceError, match=r"train\.bin: .*end-of-document id \(101\)"):
        invoke(*("import", tokens, "--format", "nanogpt", "--tokenizer", "bytes", "--eod", 101), "--to", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]


def test_concat_says_what_it_made(tokens: Path, tmp_path: Path) -> None:
    """Both splits are joined in one command; the payload is that of the sources in a row."""
    for name in ("a", "b"):
        ids = np.fromfile(tokens / "train.bin", dtype="<u2")
        (tokens / "train.bin").write_bytes(np.concatenate((ids, ids)).tobytes())
        invoke("import", tokens, "--format", "nanogpt", "--tokenizer", "bytes", "--to", tmp_path / name)
    sources = [tmp_path / name for name in ("a", "a_holdout", "b", "b_holdout")]
    said = invoke("concat", *sources, "--to", tmp_path / "all", "--holdout-dir", tmp_path / "all_holdout").stdout
    assert said == (
        f"{tmp_path}/all: 4 units, 18 documents, 84 tokens\n{tmp_path}/all_holdout: 4 units, 2 documents, 10 tokens\n"
    )
    payloads = [b"".join(path.read_bytes() for path in sorted((tmp_path / n).glob("*.bin"))) for n in ("a", "b", "all")]
    assert payloads[0] + payloads[1] == payloads[2]
    assert "verified: complete" in invoke("verify", tmp_path / "all").stdout
