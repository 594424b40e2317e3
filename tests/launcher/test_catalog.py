"""What a dataset's name stands for: on the real Hub server, in directories, behind fsspec URLs.

huggingface_hub reads its environment when it is imported, so what concerns variables runs in a process of its own.
"""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fsspec
import huggingface_hub
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from provision.catalog.files import files_catalog
from provision.catalog.types import Catalog, DatasetSpec, choose
from provision.errors import CatalogError
from provision.prepare.prepare import list_dataset
from tests.support.hub import RunningHub, running_hub

TOKEN = "hf_catalogtest"

_PROGRAM = """
import json, sys
import msgspec
from provision.catalog.types import DatasetSpec
from provision.errors import ProvisionError
from provision.prepare.prepare import list_dataset
spec = msgspec.json.decode(sys.argv[1], type=DatasetSpec)
try:
    catalog = list_dataset(spec)
except ProvisionError as error:
    print(json.dumps({"error": str(error), "kind": type(error).__name__, "code": error.exit_code}))
else:
    print(json.dumps(msgspec.to_builtins(catalog)))
"""


def write(path: Path, texts: Sequence[str | None] = ("one", "two"), column: str = "text") -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: pa.array(texts, pa.string()), "number": list(range(len(texts)))}), path)
    return path.read_bytes()


@dataclass
class Hub:
    """A server and the folder of one repository of it."""

    running: RunningHub
    root: Path
    home: Path

    def repository(self, name: str, card: str | None = None, access: dict[str, Any] | None = None) -> Path:
        folder = self.root / "team" / name
        folder.mkdir(parents=True, exist_ok=True)
        if card is not None:
            (folder / "README.md").write_text(f"---\n{textwrap.dedent(card)}---\n# A dataset\n")
        if access is not None:
            (folder / ".hub.json").write_text(json.dumps(access))
        return folder

    def ask(self, name: str, environment: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
        """What the catalog says of `team/<name>`, or of another full name: its fields, or an error."""
        spec = DatasetSpec(name=name if "/" in name else f"team/{name}", **fields)
        if environment is not None:
            return self._ask_elsewhere(spec, environment)
        try:
            found: dict[str, Any] = json.loads(msgspec.json.encode(list_dataset(spec)))
        except CatalogError as error:
            return {"error": str(error), "kind": "CatalogError", "code": error.exit_code}
        return found

    def _ask_elsewhere(self, spec: DatasetSpec, environment: dict[str, str]) -> dict[str, Any]:
        given = {"HF_ENDPOINT": self.running.endpoint, "HF_HOME": str(self.home), "HOME": str(self.home)}
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, msgspec.json.encode(spec).decode()],
            env={"PATH": os.environ["PATH"], "NO_PROXY": "*", **given, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def paths(self, name: str, **fields: Any) -> list[str]:
        found = self.ask(name, **fields)
        return [file["path"] for file in found["files"]] if "files" in found else [found["error"]]

    def error(self, name: str, environment: dict[str, str] | None = None, **fields: Any) -> str:
        """The message; every error of a catalog is the user's to mend, with exit code 2."""
        found = self.ask(name, environment, **fields)
        assert (found.get("kind"), found.get("code")) == ("CatalogError", 2), found
        message: str = found["error"]
        return message


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningHub, Path]]:
    root = tmp_path_factory.mktemp("hub")
    with running_hub(root) as hub:
        yield hub, root


@pytest.fixture
def hub(running: tuple[RunningHub, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    # What huggingface_hub has read from the environment on import, as if it had been this.
    endpoint = running[0].endpoint
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setenv("NO_PROXY", "*")
    return Hub(*running, tmp_path)


def test_hub_dataset_is_pinned(hub: Hub) -> None:
    """A dataset on the Hub becomes a commit sha and its Parquet files in order, each with size and LFS sha256."""
    folder = hub.repository("pinned")
    contents = {path: write(folder / path) for path in ("data/b.parquet", "data/a.parquet", "c.parquet")}
    (folder / "notes.txt").write_text("no data")
    found = hub.ask("pinned")
    assert found["files"] == [
        {"path": path, "size": len(data), "content_id": f"sha256:{hashlib.sha256(data).hexdigest()}"}
        for path, data in sorted(contents.items())
    ]
    dataset = found["dataset"]
    assert len(dataset["revision"]) == 40
    assert {name: dataset[name] for name in ("kind", "name", "root", "text_column", "endpoint")} == {
        "kind": "hub",
        "name": "team/pinned",
        "root": "team/pinned",
        "text_column": "text",
        "endpoint": hub.running.endpoint,
    }
    again = hub.ask("pinned", revision=dataset["revision"])
    assert (again["dataset"], again["files"]) == (dataset, found["files"])


def test_listing_costs_few_requests(hub: Hub) -> None:
    """However many files there are: a handful of API calls, and one resolve, whose answer is handed on."""
    folder = hub.repository("many")
    for number in range(30):
        write(folder / f"{number:02d}.parquet")
    before = hub.running.stats()
    found = hub.ask("many")
    after = hub.running.stats()
    assert after["resolve"] - before["resolve"] == 1
    assert after["api"] - before["api"] <= 4
    assert list(found["locations"]) == ["00.parquet"]


CARD = """\
    configs:
    - config_name: default
      data_files: main/*.parquet
    - config_name: one
      data_files: one/a.parquet
    - config_name: listed
      data_files: [one/*.parquet, ./two/a.parquet]
    - config_name: splits
      data_files:
      - split: train
        path: two/train-*
      - split: test
        path: [two/test-*]
    - config_name: parts
      data_files:
      - {split: part_1, path: one/*}
      - {split: part_2, path: [two/a.parquet]}
    - config_name: directory
      data_dir: two
    - config_name: inside
      data_dir: two/deep
      data_files: "**/x.parquet"
    - config_name: nothing
      data_files: absent/*.parquet
"""

TREE = (
    *("main/a.parquet", "main/deep/b.parquet", "one/a.parquet", "one/b.parquet", "two/a.parquet"),
    *("two/train-0.parquet", "two/train-1.parquet", "two/test-0.parquet", "two/deep/x.parquet", "two/deep/y/x.parquet"),
)


@pytest.fixture(scope="module")
def carded(running: tuple[RunningHub, Path]) -> Path:
    folder = running[1] / "team" / "carded"
    for path in TREE:
        write(folder / path)
    (folder / "README.md").write_text(f"---\n{textwrap.dedent(CARD)}---\n")
    return folder


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, ["main/a.parquet"]),
        ("one", ["one/a.parquet"]),
        ("listed", ["one/a.parquet", "one/b.parquet", "two/a.parquet"]),
        ("splits", ["two/train-0.parquet", "two/train-1.parquet"]),
        ("parts", ["one/a.parquet", "one/b.parquet", "two/a.parquet"]),
        ("directory", [path for path in sorted(TREE) if path.startswith("two/")]),
        ("inside", ["two/deep/x.parquet", "two/deep/y/x.parquet"]),
        ("nothing", ["team/carded: no file matches absent/*.parquet"]),
        (
            "absent",
            [
                "team/carded: no configuration 'absent'; "
                "it has default, directory, inside, listed, nothing, one, parts, splits"
            ],
        ),
    ],
)
def test_configurations_of_a_card(hub: Hub, carded: Path, config: str | None, expected: list[str]) -> None:
    """--config names the files that the card lists for its training split; without it, those of the default one."""
    assert hub.paths("carded", config=config) == expected


def test_splits_left_out_are_told(hub: Hub, carded: Path) -> None:
    """Splits other than train are left out, and the user is told which."""
    assert hub.ask("carded", config="splits")["notes"] == ["configuration splits, split train; left out: test"]
    assert hub.ask("carded", config="parts")["notes"] == []


def test_a_split_of_the_users_choice(hub: Hub, carded: Path) -> None:
    """--split takes what the card lists for it, and says so; a configuration that names no files has the splits of its
    paths."""
    assert hub.paths("carded", config="splits", split="test") == ["two/test-0.parquet"]
    assert hub.ask("carded", config="splits", split="test")["notes"] == ["configuration splits, split test"]
    assert hub.paths("carded", config="parts", split="part_2") == ["two/a.parquet"]
    assert hub.error("carded", config="parts", split="train") == (
        "team/carded: configuration parts has no split 'train'; it has part_1, part_2"
    )
    assert hub.paths("carded", config="directory", split="test") == ["two/test-0.parquet"]
    assert hub.paths("carded", include=("two/*",), split="test") == ["two/test-0.parquet"]


def test_splits_without_a_card(hub: Hub) -> None:
    """Where no card names splits all files are taken, and files of other splits are told; --split goes by paths."""
    folder = hub.repository("uncarded")
    for path in ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"):
        write(folder / path)
    assert len(hub.paths("uncarded")) == 2
    assert "1 of train, 1 of test; --split train takes those alone" in hub.ask("uncarded")["notes"][0]
    assert hub.paths("uncarded", split="train") == ["data/train-00000-of-00001.parquet"]
    assert hub.ask("uncarded", split="train")["notes"] == []
    assert "no file of the split 'dev'; there are test, train" in hub.error("uncarded", split="dev")


@pytest.mark.parametrize(
    ("include", "config", "expected"),
    [
        (("one/*",), None, ["one/a.parquet", "one/b.parquet"]),
        (("**/x.parquet",), None, ["two/deep/x.parquet", "two/deep/y/x.parquet"]),
        (("two/*",), None, [path for path in sorted(TREE) if path.startswith("two/") and path.count("/") == 1]),
        (("two/**",), "splits", ["two/train-0.parquet", "two/train-1.parquet"]),
        (("one/b*", "./main/a*"), None, ["main/a.parquet", "one/b.parquet"]),
        (("one/[!a].parquet",), None, ["one/b.parquet"]),
        (("README.md",), None, ["team/carded: no file to be read matches README.md; there are 1 .md"]),
        (("absent/**",), None, ["team/carded: no file matches absent/**"]),
    ],
)
def test_include(hub: Hub, carded: Path, include: tuple[str, ...], config: str | None, expected: list[str]) -> None:
    """--include takes files of the whole repository by glob; beside --config, of that configuration's files."""
    assert hub.paths("carded", include=include, config=config) == expected


def test_choice_between_configurations_is_the_users(hub: Hub) -> None:
    """A card with several configurations and no default one: they are listed, unless --include says what to take."""
    folder = hub.repository(
        "choice",
        """\
        configs:
        - config_name: fr
          data_files: fr/*
        - config_name: de
          data_files: de/*
        """,
    )
    write(folder / "de/a.parquet")
    assert hub.error("choice") == "team/choice: choose one of its configurations with --config: de, fr"
    assert hub.paths("choice", include=("de/*",)) == ["de/a.parquet"]
    assert hub.paths("choice", config="de") == ["de/a.parquet"]


def test_marked_default_configuration(hub: Hub) -> None:
    """`default: true` in a card marks the configuration that is taken without --config."""
    card = "configs:\n- config_name: a\n  data_files: a/*\n- {config_name: b, data_files: b/*, default: true}\n"
    folder = hub.repository("marked", card)
    for path in ("a/x.parquet", "b/x.parquet"):
        write(folder / path)
    assert hub.paths("marked") == ["b/x.parquet"]


@pytest.mark.parametrize(
    "card",
    [
        "",
        "configs: 3\n",
        "configs: [1, {}]\n",
        "license: mit\n",
        "configs: {a: b}\n",
    ],
)
def test_card_that_says_nothing_of_files(hub: Hub, card: str) -> None:
    """A card without usable configurations leaves all files to take; --config says that there are none."""
    name = f"plain-{hashlib.sha256(card.encode()).hexdigest()[:8]}"
    write(hub.repository(name) / "a.parquet")
    (hub.root / "team" / name / "README.md").write_text(f"---\n{card}---\n")
    assert hub.paths(name) == ["a.parquet"]
    assert "its card lists none; choose files with --include" in hub.error(name, config="default")


@pytest.mark.parametrize("card", ["configs:\n  - [broken\n", "- a\n- b\n", "\ttabs: {\n"])
def test_card_that_cannot_be_read(hub: Hub, card: str) -> None:
    """A card that is no YAML might name the files to take: it is refused, unless --include names them."""
    name = f"broken-{hashlib.sha256(card.encode()).hexdigest()[:8]}"
    write(hub.repository(name) / "a.parquet")
    (hub.root / "team" / name / "README.md").write_text(f"---\n{card}---\n")
    assert "its card cannot be read; choose files with --include" in hub.error(name)
    assert hub.paths(name, include=("*.parquet",)) == ["a.parquet"]


def test_missing_and_private(hub: Hub) -> None:
    """A dataset that is not there and a private one look alike from outside: the message says what to do for both."""
    write(hub.repository("private", access={"private": True, "tokens": [TOKEN]}) / "a.parquet")
    for name in ("private", "absent"):
        message = hub.error(name)
        assert message.startswith(f"team/{name}: no such dataset on {hub.running.endpoint}, or a private one")
        assert "HF_TOKEN" in message


def test_token_opens_a_private_dataset(hub: Hub, tmp_path: Path) -> None:
    """HF_TOKEN, and a file that HF_TOKEN_PATH names, are used; the token is not in what the catalog says."""
    write(hub.repository("private", access={"private": True, "tokens": [TOKEN]}) / "a.parquet")
    (tmp_path / "token file").write_text(f"{TOKEN}\n")
    for environment in ({"HF_TOKEN": TOKEN}, {"HF_TOKEN_PATH": str(tmp_path / "token file")}):
        found = hub.ask("private", environment)
        assert [file["path"] for file in found["files"]] == ["a.parquet"]
        assert TOKEN not in json.dumps(found)
    assert "no such dataset" in hub.error("private", {"HF_TOKEN": "hf_wrong"})


def test_gated(hub: Hub) -> None:
    """A gated dataset without access names the page that grants it; with an account that has it, it is listed."""
    write(hub.repository("gated", access={"gated": "manual", "tokens": [TOKEN]}) / "a.parquet")
    page = f"team/gated: gated; ask for access on {hub.running.endpoint}/datasets/team/gated"
    assert hub.error("gated").startswith(page)
    assert hub.error("gated", {"HF_TOKEN": "hf_other"}).startswith(page)
    assert "files" in hub.ask("gated", {"HF_TOKEN": TOKEN})


def test_bad_revision(hub: Hub) -> None:
    """A branch, tag or commit that is not there is named, with the page that lists them."""
    write(hub.repository("revised") / "a.parquet")
    message = hub.error("revised", revision="v99")
    assert message.startswith("team/revised: no revision 'v99'")
    assert "/datasets/team/revised" in message


def test_nothing_to_take(hub: Hub) -> None:
    """Empty repositories and those without a file that can be read are refused, each saying what there is."""
    hub.repository("empty")
    (hub.repository("other") / "a.csv").write_text("text")
    (hub.root / "team" / "other" / "LICENSE").write_text("")
    assert "holds no file" in hub.error("empty")
    there = "there are 1 .csv, 1 LICENSE; --input-format says how to read files of other names"
    assert hub.error("other") == f"team/other: no file to be read; {there}"


def test_text_column(hub: Hub) -> None:
    """A text column that is missing, or holds no strings, is refused with the columns there are."""
    write(hub.repository("columns") / "a.parquet", column="content")
    assert "no column 'text'; its columns are content, number. Name one with --text-column" in hub.error("columns")
    assert "column 'number' holds int64, neither strings" in hub.error("columns", text_column="number")
    assert hub.paths("columns", text_column="content") == ["a.parquet"]


def test_first_file_is_damaged(hub: Hub) -> None:
    """A damaged or empty first file does not end the plan; the column is looked for in the next one."""
    folder = hub.repository("damaged")
    (folder / "a.parquet").write_bytes(b"")
    (folder / "b.parquet").write_bytes(b"no Parquet" * 100)
    write(folder / "c.parquet", column="body")
    assert "no column 'text'" in hub.error("damaged")
    assert hub.paths("damaged", text_column="body") == ["a.parquet", "b.parquet", "c.parquet"]


@pytest.mark.parametrize(
    "environment",
    [
        {"HF_ENDPOINT": "http://127.0.0.1:1"},
        {"HF_ENDPOINT": "http://no-such-host.invalid"},
        {"HF_ENDPOINT": "no url"},
        {"HF_HUB_OFFLINE": "1"},
    ],
    ids=["refused", "unknown host", "no scheme", "offline"],
)
def test_hub_out_of_reach(hub: Hub, environment: dict[str, str]) -> None:
    """A Hub that cannot be reached is named, with what to check."""
    message = hub.error("pinned", environment)
    assert "cannot be reached" in message
    assert "HF_ENDPOINT" in message
    assert environment.get("HF_ENDPOINT", hub.running.endpoint) in message


class _Portal(BaseHTTPRequestHandler):
    """Answers everything with a page, as a captive portal does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Please log in</html>")

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_endpoint_that_is_no_hub(hub: Hub) -> None:
    """An address that answers with web pages is no Hub: the endpoint is named."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Portal) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        message = hub.error("pinned", {"HF_ENDPOINT": endpoint})
        server.shutdown()
    assert endpoint in message
    assert "HF_ENDPOINT" in message


def test_hub_in_trouble(hub: Hub) -> None:
    """A Hub that goes on answering 500 is named, with the advice to try later."""
    write(hub.repository("trouble") / "a.parquet")
    hub.running.arm({"kind": "status", "where": "api", "path": "team/trouble", "status": 501, "times": None})
    try:
        message = hub.error("trouble")
    finally:
        hub.running.clear()
    assert hub.running.endpoint in message
    assert "try again later" in message


@pytest.mark.parametrize("name", ["a/b/c", "team/..", "../team", "team/a b", "team/$(id)", "team/" + "x" * 300])
def test_name_that_is_none(hub: Hub, name: str) -> None:
    """A name that neither a directory nor the Hub can have is refused, and nothing is asked of the Hub."""
    before = hub.running.stats()["api"]
    message = hub.error(name)
    assert name in message
    assert ("neither a directory nor owner/name on the Hub" in message) == (not name.startswith(".."))
    assert hub.running.stats()["api"] == before


# Directories and URLs: no Hub, no process of their own.


def listed(name: str, **fields: Any) -> Catalog:
    return files_catalog(DatasetSpec(name=name, **fields))


def test_directory(tmp_path: Path) -> None:
    """A directory becomes its Parquet files, in order of their paths below it, and a digest of the listing."""
    contents = {path: write(tmp_path / "d" / path) for path in ("b/x.parquet", "a.parquet", "b.parquet")}
    (tmp_path / "d" / "notes.txt").write_text("")
    found = listed(str(tmp_path / "d"))
    assert [(file.path, file.size) for file in found.files] == [
        (path, len(data)) for path, data in sorted(contents.items())
    ]
    assert all(file.content_id.startswith("tail:") for file in found.files)
    assert (found.dataset.kind, found.dataset.root, found.dataset.endpoint) == ("files", str(tmp_path / "d"), None)
    assert len(found.dataset.revision) == 64


def test_content_counts_and_places_do_not(tmp_path: Path) -> None:
    """A copy elsewhere has the same revision and content ids; other content of equal size has others."""
    for name, texts in (("one", ["aaaa", "b"]), ("copy", ["aaaa", "b"]), ("other", ["aaab", "b"])):
        write(tmp_path / name / "x.parquet", texts)
    one, copy, other = (listed(str(tmp_path / name)) for name in ("one", "copy", "other"))
    assert (one.files, one.dataset.revision) == (copy.files, copy.dataset.revision)
    assert one.files[0].size == other.files[0].size
    assert one.files != other.files


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}/.", "{}/sub/..", "file://{}", "file://{}/", "{}//"])
def test_spellings_of_a_directory(tmp_path: Path, spelling: str) -> None:
    """Trailing slashes, dots and file:// give the same files under the same paths."""
    write(tmp_path / "d" / "sub" / "x.parquet")
    write(tmp_path / "d" / "y.parquet")
    found = listed(spelling.format(tmp_path / "d"))
    assert [file.path for file in found.files] == ["sub/x.parquet", "y.parquet"]


def test_relative_directory_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative directory is taken from here, `~` is the home; hosts are given the whole path."""
    write(tmp_path / "d" / "x.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    roots = [list_dataset(DatasetSpec(name=name)).dataset.root for name in ("d", "./d", "~/d", str(tmp_path / "d"))]
    assert roots == [str(tmp_path / "d")] * 4


def test_directory_below_a_hidden_one(tmp_path: Path) -> None:
    """Hidden files and directories in a dataset are no data; a dataset that lies below a hidden directory is."""
    root = tmp_path / ".cache" / "d"
    for path in ("x.parquet", ".hidden.parquet", ".ipynb_checkpoints/x.parquet", "a/.tmp/x.parquet"):
        write(root / path)
    assert [file.path for file in listed(str(root)).files] == ["x.parquet"]


def test_memory_url() -> None:
    """Any fsspec URL is listed by its own file system: here, one in memory."""
    data = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["a"]}), data)
    memory = fsspec.filesystem("memory")
    try:
        for path in ("/ds/b/two.parquet", "/ds/one.parquet"):
            memory.pipe_file(path, data.getvalue().to_pybytes())
        found = list_dataset(DatasetSpec(name="memory://ds"))
        assert [file.path for file in found.files] == ["b/two.parquet", "one.parquet"]
        assert found.dataset.root == "memory://ds"
    finally:
        memory.rm("/ds", recursive=True)


class KeylessError(Exception):
    """Of no class that Python knows, as botocore's NoCredentialsError."""


class KeylessFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A driver that may list nothing."""

    protocol = "keyless"

    def find(self, path: str, **options: Any) -> dict[str, Any]:
        raise KeylessError("unable to locate credentials")


class SizelessFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A driver that knows no sizes, as for pages that HTTP servers make as they send them."""

    protocol = "sizeless"

    def find(self, path: str, **options: Any) -> dict[str, Any]:
        return {f"{path}/x.txt": {"name": f"{path}/x.txt", "size": None}}

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return {"name": path, "size": None}


class LinksFileSystem(SizelessFileSystem):
    """A driver that lists a page of links, and knows sizes file by file, as for HTTP."""

    protocol = "links"

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return {"name": path, "size": 5, "ETag": '"7-a"'}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        return b"a\nbc\n"[start:end]


class ClosedFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A driver whose user may list no directory below the one that is named."""

    protocol = "closed"

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[dict[str, Any]]:
        closed = {"system": (".hidden", "lost+found"), "user": ("sub",)}
        if path not in closed:
            raise PermissionError(f"Permission denied: {path!r}")
        return [
            {"name": f"{path}/x.txt", "size": 5, "ETag": "7", "type": "file"},
            *({"name": f"{path}/{name}", "size": 0, "type": "directory"} for name in closed[path]),
        ]

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        return b"a\nbc\n"[start:end]


def test_directories_that_cannot_be_listed() -> None:
    """Where a directory within the dataset cannot be listed, its files are not left out without a word; hidden ones,
    and those of the file system, hold none."""
    fsspec.register_implementation("closed", ClosedFileSystem, clobber=True)
    assert [file.path for file in list_dataset(DatasetSpec(name="closed://system")).files] == ["x.txt"]
    with pytest.raises(CatalogError, match=r"closed://user: cannot be listed: PermissionError: .*'user/sub'"):
        list_dataset(DatasetSpec(name="closed://user"))


def test_paths_longer_than_the_system_takes(tmp_path: Path) -> None:
    """Files that lie too deep to be read by their path are not left out without a word."""
    here = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "a.txt").write_text("a")
    for _ in range(18):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(CatalogError, match=r"cannot be listed: OSError: .*File name too long"):
        list_dataset(DatasetSpec(name=str(tmp_path)))


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (KeylessFileSystem, "keyless://d: cannot be listed: KeylessError: unable to locate credentials"),
        (SizelessFileSystem, "x.txt: the server does not say how large it is; download the files"),
    ],
)
def test_drivers_fail_in_ways_of_their_own(driver: Any, message: str) -> None:
    """Whatever class of error a driver raises, it is told as the dataset's, not as a traceback."""
    fsspec.register_implementation(driver.protocol, driver, clobber=True)
    with pytest.raises(CatalogError, match=message):
        list_dataset(DatasetSpec(name=f"{driver.protocol}://d"))


def test_sizes_that_the_listing_leaves_out() -> None:
    """Where a listing has names alone, every file is asked for its size, and for its etag as hosts will ask."""
    fsspec.register_implementation(LinksFileSystem.protocol, LinksFileSystem, clobber=True)
    (file,) = list_dataset(DatasetSpec(name="links://d")).files
    assert (file.path, file.size, file.content_id) == ("x.txt", 5, "etag:7-a")


def test_a_file_is_no_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a file is told as that, with what to give instead; it is not looked for on the Hub."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "corpus.jsonl").write_text('{"text": "a"}\n')
    monkeypatch.chdir(tmp_path)
    for name in ("data/corpus.jsonl", f"{tmp_path}/data/corpus.jsonl"):
        with pytest.raises(CatalogError, match=r"a file; give its directory, and --include corpus\.jsonl"):
            list_dataset(DatasetSpec(name=name))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("s3://KEY:SECRET@bucket/x", "s3://bucket/x"),
        ("s3://KEY:SEC/RET@bucket/x", "s3://bucket/x"),
        ("ftp://user:SECRET@host:21/x", "ftp://host:21/x"),
        ("ftp://user:12@host/x", "ftp://host/x"),
        ("ftp://user:SEC@RET@host/x", "ftp://host/x"),
        ("simplecache::sftp://user:SECRET@host/x", "simplecache::sftp://host/x"),
        ("zip://*.parquet::ftp://user:SECRET@host/x.zip", "zip://*.parquet::ftp://host/x.zip"),
    ],
)
def test_credentials_in_a_url(name: str, shown: str) -> None:
    """A URL with a password is refused before anything, and the message does not repeat it."""
    with pytest.raises(CatalogError) as caught:
        list_dataset(DatasetSpec(name=name, revision="main"))
    assert str(caught.value).startswith(f"{shown}: credentials in a URL would be written into plan")


@pytest.mark.parametrize(
    "name", ["abfs://container@account/x", "hdfs://host:8020/a@b/x", "zip://a.parquet::s3://b/c@d"]
)
def test_names_before_an_at_sign_are_no_credentials(name: str) -> None:
    """A container before its account, a host with its port, and an @ in a path are not taken for a password."""
    with pytest.raises(CatalogError) as caught:
        list_dataset(DatasetSpec(name=name, revision="main"))
    assert str(caught.value).startswith(f"{name}: --revision and --config are for datasets on the Hub")


def test_include_in_a_directory(tmp_path: Path) -> None:
    """--include chooses among files below the directory."""
    for path in ("a/x.parquet", "a/b/y.parquet", "z.parquet"):
        write(tmp_path / path)
    found = [listed(str(tmp_path), include=(glob,)) for glob in ("a/*", "a/**", "*.parquet", "./z*")]
    assert [[file.path for file in catalog.files] for catalog in found] == [
        ["a/x.parquet"],
        ["a/b/y.parquet", "a/x.parquet"],
        ["z.parquet"],
        ["z.parquet"],
    ]


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        ((), {}, "no such directory, or an empty one"),
        (("a.csv", "b.csv"), {}, "no file to be read; there are 2 .csv"),
        (("x.parquet",), {"include": ("*.json",)}, "no file matches --include *.json"),
        (("x.parquet",), {"text_column": "body"}, "no column 'body'"),
        (("x.parquet",), {"text_column": "number"}, "neither strings"),
        (("x.parquet",), {"revision": "main"}, "--revision and --config are for datasets on the Hub"),
        (("x.parquet",), {"config": "default"}, "--revision and --config are for datasets on the Hub"),
    ],
)
def test_directory_that_cannot_be_used(
    tmp_path: Path, make: tuple[str, ...], fields: dict[str, Any], message: str
) -> None:
    """A directory that is empty, or without what was asked for, is refused by name."""
    for name in make:
        write(tmp_path / "d" / name) if name.endswith(".parquet") else (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / name).touch()
    with pytest.raises(CatalogError) as caught:
        listed(str(tmp_path / "d"), **fields)
    assert str(tmp_path / "d") in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["/nowhere/at/all", "nosuch://bucket/x", "~nobody-of-that-name/x", "./nowhere"])
def test_place_that_is_not_there(name: str) -> None:
    """A directory that is missing, or a URL of an unknown kind, is refused by name."""
    with pytest.raises(CatalogError, match=name.replace("~", ".")):
        list_dataset(DatasetSpec(name=name))


def test_file_instead_of_a_directory(tmp_path: Path) -> None:
    """One file is no dataset; the message says how to take it alone."""
    write(tmp_path / "x.parquet")
    with pytest.raises(CatalogError, match=r"a file; give its directory, and --include x\.parquet"):
        list_dataset(DatasetSpec(name=str(tmp_path / "x.parquet")))


def test_damaged_files_are_listed(tmp_path: Path) -> None:
    """Damaged and empty files are part of the dataset: the run reports them. The column is looked for in the next."""
    (tmp_path / "a.parquet").write_bytes(b"")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nothing PAR1")
    write(tmp_path / "c.parquet")
    assert [file.path for file in listed(str(tmp_path)).files] == ["a.parquet", "b.parquet", "c.parquet"]
    with pytest.raises(CatalogError, match="no column 'body'"):
        listed(str(tmp_path), text_column="body")


@pytest.mark.parametrize(
    "name", ["a b", "$(id)", "it's", 'q"q', "new\nline", "ünï", "100%", "#1?x=y", "[a]", "{b}", "*"]
)
def test_odd_names(tmp_path: Path, name: str) -> None:
    """Odd names of files and directories are taken as they are."""
    write(tmp_path / name / f"{name}.parquet")
    assert [file.path for file in listed(str(tmp_path)).files] == [f"{name}/{name}.parquet"]
    assert [file.path for file in listed(str(tmp_path / name)).files] == [f"{name}.parquet"]


def test_choose_is_sorted_and_exact() -> None:
    """Globs match whole paths; `*` stays within a directory, `**` crosses them; the result is in dataset order."""
    paths = ["b/2.parquet", "a/1.parquet", "a.parquet", "ab/1.parquet"]
    assert choose(paths, ()) == sorted(paths)
    assert choose(paths, ("a/*",)) == ["a/1.parquet"]
    assert choose(paths, ("*",)) == ["a.parquet"]
    assert choose(paths, ("**",)) == sorted(paths)
    assert choose(paths, ("?/*",)) == ["a/1.parquet", "b/2.parquet"]
