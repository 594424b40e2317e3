"""Token and signed locations: where they may be while a run is on, and that they are nowhere after it.

Hosts are this machine and one reached over ssh; the Hub gives the dataset to nobody without the token.
"""

import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.fleet import DATASET, Fleet, Running, count, running_fleet
from tests.support.jobs import write_corpus

pytestmark = pytest.mark.ssh

SECRET = f"hf_{secrets.token_hex(16)}"
SIGNATURE = "Signature="
"""What every signed location of the local Hub holds."""
HOSTS = {"alpha": 1, "localhost": 1}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """A Hub's directory with the fleet's dataset, gated and private, and one that is open to everyone."""
    directory = tmp_path_factory.mktemp("guarded")
    for name in (DATASET, "team/open"):
        write_corpus(directory / name, documents[:60], files=10)
    access = {"private": True, "gated": "manual", "tokens": [SECRET]}
    (directory / DATASET / ".hub.json").write_text(json.dumps(access))
    return directory


@pytest.fixture
def fleet(tmp_path: Path, guarded: Path) -> Iterator[Fleet]:
    with fleet_of(tmp_path, guarded) as running:
        yield running


@contextmanager
def fleet_of(directory: Path, hub: Path, *, pdsh: bool = True) -> Iterator[Fleet]:
    """Temporary files of the launcher's machine lie in `directory`, too: all there is to search is below it."""
    with running_fleet(directory, hub, HOSTS, pdsh=pdsh) as fleet:
        temporary = directory / "tmp"
        temporary.mkdir()
        fleet.environment["TMPDIR"] = str(temporary)
        yield fleet


def holders(text: str, place: str) -> list[str]:
    """Every process of this machine that has a text in its `cmdline` or `environ`."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and text.encode() in (process / place).read_bytes():
                found.append(f"{process.name}: {(process / 'cmdline').read_bytes().decode(errors='replace')[:200]}")
        except OSError:
            continue  # gone meanwhile
    return found


def files_with(text: str, *places: Path) -> list[Path]:
    """Every file below that holds a text; one that goes away meanwhile does not."""
    return sorted(file for place in places for file in place.rglob("*") if text.encode() in content(file))


def content(file: Path) -> bytes:
    try:
        return file.read_bytes() if file.is_file() else b""
    except OSError:
        return b""


def content_address(fleet: Fleet) -> str:
    """What every location of this fleet's Hub holds and no process of another one's."""
    return f":{urlsplit(fleet.hub.endpoint).port}/cdn/"


def job_directories(fleet: Fleet) -> list[Path]:
    """Of the one run, on every host."""
    return sorted(home / ".shardfleet" / "runs" / fleet.run_id / name for name, home in fleet.homes.items())


def under_way(running: Running) -> None:
    """Wait until both hosts work."""
    running.wait_for(lambda events: count(events, "host_started") == 2)


def check_while_on(fleet: Fleet, tmp_path: Path) -> None:
    """The token stands in one file on each host, for its owner's eyes, and nowhere else; the same for locations."""
    tokens = [directory / "token" for directory in job_directories(fleet)]
    assert files_with(SECRET, tmp_path) == tokens
    locations = files_with(SIGNATURE, tmp_path)
    assert {path.name for path in locations} == {"locations.json"}
    assert {path.parent for path in locations} <= set(job_directories(fleet))
    for path in (*tokens, *locations):
        assert mode_of(path) == 0o600
        above = [place for place in path.parents if ".shardfleet" in place.parts]
        assert [oct(mode_of(place)) for place in above] == ["0o700"] * 4
    place = content_address(fleet)
    assert all(place.encode() in content(path) for path in locations)
    for text in (SECRET, place):
        assert holders(text, "cmdline") == []
        assert holders(text, "environ") == []


def check_afterwards(fleet: Fleet, tmp_path: Path) -> None:
    """Nothing secret is left in any file or process."""
    fleet.wait_until_quiet()
    for text in (SECRET, SIGNATURE, "/cdn/"):
        assert files_with(text, tmp_path) == []
    for text in (SECRET, content_address(fleet)):
        assert holders(text, "environ") == holders(text, "cmdline") == []


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def by_launch(fleet: Fleet) -> Running:
    return fleet.start("--json")


def by_script(fleet: Fleet) -> Running:
    return fleet.start_script()


@pytest.mark.parametrize(
    ("start", "variable"),
    [(by_launch, "HF_TOKEN"), (by_launch, "HF_TOKEN_PATH"), (by_script, "HF_TOKEN")],
    ids=["launch", "launch, token file", "script"],
)
def test_secrets_while_a_run_is_on(
    fleet: Fleet, tmp_path: Path, guarded: Path, start: Callable[[Fleet], Running], variable: str
) -> None:
    """A token from the environment or a file reaches each host in a 0600 file below 0700 directories, and nothing else.

    Not in the arguments or the environment of any process, the launcher's own included, in no plan, script, log,
    output or temporary file; and when the run has ended, nowhere.
    """
    own = tmp_path.parent / f"{tmp_path.name}-token"
    own.write_text(f"{SECRET}\n")
    fleet.environment[variable] = str(own) if variable == "HF_TOKEN_PATH" else SECRET
    fleet.slow(1.0)
    running = start(fleet)
    under_way(running)
    check_while_on(fleet, tmp_path)
    running.wait_for(lambda events: count(events, "unit_done") >= 2)
    check_while_on(fleet, tmp_path)
    fleet.fast()
    assert running.wait() == 0, running.text
    check_afterwards(fleet, tmp_path)
    assert len(fleet.shards()) == 20


def test_run_that_is_stopped(fleet: Fleet, tmp_path: Path) -> None:
    """After Ctrl+C nothing secret is left."""
    fleet.environment["HF_TOKEN"] = SECRET
    fleet.slow(1.0)
    running = fleet.start("--json")
    under_way(running)
    running.interrupt()
    assert running.wait() == 130, running.text
    check_afterwards(fleet, tmp_path)


def test_start_that_is_refused(tmp_path: Path, guarded: Path) -> None:
    """A run that ends before any host was sent its job leaves no token behind on the launcher either."""
    with fleet_of(tmp_path, guarded, pdsh=False) as fleet:
        fleet.environment["HF_TOKEN"] = SECRET
        done = fleet.launch("--plain")
        assert (done.returncode, "pdsh is not installed" in done.stderr) == (2, True), done.stderr
        assert files_with(SECRET, tmp_path) == []


def test_host_that_is_lost_before_the_push(fleet: Fleet, tmp_path: Path) -> None:
    """When one host cannot be sent its job, the token is on no host and not on the launcher."""
    fleet.environment["HF_TOKEN"] = SECRET
    written = fleet.run(*fleet.argv("script"))
    assert written.returncode == 0, written.stderr
    assert fleet.loopback is not None
    fleet.loopback.stop("alpha")
    done = fleet.run("./run_all_hosts.sh", "--json")
    assert done.returncode not in (0, 130), done.stdout
    assert "alpha" in done.stderr
    assert files_with(SECRET, tmp_path) == []


@pytest.mark.parametrize("fetch", ["stream", "download"])
def test_failures_do_not_tell_locations(fleet: Fleet, tmp_path: Path, fetch: str) -> None:
    """What the content server refuses, cuts short or lets expire is logged and reported without its signed address."""
    fleet.hub.arm(
        {"kind": "cut", "where": "cdn", "path": "*part-1*", "after": 100, "times": 2},
        {"kind": "status", "where": "cdn", "path": "*part-2*", "status": 403, "times": None},
        {"kind": "status", "where": "cdn", "path": "*part-3*", "status": 404, "times": None},
        {"kind": "status", "where": "cdn", "path": "*part-4*", "status": 503, "times": 2},
        {"kind": "corrupt", "where": "cdn", "path": "*part-5*", "offset": 4, "length": 4, "times": 1},
    )
    arguments = ("--dataset", "team/open", "--fetch", fetch, "--retry-seconds", "3", "--attempts", "1", "--json")
    done = fleet.launch(*arguments)
    assert done.returncode == 1, done.stderr
    failed = {unit["path"]: unit["reason"] for unit in json.loads(done.stdout.splitlines()[-1])["quarantined"]}
    assert {"part-2.parquet", "part-3.parquet"} <= failed.keys()
    logs = "".join(log.read_text() for directory in job_directories(fleet) for log in (directory / "log").iterdir())
    assert "part-2.parquet" in logs
    for text in (SIGNATURE, "Expires="):
        assert text not in done.stdout + done.stderr
        assert files_with(text, tmp_path) == []


@pytest.mark.parametrize("umask", [0o000, 0o002], ids=oct)
def test_what_is_ours_on_hosts_is_ours_alone(tmp_path: Path, guarded: Path, small_tokenizer: Path, umask: int) -> None:
    """However permissive the umask, all below ~/.shardfleet is 0600 and 0700; the launcher's run directory is 0700."""
    before = os.umask(umask)  # what sshd, the Hub and the launcher are started with
    try:
        with fleet_of(tmp_path, guarded) as fleet:
            assert fleet.loopback is not None
            fleet.loopback.config.chmod(0o600)  # ssh reads no config that others may write
            fleet.environment["HF_TOKEN"] = SECRET
            fleet.slow(0.5)
            running = fleet.start("--json", "--tokenizer", str(small_tokenizer))
            running.wait_for(lambda events: count(events, "unit_done") >= 2)
            check_modes(fleet, {"token", "tokenizer.json", "supervisor.json", "lease", "lock", "rank-0.log"})
            fleet.fast()
            assert running.wait() == 0, running.text
            check_modes(fleet, {"job.json", "events.jsonl", "progress.json", "log", "rank-1.log"})
    finally:
        os.umask(before)


def check_modes(fleet: Fleet, wanted: set[str]) -> None:
    """Of all that lies below ~/.shardfleet on any host, these names among it."""
    homes = dict.fromkeys(fleet.homes.values())
    roots = [home / ".shardfleet" for home in homes]
    found = {path: path.lstat().st_mode for root in roots for path in (root, *root.rglob("*")) if path.exists()}
    assert wanted <= {path.name for path in found}
    open_to_others = {
        str(path): oct(mode)
        for path, mode in found.items()
        if stat.S_IMODE(mode) != (0o700 if stat.S_ISDIR(mode) else 0o600)
    }
    assert open_to_others == {}
    assert mode_of(fleet.directory / "runs" / fleet.run_id) == 0o700
