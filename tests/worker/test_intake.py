"""shard/source/intake.py and opened.py: what is kept from unit to unit, against the real Hub server."""

from collections.abc import Iterator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path

import pytest

from shard.errors import SourceError
from shard.records.job import Dataset
from shard.records.options import Options
from shard.records.unit import Unit
from shard.source.download import Scratch
from shard.source.intake import Intake
from shard.source.opened import open_unit
from tests.support.batches import documents_of
from tests.support.hub import RunningHub, running_hub
from tests.support.jobs import QUICK, hub_dataset, hub_units, write_corpus
from tests.support.netns_tools import wait_for

FILES = 3
REPO = "some-owner/corpus"


@pytest.fixture
def served(tmp_path: Path, documents: list[str]) -> Path:
    write_corpus(tmp_path / "hub" / REPO, documents[:240], files=FILES, group_rows=20, compression="none")
    return tmp_path / "hub"


@pytest.fixture
def hub(served: Path) -> Iterator[RunningHub]:
    with running_hub(served) as server:
        yield server


@pytest.fixture
def dataset(hub: RunningHub) -> Dataset:
    return hub_dataset(hub.endpoint, REPO)


@pytest.fixture
def intake() -> Iterator[Intake]:
    with closing(Intake(QUICK)) as intake:
        yield intake


def read(
    dataset: Dataset,
    unit: Unit,
    intake: Intake,
    then: Unit | None = None,
    *,
    locations: dict[str, str],
    options: Options = QUICK,
) -> list[str]:
    with open_unit(dataset, unit, options, Scratch(Path("/nowhere")), locations, intake, then) as opened:
        return [document.decode() for batch in opened.texts for document in documents_of(batch)]


def counts(hub: RunningHub, unit: Unit) -> tuple[int, int]:
    """Resolves of a unit's file, and bytes of it sent."""
    found = hub.stats()["paths"].get(f"{REPO}/{unit.path}", {"resolve": 0, "cdn_bytes": 0})
    return found["resolve"], found["cdn_bytes"]


def ports(hub: RunningHub) -> set[str]:
    """Our ends of the connections to the Hub that stand."""
    port = f"{int(hub.endpoint.rpartition(':')[2]):04X}"
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]
    ]
    return {words[1] for words in lines if words[2].endswith(f":{port}") and words[3] == "01"}


def test_the_next_unit_is_fetched_before_it_is_asked_for(
    hub: RunningHub, dataset: Dataset, documents: list[str], intake: Intake
) -> None:
    """While one unit is still being read the next is resolved and its bytes come; nothing of it is fetched again."""
    first, second, _ = hub_units(dataset)
    locations: dict[str, str] = {}
    with open_unit(dataset, first, QUICK, Scratch(Path("/nowhere")), locations, intake, second) as opened:
        wait_for(lambda: counts(hub, second)[1] > 64 << 10 or None, "bytes of the next unit come")
        rows = [document.decode() for batch in opened.texts for document in documents_of(batch)]
    rows += read(dataset, second, intake, locations=locations)
    assert documents[:160] == rows
    assert [(resolves, sent <= unit.size) for unit in (first, second) for resolves, sent in [counts(hub, unit)]] == [
        (1, True),
        (1, True),
    ]


def test_a_wrong_guess_costs_no_rows(hub: RunningHub, dataset: Dataset, documents: list[str], intake: Intake) -> None:
    """When another unit is asked for than was opened ahead, that one is read, and the guess is read later all the
    same."""
    first, second, third = hub_units(dataset)
    locations: dict[str, str] = {}
    rows = {}
    for unit, then in ((first, second), (third, second), (second, None)):
        rows[unit.ordinal] = read(dataset, unit, intake, then, locations=locations)
    guess = read(dataset, first, intake, second, locations=locations)
    wait_for(lambda: counts(hub, second)[1] > 64 << 10 or None, "bytes of the guess come")
    assert documents[160:240] == read(dataset, third, intake, locations=locations)
    assert documents[:240] == [row for ordinal in range(FILES) for row in rows[ordinal]]
    assert documents[:80] == guess


def test_connections_outlive_files(hub: RunningHub, dataset: Dataset) -> None:
    """The connection of one file serves the next."""
    locations: dict[str, str] = {}
    before = ports(hub)
    options = Options(spans_in_flight=1)
    with closing(Intake(options)) as intake:
        units = hub_units(dataset)
        seen = []
        for unit in units:
            read(dataset, unit, intake, locations=locations, options=options)
            seen.append(ports(hub) - before)
        # One carries the files, and one more the resolves, which the Hub client keeps.
        assert len(set.union(*seen)) <= 2 + 1
        assert seen[0] & seen[-1]


def test_the_footer_of_a_file_is_fetched_once(
    hub: RunningHub, dataset: Dataset, documents: list[str], intake: Intake
) -> None:
    """Parts of one file, one after the other, cost each byte once at most."""
    parts = [unit for unit in hub_units(dataset, parts=3) if unit.path == "part-0.parquet"]
    locations: dict[str, str] = {}
    rows = []
    for unit, then in zip_longest(parts, parts[1:]):
        rows += read(dataset, unit, intake, then, locations=locations)
    assert documents[:80] == rows
    resolves, sent = counts(hub, parts[0])
    assert resolves == 1
    assert sent <= parts[0].size


def test_an_error_ahead_strikes_its_own_unit(dataset: Dataset, documents: list[str], intake: Intake) -> None:
    """A unit that cannot be opened fails when it is asked for, and neither the one before nor the one after."""
    first, second, _ = hub_units(dataset)
    gone = Unit(ordinal=7, path="gone.parquet", size=second.size, content_id=second.content_id)
    locations: dict[str, str] = {}
    assert documents[:80] == read(dataset, first, intake, gone, locations=locations)
    with pytest.raises(SourceError, match=r"gone\.parquet"):
        read(dataset, gone, intake, second, locations=locations)
    assert documents[80:160] == read(dataset, second, intake, locations=locations)


def test_damage_is_not_kept(hub: RunningHub, dataset: Dataset, documents: list[str], intake: Intake) -> None:
    """When a unit fails, its footer is fetched anew: another attempt with the same damaged bytes would be none."""
    first, _, _ = hub_units(dataset)
    hub.arm({"kind": "corrupt", "offset": first.size - 2000, "length": 1900, "path": f"{REPO}/{first.path}"})
    locations: dict[str, str] = {}
    with pytest.raises(SourceError):
        read(dataset, first, intake, locations=locations)
    assert documents[:80] == read(dataset, first, intake, locations=locations)


def test_downloads_are_not_made_ahead(
    hub: RunningHub, dataset: Dataset, documents: list[str], tmp_path: Path, intake: Intake
) -> None:
    """The one file that is downloaded is not replaced by the next while it is read."""
    options = Options(fetch="download")
    scratch, rows = Scratch(tmp_path / "scratch"), []
    units = hub_units(dataset)
    for unit, then in zip_longest(units, units[1:]):
        with open_unit(dataset, unit, options, scratch, {}, intake, then) as opened:
            rows += [document.decode() for batch in opened.texts for document in documents_of(batch)]
        assert then is None or counts(hub, then) == (0, 0)
    assert documents[:240] == rows
