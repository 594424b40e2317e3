"""provision/prepare/prepare.py: from what the user asks for to a run directory with its script."""

import hashlib
import stat
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from provision.catalog.types import DatasetSpec
from provision.errors import InputError, NotReadyError
from provision.plan.ledger import Entry, read_ledger, write_ledger
from provision.plan.plan import Policy
from provision.prepare.preflight import failures, require_ready
from provision.prepare.prepare import Prepared, Request, prepare, write_run
from provision.run.push import pack
from shard.records.compression import Compression
from shard.records.options import Options
from shard.records.progress import UnitCounts
from tests.support.jobs import write_corpus
from tests.support.plans import tree_of


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with hosts.txt and a dataset of three files, and a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work" / "hosts.txt").write_text("localhost 2\n")
    write_corpus(tmp_path / "data", ["one", "two", "three"], files=3)
    return tmp_path


def request(place: Path, **fields: Any) -> Request:
    given: dict[str, Any] = {
        "hosts_file": Path("hosts.txt"),
        "default_slots": None,
        "dataset": DatasetSpec(name=str(place / "data")),
        "tokenizer": "bytes",
        "eod": None,
        "output_dir": "~/train",
        "holdout_dir": "~/holdout",
        "holdout_rate": 0.001,
        "holdout_seed": 0,
        "unit_bytes": 1 << 20,
        "options": Options(),
        "policy": Policy(),
        "ssh_config": None,
        "remote_python": "~/python",
        "run_dir": None,
        "overwrite": False,
    }
    return Request(**{**given, **fields})


def prepared(place: Path, **fields: Any) -> Prepared:
    return prepare(request(place, **fields), lambda text: None)


def test_run_is_written(place: Path) -> None:
    """Plan and script are in the run directory, its own; a copy of the script lies where we are, and can be run."""
    made = prepared(place)
    copy = write_run(made)
    run = place / "work" / "runs" / made.plan.run_id
    assert copy == place / "work" / "run_all_hosts.sh"
    assert copy.read_bytes() == (run / "run_all_hosts.sh").read_bytes()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o755
    assert stat.S_IMODE((run / "plan.json").stat().st_mode) == 0o600
    assert made.run.read_plan() == made.plan
    assert set(tree_of(run)) == {"plan.json", "run_all_hosts.sh", "ssh_config", "lock", "ledger.jsonl"}


def test_tokenizer_travels_with_the_plan(place: Path, small_tokenizer: Path) -> None:
    """The tokenizer's file is in the run directory, byte for byte."""
    made = prepared(place, tokenizer=str(small_tokenizer))
    write_run(made)
    assert (made.run.tokenizer / "tokenizer.json").read_bytes() == small_tokenizer.read_bytes()


def test_plan_is_the_request(place: Path) -> None:
    """Every wish that decides bytes or places is in the plan."""
    made = prepared(place, holdout_rate=0.25, holdout_seed=9, eod="none", overwrite=True, unit_bytes=300)
    plan = made.plan
    assert (plan.holdout.rate, plan.holdout.seed, plan.tokenizer.eod_id) == (0.25, 9, None)
    assert (plan.overwrite, plan.unit_bytes, plan.local_python, plan.remote_python) == (
        *(True, 300, sys.executable, "~/python"),
    )
    assert len(plan.units) > 3
    assert [host.units for host in plan.hosts] == [tuple(range(len(plan.units)))]
    assert failures(made.checks["localhost"]) == []


def test_what_frames_documents_is_in_the_plan(place: Path) -> None:
    """--bos reaches the plan and its fingerprint."""
    plain, framed = prepared(place).plan, prepared(place, bos="2").plan
    assert (plain.tokenizer.bos_id, framed.tokenizer.bos_id, framed.identity.bos_id) == (None, 2, 2)
    assert plain.fingerprint != framed.fingerprint


def test_run_directory_may_be_chosen(place: Path) -> None:
    """--run-dir is taken as it is, and the script may be written there from there."""
    made = prepared(place, run_dir=Path("a run"))
    write_run(made)
    assert (place / "work" / "a run" / "plan.json").is_file()


def test_script_in_its_own_run_directory(place: Path) -> None:
    """Where we are in the run directory itself, the script is not copied over itself."""
    made = prepared(place, run_dir=Path())
    assert write_run(made) == place / "work" / "run_all_hosts.sh"
    assert (place / "work" / "run_all_hosts.sh").is_file()


def test_run_under_way_is_left_alone(place: Path) -> None:
    """While the script runs neither plan nor script are replaced."""
    made = prepared(place)
    write_run(made)
    other = prepared(place, options=Options(attempts=9))
    before = tree_of(made.run.path)
    with made.run.not_running(), pytest.raises(InputError, match="already under way"):
        write_run(other)
    assert tree_of(made.run.path) == before


def test_rank_table_is_made_once(place: Path) -> None:
    """A compressed run has a rank table of its dataset: the same at every start, and for everybody who plans it; it is
    kept beside the plan, and not made again."""
    wish = {"compression": Compression(level=5)}
    said: list[str] = []
    first = prepare(request(place, **wish), said.append)
    assert first.ranks is not None
    compression = first.plan.identity.compression
    assert compression is not None
    assert (compression.level, compression.ranks_sha256) == (5, hashlib.sha256(first.ranks).hexdigest())
    write_run(first)
    assert first.run.ranks.read_bytes() == first.ranks
    assert pack(first.run).ranks == first.ranks
    again = prepare(request(place, **wish), said.append)
    assert (again.plan, again.ranks) == (first.plan, first.ranks)
    assert len([line for line in said if "sampling" in line]) == 1
    other = prepare(request(place, **wish, run_dir=Path("elsewhere")), said.append)
    assert (other.plan.fingerprint, other.ranks) == (first.plan.fingerprint, first.ranks)
    assert other.plan.run_id == first.plan.run_id
    assert len([line for line in said if "sampling" in line]) == 2
    first.run.ranks.write_bytes(b"damaged!")
    assert prepared(place, **wish).ranks == first.ranks
    assert len({prepared(place, compression=c).plan.run_id for c in (None, Compression(), wish["compression"])}) == 3


def test_dataset_that_cannot_be_sampled(place: Path) -> None:
    """Where a file of the sample cannot be read, planning a compressed run ends with its name and what to do."""
    path = place / "data" / "part-1.parquet"
    data = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    start = min(chunk.dictionary_page_offset or chunk.data_page_offset, chunk.data_page_offset)
    data[start : start + 20] = bytes(20)  # the text's first page; the footer is as it was
    path.write_bytes(data)
    prepared(place)
    with pytest.raises(InputError, match=r"(?s)part-1.parquet.*--include, or leave out --compress"):
        prepared(place, compression=Compression())


def known(made: Prepared, **units: list[int]) -> None:
    """Have the run's ledger say so."""
    entries = {
        ordinal: Entry(host, UnitCounts(ordinal, 0, 1, 1, 1, 0, 4, 0, 0))
        for host, ordinals in units.items()
        for ordinal in ordinals
    }
    write_ledger(made.run.ledger, made.plan.fingerprint, entries)


@pytest.fixture
def with_far_host(place: Path) -> Path:
    """A second host, which cannot be reached."""
    (place / "work" / "hosts.txt").write_text("localhost 2\nfar 2\n")
    (place / "config").write_text("Host far\n  HostName 127.0.0.1\n  Port 1\n")
    return place


def test_unready_host_is_left_out(with_far_host: Path) -> None:
    """With --skip-unready a host that cannot be reached keeps what the ledger knows of it; the rest is another's."""
    wishes = {"ssh_config": with_far_host / "config", "skip_unready": True}
    known(prepared(with_far_host, **wishes), far=[1])
    made = prepared(with_far_host, **wishes)
    write_run(made)
    assert [(host.name, host.absent, host.units) for host in made.run.read_plan().hosts] == [
        *(("localhost", False, (0, 2)), ("far", True, (1,))),
    ]
    assert set(read_ledger(made.run.ledger, made.plan.fingerprint)) == {1}
    (note,) = [note for note in made.notes if "going on without" in note]
    assert note.startswith("going on without far, whose 1 finished units count: cannot connect to 127.0.0.1 port 1")


def test_one_host_must_be_left(with_far_host: Path) -> None:
    """--skip-unready without a host that is ready is refused."""
    (with_far_host / "work" / "hosts.txt").write_text("far 2\n")
    made = prepared(with_far_host, ssh_config=with_far_host / "config", skip_unready=True)
    with pytest.raises(NotReadyError, match=r"not started:\n  far: cannot connect"):
        require_ready(made.plan, made.checks)


def test_unready_host_is_told_of(with_far_host: Path) -> None:
    """Else it has its share of the plan, and the check that it failed is there to be shown."""
    made = prepared(with_far_host, ssh_config=with_far_host / "config")
    assert [bool(host.units) for host in made.plan.present] == [True, True]
    assert [check.what for check in failures(made.checks["far"])] == ["SSH"]


def test_lost_host_is_no_more(with_far_host: Path) -> None:
    """A host that will not return is not asked, and what the ledger knew of it is done again."""
    wishes = {"ssh_config": with_far_host / "config"}
    known(prepared(with_far_host, **wishes), far=[0, 1])
    made = prepared(with_far_host, **wishes, lost=("far",))
    write_run(made)
    assert [(host.name, host.units) for host in made.run.read_plan().hosts] == [("localhost", (0, 1, 2))]
    assert set(made.surveys) == {"localhost"}
    assert read_ledger(made.run.ledger, made.plan.fingerprint) == {}


def test_ledger_is_put_right_when_the_run_is_written(place: Path) -> None:
    """What this host does not have any more is in the ledger until the run is written, and not after."""
    known(prepared(place), localhost=[0], elsewhere=[1])
    made = prepared(place)
    assert set(read_ledger(made.run.ledger, made.plan.fingerprint)) == {0, 1}
    write_run(made)
    assert set(read_ledger(made.run.ledger, made.plan.fingerprint)) == {1}


def test_plan_elsewhere_knows_the_ledger(with_far_host: Path) -> None:
    """A plan that is only shown is made with what the run's own directory knows, and leaves that as it is."""
    known(prepared(with_far_host, ssh_config=with_far_host / "config"), far=[0, 1, 2])
    before = tree_of(with_far_host / "work")
    shown = prepare(request(with_far_host, ssh_config=with_far_host / "config"), lambda text: None,
                    run_dir=with_far_host / "elsewhere")  # fmt: skip
    assert [host.units for host in shown.plan.hosts] == [(), (0, 1, 2)]
    assert tree_of(with_far_host / "work") == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lost": ("nobody",)}, "hosts.txt, which names localhost"),
        ({"lost": ("localhost",)}, "--lost localhost: no host is left"),
        ({"hosts_file": Path("nowhere.txt")}, "nowhere.txt"),
        ({"output_dir": "train"}, "--output-dir='train': not a whole path"),
        ({"holdout_dir": "~bob/x"}, "--holdout-dir='~bob/x': not a whole path"),
        ({"output_dir": "/a\nb"}, "control character"),
        ({"holdout_dir": "~/train"}, "would both go to '~/train'"),
        ({"tokenizer": "nothing"}, "'nothing'"),
        ({"options": Options(trainers=("olmo",)), "eod": "none"}, "--for olmo: it finds documents by their"),
        ({"eod": "300"}, "end-of-document id 300 is outside the vocabulary of 'bytes'"),
        ({"dataset": DatasetSpec(name="/nowhere")}, "/nowhere"),
        ({"ssh_config": Path("/nowhere/config")}, "/nowhere/config"),
        ({"run_dir": Path("hosts.txt/run")}, "hosts.txt/run"),
        ({"unit_bytes": 0}, "--unit-size 0"),
        ({"compression": Compression(), "options": Options(trainers=("olmo",))}, "--for olmo with --compress"),
        ({"holdout_rate": 1.0}, "holdout rate 1.0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refusals(place: Path, fields: dict[str, Any], message: str) -> None:
    """What cannot be used is an InputError that names it."""
    with pytest.raises(InputError) as caught:
        prepared(place, **fields)
    assert message in str(caught.value)


def test_interpreter_that_env_cannot_start(place: Path) -> None:
    """An interpreter path with '=' is refused before anything of the run is written."""
    (place / "work" / "hosts.txt").write_text("nowhere.invalid 1\n")
    made = prepared(place, remote_python="/opt/a=b/python")
    with pytest.raises(InputError, match="a=b"):
        write_run(made)
    assert not made.run.plan_file.exists()
