"""Names that are commands, options, paths or escapes: none is executed, none leads elsewhere.

The cases are data, in cases/*.txt: what must be refused with a message that names it, and what must be taken as it is.
What is refused goes through the command line in one process; what is taken goes through real runs, with pdsh and sshd.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.security.corpus import Case, cases
from tests.security.hostile_hub import hostile_hub
from tests.support.fleet import running_fleet
from tests.support.hub import running_hub
from tests.support.jobs import write_corpus
from tests.support.oracle import bytes_encode, documents_of, expected, written

HOSTS, OPTIONS, LISTINGS = cases("hosts"), cases("options"), cases("listings")
NAMES, DIRECTORIES = cases("names"), cases("directories")
REFUSALS = Path(__file__).with_name("refusals.py")
LONGEST_SECONDS = 5.0
"""For one refusal, on a busy machine; what grows with a name takes hours."""


def test_there_are_cases_enough() -> None:
    """Over 400 cases, and no file is taken for empty by mistake."""
    counts = [len(found) for found in (HOSTS, OPTIONS, LISTINGS, NAMES, DIRECTORIES)]
    assert (min(counts) >= 20, sum(counts) > 380) == (True, True), counts


class Ground:
    """A directory in which commands are called, and what must not change around it."""

    def __init__(self, root: Path) -> None:
        self.root, self.canary = root, root / "canary"
        self.work, self.home, self.cache = root / "work", root / "home", root / "cache"
        for directory in (self.work, self.home, self.cache, root / "tmp"):
            directory.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(root / "tmp"),
            "HF_HOME": str(self.cache),
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def seen(self) -> set[str]:
        """Every path there is; the Hub client's cache and run directories, where we write, aside."""
        ours = {self.cache, self.work / "runs"}
        return {str(path) for path in self.root.rglob("*") if ours.isdisjoint((path, *path.parents))}

    def outcomes(self, calls: Sequence[Sequence[str]], **environment: str) -> list[dict[str, Any]]:
        """How each call of `shardfleet` ended. What they have written is in `new`."""
        before = self.seen()
        done = subprocess.run(
            [sys.executable, str(REFUSALS), str(self.work), str(self.canary)],
            input=json.dumps(calls).encode(),
            env=self.environment | environment,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr.decode()
        self.new = sorted(self.seen() - before)
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found


def pwned(root: Path) -> list[str]:
    """What a case's command would have made, wherever a process may have stood."""
    near = [place / "PWNED" for place in {Path.cwd(), Path.home(), Path("/"), Path("/tmp")}]
    below = list(root.rglob("PWNED*"))
    return sorted(str(path) for path in (*near, *below, root / "canary") if path.exists())


def check(refused: Sequence[Case], outcomes: Sequence[dict[str, Any]], ground: Ground) -> None:
    """Each case got exit code 2, at once, and a message with what it must say; nothing was executed or written."""
    wrong = []
    for case, outcome in zip(refused, outcomes, strict=True):
        message = outcome["message"]
        problems = [f"lacks {part!r}" for part in case.missing_from(message, ground.canary)]
        if outcome["code"] != 2:
            problems.append(f"exit code {outcome['code']}")
        if outcome["seconds"] > LONGEST_SECONDS:
            problems.append(f"{outcome['seconds']:.1f} s")
        if outcome["canary"]:
            problems.append("EXECUTED")
        if problems:
            wrong.append(f"{case.place}: {', '.join(problems)}: {message[:300]!r}")
    assert not wrong, "\n".join(wrong)
    assert ground.new == []
    assert pwned(ground.root) == []


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.fixture(scope="module")
def hub_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("hub")
    write_corpus(directory / "team" / "text", ["one", "two", "three"])
    return directory


SOUND = ("--tokenizer=bytes", "--output-dir=~/train", "--holdout-dir=~/holdout")


def test_hosts_that_are_refused(ground: Ground) -> None:
    """Every line of cases/hosts.txt is refused with exit 2 and its text, and nothing is executed or written."""
    calls = []
    for number, case in enumerate(HOSTS):
        directory = ground.work / str(number)
        directory.mkdir()
        (directory / "hosts.txt").write_bytes(case.filled(ground.canary).encode())
        calls.append(["script", f"--hosts={number}/hosts.txt", "--dataset=team/text", *SOUND])
    check(HOSTS, ground.outcomes(calls), ground)


def test_options_that_are_refused(ground: Ground, hub_directory: Path) -> None:
    """Every option of cases/options.txt is refused with exit 2 and its text, and nothing is executed or written."""
    (ground.work / "hosts.txt").write_text("localhost 1\n")
    given = [case.filled(ground.canary) for case in OPTIONS]
    # Where the case is no dataset itself: two would be two datasets.
    sound = [[] if option.startswith("--dataset=") else ["--dataset=team/text"] for option in given]
    calls = [["script", *dataset, *SOUND, option] for dataset, option in zip(sound, given, strict=True)]
    with running_hub(hub_directory) as hub:
        outcomes = ground.outcomes(calls, HF_ENDPOINT=hub.endpoint)
    check(OPTIONS, outcomes, ground)
    assert [case.place for case, outcome in zip(OPTIONS, outcomes, strict=True) if "sesame" in str(outcome)] == []


def test_answers_of_a_hostile_hub(ground: Ground) -> None:
    """Every answer of cases/listings.txt is refused with exit 2, and nothing is executed or written for it."""
    (ground.work / "hosts.txt").write_text("localhost 1\n")
    with hostile_hub([json.loads(case.filled(ground.canary)) for case in LISTINGS]) as endpoint:
        calls = [["script", f"--dataset=team/case-{number}", *SOUND] for number in range(len(LISTINGS))]
        outcomes = ground.outcomes(calls, HF_ENDPOINT=endpoint)
    check(LISTINGS, outcomes, ground)
    made = {path.name for path in ground.cache.rglob("*") if path.is_file()}
    assert made <= {"README.md", "README.md.lock", "0", "0.lock", "a" * 40, "main", "CACHEDIR.TAG", "version.txt"}, made


def test_endpoint_with_credentials(ground: Ground) -> None:
    """HF_ENDPOINT with a password in it is refused before it is asked anything, and the password is not shown."""
    (ground.work / "hosts.txt").write_text("localhost 1\n")
    calls = [["script", "--dataset=team/text", *SOUND]]
    (outcome,) = ground.outcomes(calls, HF_ENDPOINT="http://me:sesame@127.0.0.1:9")
    assert (outcome["code"], "HF_ENDPOINT=http://127.0.0.1:9: credentials" in outcome["message"]) == (2, True)
    assert "sesame" not in str(outcome)


# What is taken as it is.


def write_names(root: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """A file of two rows for each name, no two alike. Returns the rows."""
    rows = {name: [f"file {number}", f"again {number}"] for number, name in enumerate(names)}
    for name, texts in rows.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": texts}), path)
    return rows


def around(root: Path, *ours: Path) -> set[str]:
    """Every path below, what lies in our own directories aside."""
    return {str(path) for path in root.rglob("*") if not any(own in (path, *path.parents) for own in ours)}


@pytest.mark.parametrize("how", ["files", "stream", "download"])
def test_names_of_files_that_are_taken(tmp_path: Path, how: str) -> None:
    """Every name of cases/names.txt is read: the shards are right, named by numbers, and nothing else is written."""
    hub = tmp_path / "hub"
    names = [case.text for case in NAMES if how == "files" or case.parts != ("files",)]
    rows = write_names(hub / "team" / "odd", names)
    given_up = sorted(case.text for case in NAMES if how == "download" and case.parts == ("not downloaded",))
    with running_fleet(tmp_path / "fleet", hub, {"localhost": 2}) as fleet:
        before = around(tmp_path, tmp_path / "fleet")
        where = (
            ("--dataset", str(hub / "team" / "odd")) if how == "files" else ("--dataset", "team/odd", "--fetch", how)
        )
        done = fleet.launch(*where, "--holdout-rate", "0", "--plain")
        assert done.returncode == (1 if given_up else 0), done.stdout + done.stderr
        assert all(f"given up: unit {sorted(names).index(name)} ({name})" in done.stdout for name in given_up)
        home = fleet.homes["localhost"]
        assert around(tmp_path, tmp_path / "fleet") == before
        assert {path.name for path in home.iterdir()} <= {fleet.base, ".shardfleet", "hf"}
        train = home / fleet.base / "shards"
        texts = [text for name in sorted(names) if name not in given_up for text in rows[name]]
        assert written([train]) == expected(texts, bytes_encode, eod=256, rate="0")["train"]
        ordinals = [number for number, name in enumerate(sorted(names)) if name not in given_up]
        stems = {f"{number:06d}.{suffix}" for number in ordinals for suffix in ("bin", "idx", "json")}
        others = {"dataset.json", ".shardfleet.lock", "cluster.json"}
        assert stems <= {path.name for path in train.iterdir()} <= {*stems, *others}
        assert [character for character in done.stdout + done.stderr if character in "\x1b\x07\x08\u202e"] == []
    assert pwned(tmp_path) == []


@pytest.mark.ssh
def test_directories_that_are_taken(tmp_path: Path, hub_directory: Path) -> None:
    """Every directory of cases/directories.txt, two a host, over ssh: shards lie there and nowhere else.

    The hosts' names are as long and odd as names may be.
    """
    pairs = list(zip(DIRECTORIES[::2], DIRECTORIES[1::2], strict=True))
    hosts = [f"h-{number}_.{'x' * 40}.-" for number in range(len(pairs))]
    data = tmp_path / "data"
    write_corpus(data, [f"document {number}" for number in range(4 * len(hosts))], files=len(hosts))
    with running_fleet(tmp_path / "fleet", hub_directory, dict.fromkeys(hosts, 1)) as fleet:
        canary = tmp_path / "canary"
        lines = [
            f"{host} 1 output_dir={shlex.quote(train.filled(canary))} holdout_dir={shlex.quote(holdout.filled(canary))}"
            for host, (train, holdout) in zip(hosts, pairs, strict=True)
        ]
        (fleet.directory / "hosts.txt").write_text("\n".join(lines))
        done = fleet.launch("--dataset", str(data), "--holdout-rate", "50%", "--run-dir", "-rf $(touch PWNED) %h '")
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, list[Path]] = {"train": [], "holdout": []}
        for host, (train, holdout) in zip(hosts, pairs, strict=True):
            home = fleet.homes[host]
            places = [Path(os.path.normpath(home / case.filled(canary)[2:])) for case in (train, holdout)]
            found["train"].append(places[0])
            found["holdout"].append(places[1])
            ours = (*places, home / ".shardfleet")
            files = [path for path in home.rglob("*") if path.is_file()]
            assert [path for path in files if not any(own in path.parents for own in ours)] == []
        wanted = expected(documents_of(data), bytes_encode, eod=256, rate="50%")
        assert {split: written(places) for split, places in found.items()} == wanted
    assert pwned(tmp_path) == []
