"""`shardfleet push`, to the local Hub server; and that server's routes for it."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow.parquet as pq
import pytest

from provision.catalog.card import configs_of
from provision.errors import InputError
from provision.finish.publish import publish
from shard.export.options import ExportOptions
from shard.export.run import export
from shard.records.job import Holdout
from tests.support.hub import RunningHub, running_hub
from tests.support.jobs import make_job, write_corpus
from tests.support.worker import write_all

SHARDFLEET = str(Path(sys.executable).parent / "shardfleet")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """An export as TeenyTinyLlama reads it: rows of 64 tokens, train and test."""
    root = tmp_path_factory.mktemp("packed")
    job = make_job(write_corpus(root / "corpus", documents[:30]), root, holdout=Holdout(rate=0.3))
    write_all(job, root)
    export(
        [Path(job.output_dir), Path(job.holdout_dir)], "parquet-packed", root / "out", ExportOptions(context_length=64)
    )
    return root / "out"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture
def repository(root: Path) -> Iterator[Path]:
    """`me/x`, empty."""
    (root / "me" / "x").mkdir(parents=True)
    yield root / "me" / "x"
    shutil.rmtree(root / "me" / "x")


@pytest.fixture(scope="module")
def hub(root: Path) -> Iterator[RunningHub]:
    with running_hub(root, writable=True) as running:
        yield running


def push(hub: RunningHub, home: Path, *words: object, token: str = "hf_me") -> "subprocess.CompletedProcess[str]":
    own = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": token}
    return subprocess.run(
        [SHARDFLEET, "push", *map(str, words)],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "NO_PROXY": "*", **own},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_push(packed: Path, root: Path, hub: RunningHub, tmp_path: Path) -> None:
    """Every file arrives as it is, with a card from which files, tokenizer and rows can be known; pushed again, nothing
    is sent, and a card that somebody has edited stays."""
    done = push(hub, tmp_path, packed, "--repo", "me/packed")
    assert done.returncode == 0, done.stderr
    arrived = {
        path.relative_to(root / "me" / "packed").as_posix(): path for path in (root / "me" / "packed").rglob("*")
    }
    for path in (path for path in packed.rglob("*") if path.is_file()):
        assert arrived[path.relative_to(packed).as_posix()].read_bytes() == path.read_bytes()
    table = pq.read_table(root / "me" / "packed" / "test")
    assert {name: str(table.schema.field(name).type.value_type) for name in table.schema.names} == {
        "input_ids": "int32",
        "attention_mask": "int8",
        "labels": "int64",
    }
    card = root / "me" / "packed" / "README.md"
    assert [config.globs for config in configs_of(huggingface_hub.DatasetCard.load(card))] == [("train/*.parquet",)]
    for said in ("`bytes` (bytes", "Rows: 64 tokens", "after it: id 256", "Before every document: nothing"):
        assert said in card.read_text()
    card.write_text("my own words")
    commit = done.stdout.rpartition("/")[2]
    again = push(hub, tmp_path, packed, "--repo", "me/packed")
    assert again.returncode == 0, again.stderr
    assert card.read_text() == "my own words"
    assert again.stdout.rpartition("/")[2] != commit
    assert not (root / "me" / "packed" / ".cache").exists()


def test_another_export_takes_the_place_of_the_first(packed: Path, root: Path, hub: RunningHub, tmp_path: Path) -> None:
    """Of an export in other files nothing is left that load_dataset would read beside the new one; what else is there
    stays."""
    job = make_job(write_corpus(tmp_path / "corpus", ["some text", "more"] * 50), tmp_path, holdout=Holdout(rate=0.0))
    write_all(job, tmp_path)
    options = ExportOptions(context_length=64, shard_tokens=200)
    export([Path(job.output_dir)], "parquet-packed", tmp_path / "many", options)
    repository = root / "me" / "again"
    assert push(hub, tmp_path, tmp_path / "many", "--repo", "me/again").returncode == 0
    assert len(list((repository / "train").iterdir())) > 1
    (repository / "train" / "own.parquet").write_bytes(b"")
    (repository / "train" / "notes.txt").write_bytes(b"")
    done = push(hub, tmp_path, packed, "--repo", "me/again")
    assert done.returncode == 0, done.stderr
    names = {path.relative_to(repository).as_posix() for path in repository.rglob("*.*") if path.is_file()}
    own = {"train/own.parquet", "train/notes.txt", "README.md"}
    assert names == own | {path.relative_to(packed).as_posix() for path in packed.rglob("*.*")}


def test_private(packed: Path, root: Path, hub: RunningHub, tmp_path: Path) -> None:
    """A private dataset is seen with the token that made it alone."""
    assert push(hub, tmp_path, packed, "--repo", "me/secret", "--private").returncode == 0
    assert json.loads((root / "me" / "secret" / ".hub.json").read_text()) == {"private": True, "tokens": ["hf_me"]}
    other = push(hub, tmp_path, packed, "--repo", "me/secret", token="hf_other")
    assert other.returncode == 2
    assert "me/secret: " in other.stderr
    assert "set HF_TOKEN" in other.stderr


def test_what_cannot_be_pushed(packed: Path, tmp_path: Path) -> None:
    """A directory that export has not made, another format, a file that is missing or of another size."""
    with pytest.raises(InputError, match=r"no export\.json in it"):
        publish(tmp_path, "me/x", private=False)
    copy = tmp_path / "copy"
    (copy / "train").mkdir(parents=True)
    (copy / "export.json").write_bytes((packed / "export.json").read_bytes())
    with pytest.raises(InputError, match=r"parquet: No such file .*; export again"):
        publish(copy, "me/x", private=False)
    for path in packed.rglob("*.parquet"):
        target = copy / path.relative_to(packed)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"bytes, export\.json says"):
        publish(copy, "me/x", private=False)
    (copy / "export.json").write_bytes((packed / "export.json").read_bytes().replace(b"packed", b"pocked"))
    with pytest.raises(InputError, match="its seal"):
        publish(copy, "me/x", private=False)


# The server


def call(hub: RunningHub, path: str, body: object, *, token: str | None = "t", method: str = "POST") -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{hub.endpoint}{path}", data, headers, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def change(key: str, **value: object) -> bytes:
    return json.dumps({"key": key, "value": value}).encode()


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "a/../../x", ".hub.json", ".git/config", "a/.cache/x", "", "link/x"]
)
def test_no_path_leaves_a_repository(path: str, repository: Path, hub: RunningHub, tmp_path: Path) -> None:
    """Whatever a commit names, nothing is written, or removed, outside the repository's own files."""
    (repository / "link").symlink_to(tmp_path)
    content = base64.b64encode(b"evil").decode()
    for body in (change("file", path=path, content=content), change("deletedFile", path=path)):
        both = change("file", path="fine.txt", content=content) + b"\n" + body
        assert call(hub, "/api/datasets/me/x/commit/main", both)[0] == 400
    assert [path.name for path in repository.iterdir()] == ["link"]
    assert not (tmp_path / "x").exists()


def test_an_upload_must_be_what_was_announced(repository: Path, hub: RunningHub) -> None:
    """A file is taken at its own address, once announced, with its own sha256; a commit cannot name another."""
    oid = hashlib.sha256(b"content").hexdigest()
    status, answer = call(hub, "/datasets/me/x.git/info/lfs/objects/batch", {"objects": [{"oid": oid, "size": 7}]})
    href = json.loads(answer)["objects"][0]["actions"]["upload"]["href"].removeprefix(hub.endpoint)
    lfs = change("lfsFile", path="a.parquet", oid=oid, size=7, algo="sha256")
    assert (status, call(hub, "/api/datasets/me/x/commit/main", lfs)[0]) == (200, 400)
    assert call(hub, href, b"other", method="PUT", token=None)[0] == 400
    assert call(hub, "/upload/guessed", b"content", method="PUT")[0] == 403
    assert call(hub, href, b"content", method="PUT", token=None)[0] == 200
    assert call(hub, "/api/datasets/me/x/commit/main", lfs)[0] == 200
    assert (repository / "a.parquet").read_bytes() == b"content"
    assert call(hub, "/datasets/me/x.git/info/lfs/objects/batch", {"objects": [{"oid": "../x", "size": 7}]})[0] == 400


def test_who_may_write(repository: Path, hub: RunningHub) -> None:
    """Without a token nothing is made or changed; a repository is made once; a name must be one."""
    assert call(hub, "/api/repos/create", {"organization": "me", "name": "y"}, token=None)[0] == 401
    assert call(hub, "/api/datasets/me/x/commit/main", b"", token=None)[0] == 401
    assert call(hub, "/api/repos/create", {"organization": "me", "name": "y"})[0] == 200
    assert call(hub, "/api/repos/create", {"organization": "me", "name": "y"})[0] == 409
    assert call(hub, "/api/repos/create", {"organization": "..", "name": "y"})[0] == 400
    assert call(hub, "/api/datasets/me/gone/commit/main", b"")[0] == 404


def test_read_only_unless_told(repository: Path, root: Path) -> None:
    """A server that was not started as writable has no such routes."""
    with running_hub(root) as hub:
        assert call(hub, "/api/repos/create", {"organization": "me", "name": "z"})[0] in (404, 405)
        assert call(hub, "/api/datasets/me/x/commit/main", b"")[0] in (404, 405)
    assert not (root / "me" / "z").exists()
