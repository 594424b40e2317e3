"""Bad input and what it gets: each item of the list, against real runs on this machine.

Everything goes through the command line, pdsh and the worker; the datasets are directories made here, or a Hub's.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import disks
from tests.support.fleet import DATASET, Fleet, count, running_fleet
from tests.support.jobs import write_corpus
from tests.support.oracle import (
    Documents,
    bytes_encode,
    documents_of,
    expected,
    json_encode,
    tiktoken_encode,
    written,
)
from tests.support.plans import tree_of

RATE = "2%"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Iterator[Fleet]:
    """This machine, one rank, and a Hub with a small dataset."""
    hub = tmp_path_factory.mktemp("hub")
    write_corpus(hub / DATASET, documents[:40], files=2)
    with running_fleet(tmp_path_factory.mktemp("bad"), hub, {"localhost": 1}) as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory for a dataset of the test's own."""
    directory = tmp_path / "data"
    directory.mkdir()
    return directory


@pytest.fixture
def out(tmp_path: Path) -> tuple[str, ...]:
    """Options for output directories of the test's own."""
    return ("--output-dir", str(tmp_path / "train"), "--holdout-dir", str(tmp_path / "holdout"))


def write(path: Path, texts: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": texts}), path, **options)


def run_done(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["event"] == "run_done"
    return found


def shards(tmp_path: Path) -> dict[str, Documents]:
    return {split: written([tmp_path / split]) for split in ("train", "holdout")}


def dropped(directory: Path) -> dict[str, int]:
    """Dropped rows by reason, over all records of a directory."""
    records = [json.loads(path.read_bytes())["dropped"] for path in directory.glob("[0-9]*.json")]
    return {reason: sum(record[reason] for record in records) for reason in records[0]}


def verified(fleet: Fleet, tmp_path: Path) -> bool:
    return fleet.call("verify", str(tmp_path / "train"), str(tmp_path / "holdout")).returncode == 0


def test_every_bad_line_of_hosts_is_named(fleet: Fleet, tmp_path: Path) -> None:
    """hosts.txt with several bad lines: exit 2, each line named with its number and what to write."""
    hosts = tmp_path / "hosts.txt"
    hosts.write_text("gpu1 2\ngpu2\ngpu3:8\ngpu1 4\ngpu4 0\n-oProxyCommand=x 1\ngpu5 2 colour=red\n")
    done = fleet.launch("--hosts", str(hosts))
    assert done.returncode == 2
    assert [line.partition(" ")[0] for line in done.stderr.removeprefix("shardfleet: ").splitlines()] == [
        f"{hosts}:{number}:" for number in (2, 3, 4, 5, 6, 7)
    ]


def test_missing_hosts_file(fleet: Fleet) -> None:
    """A hosts file that is not there is named."""
    done = fleet.launch("--hosts", "nowhere.txt")
    assert (done.returncode, "nowhere.txt: no such file" in done.stderr) == (2, True)


def test_unknown_tokenizer(fleet: Fleet) -> None:
    """A tokenizer that is none: exit 2, and the names there are."""
    done = fleet.launch("--tokenizer", "gpt5_base")
    assert done.returncode == 2
    assert all(word in done.stderr for word in ("'gpt5_base'", "cl100k_base", "hf:owner/name", "tokenizer.json"))


@pytest.mark.parametrize(
    ("column", "message"),
    [("body", "no column 'body'; its columns are id, text"), ("id", "column 'id' holds int64, neither strings")],
    ids=["missing", "numbers"],
)
def test_text_column_that_is_none(fleet: Fleet, column: str, message: str) -> None:
    """A text column that is missing or holds no strings is refused at plan time, with the option to use."""
    done = fleet.launch("--text-column", column)
    assert done.returncode == 2
    assert message in done.stderr
    assert "--text-column" in done.stderr


def test_rows_that_are_no_document(fleet: Fleet, data: Path, out: tuple[str, ...], tmp_path: Path) -> None:
    """Null rows, empty documents and ill-formed UTF-8 are dropped and counted by reason; all others are there."""
    good = ["one", "two", "ü", " ", "\n", "\x00", "three"]
    ill = [b"\xff\xfe", b"ab\xc3", b"\xed\xa0\x80", b"\xc0\x80"]
    mixed = [*[text.encode() for text in good], None, b"", *ill, None]
    array = pa.Array.from_buffers(pa.string(), len(mixed), pa.array(mixed, pa.binary()).buffers())
    write(data / "a.parquet", array, row_group_size=3)
    write(data / "b.parquet", pa.array([None, None], pa.string()))
    done = fleet.launch("--dataset", str(data), *out, "--json", "--holdout-rate", "0")
    assert done.returncode == 0, done.stderr
    assert shards(tmp_path) == expected(good, bytes_encode, eod=256, rate="0")
    assert dropped(tmp_path / "train") == {"null": 4, "empty": 1, "invalid_utf8": 4}
    assert run_done(done)["dropped"] == 9
    assert verified(fleet, tmp_path)


def test_text_of_special_tokens_stays_text(
    fleet: Fleet, data: Path, out: tuple[str, ...], tmp_path: Path, small_tokenizer: Path
) -> None:
    """`<|endoftext|>` inside a document is text: its end-of-document id stands at the documents' ends alone."""
    texts = ["<|endoftext|>", "a<|endoftext|>b", "<|endoftext|><|endoftext|>", "<|pad|> and <|im_start|>"]
    write(data / "a.parquet", texts)
    arguments = ("--tokenizer", str(small_tokenizer), "--holdout-rate", "0")
    done = fleet.launch("--dataset", str(data), *out, *arguments)
    assert done.returncode == 0, done.stderr
    found = shards(tmp_path)
    assert found == expected(texts, json_encode(small_tokenizer), eod=0, rate="0")
    assert [document.index(0) for document in found["train"]] == [len(document) - 1 for document in found["train"]]


def test_huge_document_of_one_character(
    fleet: Fleet, data: Path, out: tuple[str, ...], tmp_path: Path, rank_directory: Path
) -> None:
    """A document of 20 MB that is one character over and over is done like any other, in time that grows no faster."""
    texts = ["before", "a" * 20_000_000, "after"]
    write(data / "a.parquet", texts)
    ranks = next(path for path in rank_directory.iterdir())
    arguments = ("--tokenizer", str(ranks), "--holdout-rate", "0")
    done = fleet.launch("--dataset", str(data), *out, *arguments, timeout=100)
    assert done.returncode == 0, done.stderr
    found = shards(tmp_path)["train"]
    encode = tiktoken_encode("r50k_base", rank_directory)
    # Sixteen a's in a row are the longest token; so is the document's bulk.
    sixteen = encode("a" * 16)
    assert [found[0], found[2]] == [[*encode("before"), 50256], [*encode("after"), 50256]]
    assert len(found[1]) >= 20_000_000 / 16
    assert set(found[1][:1000]) == set(sixteen)
    assert verified(fleet, tmp_path)


@pytest.mark.parametrize("place", ["files", "hub", "hub download"])
def test_damaged_files(
    fleet: Fleet, out: tuple[str, ...], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, place: str
) -> None:
    """Truncated, garbage and empty files are given up and named, even the first; the rest is done."""
    root = tmp_path_factory.mktemp("hub") if place != "files" else tmp_path / "damaged"
    directory = root / "team" / "damaged" if place != "files" else root
    texts = [f"document {number}" for number in range(300)]
    write(directory / "good.parquet", texts, row_group_size=100)
    whole = (directory / "good.parquet").read_bytes()
    damaged = {
        "a-garbage.parquet": bytes(range(256)) * 8,
        "b-empty.parquet": b"",
        "c-truncated.parquet": whole[: len(whole) // 2],
        "d-header-only.parquet": b"PAR1",
        # The footer is whole, the pages are not.
        "e-wrong-bytes.parquet": whole[:4] + bytes(len(whole) // 3) + whole[4 + len(whole) // 3 :],
    }
    for name, content in damaged.items():
        (directory / name).write_bytes(content)
    write(directory / "no-rows.parquet", pa.array([], pa.string()))
    arguments = ("--json", "--holdout-rate", RATE, "--attempts", "2", "--retry-seconds", "1", *out)
    if place == "files":
        done = fleet.launch("--dataset", str(directory), *arguments)
    else:
        fetch = ("--fetch", "download") if "download" in place else ()
        with running_fleet(tmp_path / "f", root, {"localhost": 2}) as other:
            done = other.launch("--dataset", "team/damaged", *arguments, *fetch)
    assert done.returncode == 1, done.stderr
    found = run_done(done)
    assert [unit["path"] for unit in found["quarantined"]] == sorted(damaged), found["hosts"]
    assert all(unit["path"] in unit["reason"] for unit in found["quarantined"])
    assert found["units_committed"] == 2
    assert shards(tmp_path) == expected(texts, bytes_encode, eod=256, rate=RATE)
    assert [path.name for path in (tmp_path / "train").iterdir() if path.name.endswith(".tmp")] == []


ODD_NAMES = (
    *("a b.parquet", "$(touch pwned).parquet", "`touch pwned`.parquet", "it's.parquet", 'quo"te.parquet'),
    *("-rf.parquet", "100%.parquet", "%2e%2e%2f.parquet", "a..parquet", "sub dir/x../c.parquet", "ünï/日本.parquet"),
    *("#hash?query&a=b.parquet", "new\nline.parquet", "tab\t.parquet", "back\\slash.parquet", "[1].parquet"),
    *("{a}.parquet", "~.parquet", "~/x.parquet", "000000.json.parquet", "*.parquet", "ab:c.parquet"),
)  # fmt: skip


@pytest.mark.parametrize("how", ["files", "stream", "download"])
def test_odd_file_names(fleet: Fleet, out: tuple[str, ...], tmp_path: Path, how: str) -> None:
    """Files with odd names are read like others, and what is written is named by numbers, in the output directories."""
    root = tmp_path / "hub"
    names = [name for name in ODD_NAMES if how == "files" or not set(name) & set("\n\\")]
    for number, name in enumerate(sorted(names)):
        write(root / "team" / "odd" / name, [f"file {number}", f"again {number}"])
    if how == "files":
        done = fleet.launch("--dataset", str(root / "team" / "odd"), *out, "--holdout-rate", "0")
    else:
        with running_fleet(tmp_path / "f", root, {"localhost": 1}) as other:
            done = other.launch("--dataset", "team/odd", *out, "--fetch", how, "--holdout-rate", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    texts = documents_of(root / "team" / "odd")
    assert sorted(shards(tmp_path)["train"]) == sorted(expected(texts, bytes_encode, eod=256, rate="0")["train"])
    stems = {f"{number:06d}.{suffix}" for number in range(len(names)) for suffix in ("bin", "idx", "json")}
    assert set(tree_of(tmp_path / "train")) == {*stems, "dataset.json", "cluster.json", ".shardfleet.lock"}
    assert list(tmp_path.rglob("pwned*")) == []


def test_hostile_names_everywhere(fleet: Fleet, tmp_path: Path, documents: list[str]) -> None:
    """Directories with quotes, spaces, newlines and $(…) in their names are used as they are, by every command."""
    evil = 'it\'s "a" $(touch pwned) `touch pwned`; touch pwned & %h %% {x} \n\\ *'
    data, run = tmp_path / f"data {evil}", f"run {evil}"
    write_corpus(data, documents[:6], files=2)
    train, holdout = tmp_path / f"train {evil}".replace("\n", ""), tmp_path / f"holdout {evil}".replace("\n", "")
    done = fleet.launch(
        *("--dataset", str(data), "--output-dir", str(train), "--holdout-dir", str(holdout)),
        *("--run-dir", run, "--include", "part-*", "--holdout-rate", "50%"),
    )
    assert done.returncode == 0, done.stderr
    found = {"train": written([train]), "holdout": written([holdout])}
    assert found == expected(documents_of(data), bytes_encode, eod=256, rate="50%")
    for command in ("status", "verify", "abort"):
        called = fleet.call(command, run)
        assert (command, called.returncode) == (command, 0), called.stderr
    places = (tmp_path, fleet.directory, Path(fleet.environment["HOME"]))
    assert [path for place in places for path in place.rglob("pwned*")] == []


def test_second_run_on_an_output_directory_in_use(fleet: Fleet, tmp_path: Path) -> None:
    """While a run writes, another on the same directory is refused and named; so is the same run again, and a wipe."""
    train = ("--output-dir", str(tmp_path / "train"))
    first = (*train, "--holdout-dir", str(tmp_path / "holdout"), "--json")
    fleet.hub.arm({"kind": "stall", "where": "cdn", "path": "*part-1*", "seconds": 120.0, "times": None})
    try:
        running = fleet.start(*first)
        running.wait_for(lambda events: count(events, "unit_done") == 1)
        before = tree_of(tmp_path / "train")
        others = [
            fleet.start(*train, "--holdout-dir", str(tmp_path / "elsewhere"), "--json"),
            fleet.start(*first, "--holdout-rate", "50%", "--overwrite"),
        ]
        again = fleet.launch(*first)
        assert [other.wait() for other in others] == [2, 2]
        assert tree_of(tmp_path / "train") == before
    finally:
        fleet.fast()
    assert (again.returncode, "already under way" in again.stderr) == (2, True)
    for other in others:
        (refusal,) = [line for line in other.text.splitlines() if line.startswith("  localhost: run text-")]
        assert f"is writing in {tmp_path / 'train'} or " in refusal
        assert "stop it with 'shardfleet abort text-" in refusal
    running.interrupt()
    assert running.wait() == 130
    resumed = fleet.launch(*first)
    assert (resumed.returncode, run_done(resumed)["units_committed"]) == (0, 2)
    assert verified(fleet, tmp_path)


def test_directory_taken_after_the_script_was_written(
    fleet: Fleet, data: Path, out: tuple[str, ...], tmp_path: Path
) -> None:
    """A script whose directory holds another fingerprint by now changes nothing, and names the differing field."""
    write(data / "a.parquet", ["one", "two"])
    arguments = ("--dataset", str(data), *out)
    assert fleet.run(*fleet.argv("script", *arguments, "--holdout-seed", "1")).returncode == 0
    script = fleet.directory / "earlier.sh"
    shutil.copy(fleet.directory / "run_all_hosts.sh", script)
    assert fleet.launch(*arguments).returncode == 0
    before = tree_of(tmp_path / "train")
    done = fleet.run(str(script), "--json")
    assert done.returncode == 1
    assert "holdout_seed: 1, not 0" in run_done(done)["hosts"]["localhost"]["reason"]
    assert tree_of(tmp_path / "train") == before


def test_directory_that_is_not_ours(fleet: Fleet, data: Path, out: tuple[str, ...], tmp_path: Path) -> None:
    """An output directory with a dataset.json of something else is refused, and left as it is."""
    write(data / "a.parquet", ["one"])
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "dataset.json").write_text('{"name": "something else"}')
    done = fleet.launch("--dataset", str(data), *out)
    assert done.returncode == 2
    assert "not a DirectoryRecord" in done.stderr
    assert tree_of(tmp_path / "train") == {"dataset.json": b'{"name": "something else"}'}


@pytest.mark.root
def test_full_disk(fleet: Fleet, data: Path, tmp_path: Path) -> None:
    """A disk that fills up: the directory is named, nothing half-written counts, and after freeing space it goes on."""
    with disks.small_disk(tmp_path / "disk", "6m") as disk:
        # So repetitive that the estimate before the run finds room enough.
        texts = [chr(97 + number) * 1_000_000 for number in range(6)]
        write(data / "a.parquet", texts[:1])
        write(data / "b.parquet", texts[1:], row_group_size=1, compression="zstd")
        places = ("--output-dir", str(disk / "train"), "--holdout-dir", str(disk / "holdout"))
        arguments = ("--dataset", str(data), *places, "--holdout-rate", "0", "--json")
        full = fleet.launch(*arguments)
        assert full.returncode == 1
        assert f"{disk / 'train'}: No space left on device; free space there" in full.stdout
        assert [path.name for path in disk.rglob("*.tmp")] == []
        records = {path.name for path in (disk / "train").glob("*.json")}
        assert records <= {"000000.json", "dataset.json", "cluster.json"}
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        resumed = fleet.launch(*arguments)
        assert resumed.returncode == 0, resumed.stdout
        wanted = expected(texts, bytes_encode, eod=256, rate="0")
        assert {split: written([disk / split]) for split in wanted} == wanted


@pytest.mark.root
def test_too_little_space_is_seen_before(fleet: Fleet, tmp_path: Path) -> None:
    """A host whose disk will hardly hold its share is named at the start, with need and room in figures."""
    with disks.small_disk(tmp_path / "disk", "64k") as disk:
        done = fleet.launch("--output-dir", str(disk / "train"), "--holdout-dir", str(tmp_path / "holdout"))
        assert done.returncode == 2
        assert f"needed in {disk / 'train'}" in done.stderr


@pytest.mark.parametrize("command", ["status", "abort", "verify"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no run directory"),
        ("", "not a Plan record"),
        ("{}", "not a Plan record"),
        ('{"version": 99}', "not a Plan record"),
        ("[" * 5000, "not a Plan record"),
    ],
    ids=["missing", "empty", "another object", "another version", "nested"],
)
def test_run_directory_that_is_none(
    fleet: Fleet, tmp_path: Path, command: str, content: str | None, message: str
) -> None:
    """A run directory that is missing or whose plan cannot be read: exit 2, the file named, no traceback."""
    run = tmp_path / "run"
    if content is not None:
        run.mkdir()
        (run / "plan.json").write_text(content)
    done = fleet.call(command, str(run))
    assert done.returncode == 2
    assert str(run) in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["x" * 300, "hosts.txt/x"], ids=["long", "under a file"])
def test_run_name_that_is_no_path(fleet: Fleet, name: str) -> None:
    """A name that no file system takes is no run: exit 2 and no traceback."""
    done = fleet.call("status", name)
    assert (done.returncode, "no run directory" in done.stderr) == (2, True), done.stderr


def test_run_directory_that_is_a_file(fleet: Fleet, data: Path, out: tuple[str, ...], tmp_path: Path) -> None:
    """--run-dir that is a file, or under one, is refused by name."""
    write(data / "a.parquet", ["one"])
    (tmp_path / "file").write_text("")
    for run in ("file", "file/below"):
        done = fleet.launch("--dataset", str(data), *out, "--run-dir", str(tmp_path / run))
        assert (done.returncode, str(tmp_path / run) in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("directory", ["shards", "./shards", "~bob/shards", "", "~"])
def test_output_directory_that_means_something_else_on_each_host(fleet: Fleet, directory: str) -> None:
    """An output directory that is neither absolute nor under the host's home is refused, with what to write."""
    done = fleet.launch("--output-dir", directory)
    assert done.returncode == 2
    assert "--output-dir" in done.stderr
    assert "~/" in done.stderr


def test_one_directory_for_both_splits(fleet: Fleet, tmp_path: Path) -> None:
    """The same directory for train and holdout is refused, also where only one host of hosts.txt says so."""
    done = fleet.launch("--output-dir", "~/x", "--holdout-dir", "~/x")
    assert (done.returncode, "'~/x'" in done.stderr) == (2, True)
    hosts = tmp_path / "hosts.txt"
    hosts.write_text("localhost 1 output_dir=~/y\n")
    done = fleet.launch("--hosts", str(hosts), "--holdout-dir", "~/y")
    assert (done.returncode, "localhost" in done.stderr, "~/y" in done.stderr) == (2, True, True)


def test_nothing_of_it_all_is_left(fleet: Fleet) -> None:
    """After all these runs no process of the fleet lives."""
    assert fleet.processes() == []
