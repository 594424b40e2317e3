"""The main job, end to end: a dataset on a Hub, two hosts reached over ssh, two ranks each, every token checked.

The first fleet below does one run over all of the sample; most tests look at what that run left. What a run must have
written comes from tests.support.oracle, which shares no code with the worker.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.fleet import DATASET, Fleet, count, running_fleet
from tests.support.oracle import (
    Documents,
    Encode,
    bytes_encode,
    documents_of,
    expected,
    json_encode,
    rows_of,
    tiktoken_encode,
    token_dtype,
    written,
)
from tests.support.plans import tree_of
from tests.support.text import UnavailableError, data_directory, rank_file, real_documents

pytestmark = pytest.mark.ssh

HOSTS = {"alpha": 2, "beta": 2}
RATE = "5%"
SECRET = "hf_ThisIsTheSecretOfTheTest"  # noqa: S105


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as the command line names it, and as the oracle encodes with it."""

    option: str
    encode: Encode
    eod: int
    cache: Path | None = None
    """tiktoken's cache directory, with the rank file in it."""


def ranks(directory: Path, name: str, eod: int) -> Vocabulary:
    """A tiktoken encoding. Raises UnavailableError."""
    data = rank_file(name)
    # The name that tiktoken gives the file: the sha1 of its address.
    hashes = {
        "r50k_base": "0ea1e91bbb3a60f729a8dc8f777fd2fc07cd8df4",
        "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    }
    directory.mkdir(exist_ok=True)
    (directory / hashes[name]).write_bytes(data)
    return Vocabulary(name, tiktoken_encode(name, directory), eod, directory)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Path) -> Vocabulary:
    """r50k where its ranks can be had, else a small byte-level BPE trained here."""
    try:
        return ranks(tmp_path_factory.mktemp("tiktoken"), "r50k_base", 50256)
    except UnavailableError:
        return Vocabulary(str(small_tokenizer), json_encode(small_tokenizer), 0)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hub's directory with the dataset: ten files of FineWeb, else of the standard library's texts."""
    directory = tmp_path_factory.mktemp("sample")
    shared = data_directory()
    if shared is not None:
        shutil.copytree(shared / "fineweb-sample", directory / DATASET)
    else:
        write_web_corpus(directory / DATASET / "data", real_documents(2000), files=10)
    return directory


def write_web_corpus(directory: Path, documents: Sequence[str], *, files: int) -> None:
    """Documents in files like FineWeb's: columns `text`, `id` and `url`, all strings, 50 rows a group."""
    directory.mkdir(parents=True)
    for number in range(files):
        texts = documents[number::files]
        urls = [f"https://example.org/{number}/{row}" for row in range(len(texts))]
        table = pa.table({"text": texts, "id": [str(row) for row in range(len(texts))], "url": urls})
        pq.write_table(table, directory / f"train-{number:05d}.parquet", row_group_size=50)


@dataclass
class MainRun:
    """A fleet and its first run."""

    fleet: Fleet
    done: "subprocess.CompletedProcess[str]"
    resolves: dict[str, int]
    """By path, for that run."""
    sample: Path
    vocabulary: Vocabulary

    @property
    def expected(self) -> dict[str, Documents]:
        texts = documents_of(self.sample / DATASET)
        return expected(texts, self.vocabulary.encode, eod=self.vocabulary.eod, rate=RATE)


def options(vocabulary: Vocabulary, rate: str = RATE) -> tuple[str, ...]:
    return ("--tokenizer", vocabulary.option, "--holdout-rate", rate)


@pytest.fixture(scope="module")
def main_run(tmp_path_factory: pytest.TempPathFactory, sample: Path, vocabulary: Vocabulary) -> Iterator[MainRun]:
    with running_fleet(tmp_path_factory.mktemp("main"), sample, HOSTS, *options(vocabulary)) as fleet:
        with_cache(fleet, vocabulary)
        done = fleet.launch("--json")
        yield MainRun(fleet, done, resolves(fleet), sample, vocabulary)


def with_cache(fleet: Fleet, vocabulary: Vocabulary) -> None:
    if vocabulary.cache is not None:
        fleet.environment["TIKTOKEN_CACHE_DIR"] = str(vocabulary.cache)


def resolves(fleet: Fleet) -> dict[str, int]:
    """How often the Hub was asked where a Parquet file lies, by path."""
    paths = fleet.hub.stats()["paths"]
    return {path: counts["resolve"] for path, counts in paths.items() if path.endswith(".parquet")}


def directories(fleet: Fleet, train: str | None = None, holdout: str | None = None) -> dict[str, list[Path]]:
    """Split → its directory on every host; by default where the fleet's runs go."""
    names = {"train": train or f"{fleet.base}/shards", "holdout": holdout or f"{fleet.base}/holdout"}
    homes = list(dict.fromkeys(fleet.homes.values()))
    return {split: [home / name for home in homes] for split, name in names.items()}


def all_written(fleet: Fleet, train: str | None = None, holdout: str | None = None) -> dict[str, Documents]:
    return {split: written(found) for split, found in directories(fleet, train, holdout).items()}


def last_object(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def stamps(fleet: Fleet) -> dict[str, tuple[int, int]]:
    """Inode and time of every shard file on every host."""
    files = [path for found in directories(fleet).values() for directory in found for path in directory.glob("[0-9]*")]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_run_ends_well(main_run: MainRun) -> None:
    """The command exits 0, and both hosts have done a share."""
    assert main_run.done.returncode == 0, main_run.done.stderr
    assert all(list(directory.glob("*.bin")) for directory in directories(main_run.fleet)["train"])


def test_every_token_is_the_references(main_run: MainRun) -> None:
    """Every document's tokens are encode_ordinary's plus the end-of-document token, in dataset order, in its split."""
    found = all_written(main_run.fleet)
    assert {split: len(documents) for split, documents in found.items()} == {
        split: len(documents) for split, documents in main_run.expected.items()
    }
    assert found == main_run.expected


def test_holdout_is_what_the_rule_picks(main_run: MainRun) -> None:
    """The holdout is exactly the documents whose hash lies below the rate: here, about one in twenty."""
    holdout = written(directories(main_run.fleet)["holdout"])
    assert holdout == main_run.expected["holdout"]
    assert len(holdout) > 50


def test_rows_are_covered_once(main_run: MainRun) -> None:
    """Every row of every source file was taken exactly once, by the records of all hosts together."""
    root = main_run.sample / DATASET
    files = {path.relative_to(root).as_posix(): len(documents_of_file(path)) for path in root.rglob("*.parquet")}
    taken = rows_of(directories(main_run.fleet)["train"])
    assert taken == sorted((path, row) for path, rows in files.items() for row in range(rows))


def documents_of_file(path: Path) -> list[str | None]:
    found: list[str | None] = pq.read_table(path, columns=["text"])["text"].to_pylist()
    return found


def test_each_file_cost_one_resolve(main_run: MainRun) -> None:
    """The Hub was asked once where each file lies, by launcher and hosts together."""
    files = [f"{DATASET}/{path.relative_to(main_run.sample / DATASET)}" for path in main_run.sample.rglob("*.parquet")]
    assert main_run.resolves == dict.fromkeys(files, 1)


def test_json_is_events_and_totals(main_run: MainRun) -> None:
    """With --json every line is an object with an event, and the last is run_done with the totals of what is on disk."""
    events = [json.loads(line) for line in main_run.done.stdout.splitlines()]
    assert all("event" in event for event in events)
    done, wanted = events[-1], main_run.expected
    units = len(list((main_run.sample / DATASET).rglob("*.parquet")))
    assert {name: done[name] for name in ("event", "exit_code", "units", "units_committed", "quarantined")} == {
        "event": "run_done",
        "exit_code": 0,
        "units": units,
        "units_committed": units,
        "quarantined": [],
    }
    assert (done["documents"], done["holdout_documents"]) == (len(wanted["train"]), len(wanted["holdout"]))
    assert (done["tokens"], done["holdout_tokens"]) == tuple(sum(map(len, wanted[s])) for s in ("train", "holdout"))
    assert (done["dropped"], done["left"], done["unproven"]) == (0, {}, [])
    assert {name: host["phase"] for name, host in done["hosts"].items()} == dict.fromkeys(HOSTS, "complete")
    kinds = [event["event"] for event in events]
    assert (kinds.count("host_started"), kinds.count("unit_done"), kinds.count("host_done")) == (2, units, 2)


def test_run_directory_holds_the_run(main_run: MainRun) -> None:
    """Plan, script, events and ledger are in the run directory, and a copy of the script in the working directory."""
    run = main_run.fleet.directory / "runs" / main_run.fleet.run_id
    script = (run / "run_all_hosts.sh").read_bytes()
    assert (main_run.fleet.directory / "run_all_hosts.sh").read_bytes() == script
    ledger = json.loads((run / "ledger.json").read_bytes())
    plan = json.loads((run / "plan.json").read_bytes())
    assert ledger["fingerprint"] == plan["fingerprint"]
    assert sum(end - start for ranges in ledger["units"].values() for start, end in ranges) == len(plan["units"])
    kept = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert kept[0] == "run_started"
    assert kept.count("unit_done") == len(plan["units"])


def test_verify_of_the_run_proves_coverage(main_run: MainRun) -> None:
    """`verify RUN` asks every host, exits 0, and its report says that every row is there once."""
    done = main_run.fleet.call("verify", main_run.fleet.run_id, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    coverage = report["report"]["coverage"]
    assert (coverage["complete"], coverage["rows"]) == (True, len(documents_of(main_run.sample / DATASET)))
    assert (report["exit_code"], report["problems"]) == (0, [])


def test_verify_of_a_host_is_right_and_partial(main_run: MainRun) -> None:
    """`verify DIR` of one host's shards exits 0: what is there is right, the rest is elsewhere."""
    train = directories(main_run.fleet)["train"][0]
    done = main_run.fleet.call("verify", str(train))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified: what is here is right" in done.stdout


def test_status_of_a_finished_run(main_run: MainRun) -> None:
    """`status` says that every unit is committed and that nothing runs."""
    done = main_run.fleet.call("status", main_run.fleet.run_id, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["units_committed"], found["left"], found["silent"]) == (found["units"], {}, {})


def test_same_command_again_keeps_everything(main_run: MainRun) -> None:
    """The same command again exits 0, changes no file, and reads no dataset file beyond the launcher's look at one."""
    before, asked = stamps(main_run.fleet), resolves(main_run.fleet)
    done = main_run.fleet.launch("--json")
    assert done.returncode == 0, done.stderr
    assert stamps(main_run.fleet) == before
    assert sum(resolves(main_run.fleet).values()) - sum(asked.values()) <= 1
    first, second = last_object(main_run.done), last_object(done)
    same = ("documents", "holdout_documents", "tokens", "holdout_tokens", "dropped", "units_committed", "fingerprint")
    assert {name: second[name] for name in same} == {name: first[name] for name in same}


@pytest.mark.parametrize(
    ("option", "field"),
    [
        (("--tokenizer", "bytes"), "tokenizer_kind"),
        (("--holdout-rate", "0.5"), "holdout_rate: 0.5, not 0.05"),
        (("--holdout-seed", "7"), "holdout_seed: 7, not 0"),
        (("--text-column", "url"), "text_column: 'url', not 'text'"),
        (("--eod", "none"), "eod_id: None"),
        (("--unit-size", "500kB"), "units"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_other_options_on_the_same_directory_are_refused(
    main_run: MainRun, option: tuple[str, str], field: str
) -> None:
    """Shards of another fingerprint stay as they are: exit 2, the field that differs is named, nothing has changed."""
    before = stamps(main_run.fleet)
    done = main_run.fleet.launch(*option)
    assert done.returncode == 2
    assert field in done.stderr
    assert "--overwrite" in done.stderr
    assert stamps(main_run.fleet) == before


def test_no_secret_and_no_process_stays(main_run: MainRun) -> None:
    """After the end no process of the run lives, and no file of a host or of the run holds a signed location."""
    assert main_run.fleet.processes() == []
    assert files_with(b"/cdn/", main_run.fleet) == []


def files_with(needle: bytes, fleet: Fleet) -> list[str]:
    """Files under the working directory and every home that hold these bytes."""
    places = [fleet.directory, Path(fleet.environment["HOME"]), *fleet.homes.values()]
    return sorted({f"{place}/{name}" for place in places for name, data in tree_of(place).items() if needle in data})
