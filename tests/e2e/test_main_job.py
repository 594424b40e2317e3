"""The main job, end to end: a dataset on a Hub, two hosts reached over ssh, two ranks each, every token checked.

The first fleet below does one run over all of the sample; most tests look at what that run left. What a run must have
written comes from tests.support.oracle, which shares no code with the worker.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.support.fleet import DATASET, Fleet, count, running_fleet
from tests.support.jobs import write_corpus, write_sample
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
from tests.support.text import UnavailableError, rank_file

pytestmark = pytest.mark.ssh

HOSTS = {"alpha": 2, "beta": 2}
RATE = "5%"
SECRET = "hf_ThisIsTheSecretOfTheTest"


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
    write_sample(directory / DATASET)
    return directory


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
    assert len(holdout) > 20


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
    """With --json every line is an event, and the last is run_done with the totals of what is on disk."""
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
    assert (kinds.count("host_started"), kinds.count("unit_done"), kinds.count("host_idle")) == (2, units, 2)


def test_run_directory_holds_the_run(main_run: MainRun) -> None:
    """Plan, script, events and ledger are in the run directory, and a copy of the script in the working directory."""
    run = main_run.fleet.directory / "runs" / main_run.fleet.run_id
    script = (run / "run_all_hosts.sh").read_bytes()
    assert (main_run.fleet.directory / "run_all_hosts.sh").read_bytes() == script
    head, *commits = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    plan = json.loads((run / "plan.json").read_bytes())
    assert head["fingerprint"] == plan["fingerprint"]
    assert sorted(counts[0] for _, counts in commits) == list(range(len(plan["units"])))
    assert {host for host, _ in commits} == set(HOSTS)
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
        (("--unit-size", "50kB"), "units"),
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


# From here on: other ways to run the same job, each into directories of its own on one fleet.

SMALL = "team/small"
PRIVATE = "team/private"


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, sample: Path, documents: list[str], vocabulary: Vocabulary
) -> Iterator[Fleet]:
    """Two hosts and a Hub with three datasets: the sample, a small one, and a small one that is private."""
    small = [*documents[:50], None, "", "<|endoftext|>", "a<|endoftext|>b", documents[0], *documents[50:60]]
    for name in (SMALL, PRIVATE):
        if not (sample / name).exists():
            write_corpus(sample / name, small, files=3, group_rows=5)
    (sample / PRIVATE / ".hub.json").write_text(json.dumps({"private": True, "tokens": [SECRET]}))
    with running_fleet(tmp_path_factory.mktemp("others"), sample, {"alpha": 1, "beta": 1}) as running:
        with_cache(running, vocabulary)
        yield running


def into(name: str) -> tuple[str, ...]:
    """Options for output directories of one test's own."""
    return ("--output-dir", f"~/{name} shards", "--holdout-dir", f"~/{name} holdout")


def found_in(fleet: Fleet, name: str) -> dict[str, Documents]:
    return all_written(fleet, f"{name} shards", f"{name} holdout")


def bytes_in(fleet: Fleet, name: str) -> dict[str, bytes]:
    """Payloads and indexes of all hosts, by split and name."""
    return {
        f"{split}/{path.name}": path.read_bytes()
        for split, found in directories(fleet, f"{name} shards", f"{name} holdout").items()
        for directory in found
        for path in directory.glob("[0-9]*.[bi][id][nx]")
    }


def test_expired_locations_are_resolved_again(fleet: Fleet, sample: Path, vocabulary: Vocabulary) -> None:
    """Locations that expire, or are refused, in the middle of the run cost one more resolve each, and no document."""
    before = resolves(fleet)
    files = sorted(f"{DATASET}/{path.relative_to(sample / DATASET)}" for path in (sample / DATASET).rglob("*.parquet"))
    running = fleet.start(*options(vocabulary, "0.1%"), *into("expiry"), "--plain")
    running.wait_for(lambda events: count(events, "host_started") == 2)
    refused = {"kind": "status", "where": "cdn", "status": 403, "path": files[5]}
    # The launcher's location of the first file was handed to its host; ranks need longer to start than this takes.
    fleet.hub.arm({"kind": "expire"}, refused)
    assert running.wait() == 0, running.text
    asked = {path: number - before.get(path, 0) for path, number in resolves(fleet).items() if path in files}
    assert asked == {**dict.fromkeys(files, 1), files[0]: 2, files[5]: 2}
    texts = documents_of(sample / DATASET)
    assert found_in(fleet, "expiry") == expected(texts, vocabulary.encode, eod=vocabulary.eod, rate="0.1%")


def test_download_gives_the_same_bytes(fleet: Fleet, vocabulary: Vocabulary) -> None:
    """--fetch download and other spans in flight give the payloads and indexes of streaming, and leave no scratch."""
    for name, how in (("stream", ("--spans-in-flight", "1")), ("download", ("--fetch", "download"))):
        done = fleet.launch(*options(vocabulary), *into(name), "--dataset", SMALL, *how, "--unit-size", "60kB")
        assert done.returncode == 0, done.stderr
    assert len(bytes_in(fleet, "stream")) > 4 * 3
    assert bytes_in(fleet, "download") == bytes_in(fleet, "stream")
    scratch = [
        path for found in directories(fleet, "download shards").values() for d in found for path in d.glob(".s*-*")
    ]
    assert scratch == []


def test_four_byte_tokens(fleet: Fleet, sample: Path, tmp_path: Path) -> None:
    """A vocabulary over 65,536 is written as uint32, with its own end-of-document token, and verifies."""
    try:
        large = ranks(tmp_path / "cl100k", "cl100k_base", 100257)
    except UnavailableError as error:
        pytest.skip(str(error))
    with_cache(fleet, large)
    done = fleet.launch(*options(large), *into("large"), "--dataset", SMALL)
    assert done.returncode == 0, done.stderr
    assert token_dtype(directories(fleet, "large shards")["train"][0]) == "uint32"
    texts = documents_of(sample / SMALL)
    assert found_in(fleet, "large") == expected(texts, large.encode, eod=100257, rate=RATE)
    checked = fleet.call("verify", last_run(done))
    assert checked.returncode == 0, checked.stdout


def last_run(done: "subprocess.CompletedProcess[str]") -> str:
    """The run id that launch names."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("run ")]
    return line.split()[1].rstrip(":")


@pytest.mark.parametrize(
    ("arguments", "eod", "rate", "seed"),
    [
        (("--eod", "none", "--holdout-rate", "0.25"), None, "0.25", 0),
        (("--eod", "10", "--holdout-seed", "9", "--holdout-rate", "25%"), 10, "25%", 9),
    ],
    ids=["no end", "another end and seed"],
)
def test_bytes_and_ends(
    fleet: Fleet, sample: Path, arguments: tuple[str, ...], eod: int | None, rate: str, seed: int
) -> None:
    """`bytes` writes UTF-8 and 256; --eod, --holdout-rate and --holdout-seed do what they say."""
    name = f"bytes {eod} {rate.rstrip('%')}"
    done = fleet.launch("--json", *into(name), "--dataset", SMALL, *arguments)
    assert done.returncode == 0, done.stderr
    wanted = expected(documents_of(sample / SMALL), bytes_encode, eod=eod, rate=rate, seed=seed)
    assert found_in(fleet, name) == wanted
    assert last_object(done)["dropped"] == 2


def test_overwrite_replaces(fleet: Fleet, sample: Path) -> None:
    """--overwrite puts the new shards in the place of those of another fingerprint, and leaves none of the old."""
    arguments = (*into("again"), "--dataset", SMALL)
    first = fleet.launch(*arguments, "--unit-size", "20kB")
    refused = fleet.launch(*arguments, "--holdout-rate", "0.5")
    assert (first.returncode, refused.returncode) == (0, 2), refused.stderr
    assert len(bytes_in(fleet, "again")) > 4 * 3
    replaced = fleet.launch(*arguments, "--holdout-rate", "0.5", "--overwrite")
    assert replaced.returncode == 0, replaced.stderr
    assert len(bytes_in(fleet, "again")) == 4 * 3
    assert found_in(fleet, "again") == expected(documents_of(sample / SMALL), bytes_encode, eod=256, rate="0.5")
    checked = fleet.call("verify", last_run(replaced))
    assert checked.returncode == 0, checked.stdout


def test_hosts_have_directories_of_their_own(fleet: Fleet, sample: Path, tmp_path: Path) -> None:
    """output_dir of hosts.txt wins for its host; a run directory with a space does; the script alone does the run."""
    hosts = fleet.directory / "other hosts.txt"
    hosts.write_text(f"alpha 1 output_dir='{tmp_path}/al pha' holdout_dir=~/kept\nbeta 2\n")
    arguments = ("--hosts", str(hosts), "--run-dir", "my runs/a run", *into("own"), "--dataset", SMALL)
    arguments = (*arguments, "--holdout-rate", "0")
    planned = fleet.run(*fleet.argv("script", *arguments))
    assert planned.returncode == 0, planned.stderr
    done = fleet.run("./run_all_hosts.sh", "--json")
    assert done.returncode == 0, done.stderr
    assert last_object(done)["units_committed"] == 3
    places = {
        "train": [tmp_path / "al pha", fleet.homes["beta"] / "own shards"],
        "holdout": [fleet.homes["alpha"] / "kept", fleet.homes["beta"] / "own holdout"],
    }
    assert all(list(place.glob("*.bin")) for found in places.values() for place in found)
    wanted = expected(documents_of(sample / SMALL), bytes_encode, eod=256, rate="0")
    assert {split: written(found) for split, found in places.items()} == wanted
    assert (fleet.directory / "my runs/a run/plan.json").is_file()


def test_token_goes_to_hosts_and_nowhere_else(fleet: Fleet, sample: Path) -> None:
    """A private dataset: the token reaches the hosts in a file for the owner's eyes, and is gone at the end.

    During the run it stands in no argument of any process, in no worker's environment, and in no other file.
    """
    fleet.environment["HF_TOKEN"] = SECRET
    fleet.hub.arm({"kind": "stall", "where": "cdn", "path": f"{PRIVATE}/*", "seconds": 2.0, "times": None})
    try:
        running = fleet.start(*into("private"), "--dataset", PRIVATE, "--plain")
        running.wait_for(lambda events: count(events, "host_started") == 2)
        tokens = [path for home in fleet.homes.values() for path in (home / ".shardfleet").rglob("token")]
        assert sorted(files_with(SECRET.encode(), fleet)) == sorted(map(str, tokens))
        assert [(path.read_text(), path.stat().st_mode & 0o777) for path in tokens] == [(SECRET, 0o600)] * 2
        processes = fleet.processes()
        assert len(processes) > 4
        assert [process for process in processes if SECRET in " ".join(process.argv)] == []
        workers = [process for process in processes if " shard ra" in " ".join(process.argv) or "run" in process.argv]
        assert len(workers) >= 2
        assert [process for process in workers if SECRET.encode() in environment(process.pid)] == []
        fleet.hub.clear()
        assert running.wait() == 0, running.text
    finally:
        fleet.hub.clear()
        del fleet.environment["HF_TOKEN"]
    assert files_with(SECRET.encode(), fleet) == []
    assert len(found_in(fleet, "private")["train"]) > 50


def environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""  # it has ended


def test_plan_touches_nothing(fleet: Fleet) -> None:
    """`plan` shows hosts, units and space, and leaves no file on launcher or hosts."""
    places = {**fleet.homes, "launcher": fleet.directory}
    before = {name: set(tree_of(place)) for name, place in places.items()}
    done = fleet.run(*fleet.argv("plan", *into("planned"), "--dataset", SMALL))
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("alpha", "beta", "units", "free", "Files over 256 MiB"))
    assert {name: set(tree_of(place)) for name, place in places.items()} == before


def test_unreachable_host_starts_nothing(fleet: Fleet) -> None:
    """A host that cannot be reached is named before anything is started, with exit 2."""
    hosts = fleet.directory / "with a dead host.txt"
    hosts.write_text("alpha 1\nnowhere.invalid 1\n")
    done = fleet.launch("--hosts", str(hosts), *into("dead"), "--dataset", SMALL)
    assert done.returncode == 2
    assert "not started:" in done.stderr
    assert "nowhere.invalid" in done.stderr
    assert not (fleet.homes["alpha"] / "dead shards").exists()


def test_interpreter_that_is_not_there(fleet: Fleet) -> None:
    """A --remote-python that a host does not have is refused, naming host, path and remedy."""
    done = fleet.launch("--remote-python", "~/no/python", *into("bare"), "--dataset", SMALL)
    assert done.returncode == 2
    assert "alpha: no ~/no/python there" in done.stderr
    assert "--remote-python" in done.stderr
