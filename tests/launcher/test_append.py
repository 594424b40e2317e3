"""provision/prepare/append.py: which files are new, by what hosts say they hold."""

import pytest
from msgspec.structs import replace

from provision.catalog.types import Catalog, SourceFile
from provision.errors import InputError, NothingToAppendError
from provision.plan.hostjob import job_of
from provision.plan.plan import Plan
from provision.prepare.append import Added, Held, added, joined
from shard.host.contents import Contents, UnitThere
from shard.records.compression import Compression
from shard.records.job import Holdout
from shard.records.shards import DirectoryRecord, directory_record
from tests.support.jobs import BYTES_SPEC
from tests.support.plans import MIB, dataset, plan_of, source_files

FILES = source_files(*[10 * MIB] * 8)


def record_of(plan: Plan) -> DirectoryRecord:
    return directory_record(job_of(plan, plan.hosts[0]), "train")


def units_of(plan: Plan) -> list[UnitThere]:
    return [UnitThere(unit.ordinal, unit.path, unit.content_id) for unit in plan.units]


FIRST = plan_of(files=FILES[:3])
SECOND = plan_of(files=FILES[3:5], earlier=(FIRST.identity,))


def held(*plans: Plan, without: tuple[int, ...] = ()) -> Held:
    """What hosts hold after these plans, all but some units."""
    units = [unit for plan in plans for unit in units_of(plan) if unit.unit not in without]
    return Held(record_of(plans[-1]), tuple(units))


def adding(before: Held, files: list[SourceFile], unit_bytes: int = 256 * MIB, name: str = "owner/name") -> Added:
    return added(before, Catalog(dataset(name), tuple(files)), BYTES_SPEC, Holdout(), unit_bytes)


def test_only_what_is_new_is_added() -> None:
    """Files whose content is there are left out, whatever they are called; the rest keeps the dataset's order."""
    renamed = SourceFile(path="data/zz.parquet", size=10 * MIB, content_id=FILES[1].content_id)
    found = adding(held(FIRST), [*FILES[:5], renamed])
    assert (found.files, found.earlier) == (FILES[3:5], (FIRST.identity,))
    assert [unit.ordinal for unit in plan_of(files=found.files, earlier=found.earlier).units] == [3, 4]


def test_appended_to_again() -> None:
    """What comes next comes behind all that was appended before."""
    found = adding(held(FIRST, SECOND), FILES[:6])
    assert (found.files, found.earlier) == (FILES[5:6], (FIRST.identity, SECOND.identity))
    third = plan_of(files=found.files, earlier=found.earlier)
    assert third.unit(5) == third.units[0] and third.has(5) and not third.has(4)
    assert third.identity.base == SECOND.fingerprint


@pytest.mark.parametrize("before", [held(FIRST), held(FIRST, SECOND)], ids=["run", "append"])
def test_nothing_new(before: Held) -> None:
    """The same files again are nothing to append: no failure."""
    with pytest.raises(NothingToAppendError, match="all 3 files") as nothing:
        adding(before, FILES[:3])
    assert nothing.value.exit_code == 0


def test_an_append_that_was_cut_short_goes_on() -> None:
    """The same files, of which units are missing, are the same append."""
    found = adding(held(FIRST, SECOND, without=(4,)), FILES[:5])
    assert (found.files, found.earlier) == (FILES[3:5], (FIRST.identity,))
    assert plan_of(files=found.files, earlier=found.earlier).identity == SECOND.identity


def test_another_dataset_with_files_of_the_same_names() -> None:
    """Its append again does nothing, or goes on: what came before it under these names is not it changed."""
    files = [SourceFile(file.path, file.size, f"sha256:{number:064x}") for number, file in enumerate(FILES, 50)]
    other = plan_of(files=files, earlier=(FIRST.identity,), name="other/name")
    with pytest.raises(NothingToAppendError, match="all 8 files"):
        adding(held(FIRST, other), files, name="other/name")
    found = adding(held(FIRST, other, without=(4,)), files, name="other/name")
    assert plan_of(files=found.files, earlier=found.earlier, name="other/name").identity == other.identity


@pytest.mark.parametrize(("plans", "missing"), [((FIRST,), 1), ((FIRST, SECOND), 1), ((FIRST, SECOND), 4)])
def test_nothing_comes_behind_what_is_not_complete(plans: tuple[Plan, ...], missing: int) -> None:
    """Units that are on no host are named: behind them nothing is appended."""
    with pytest.raises(InputError, match=rf"units {missing} to {missing} of the directories"):
        adding(held(*plans, without=(missing,)), FILES)


def test_a_changed_file_is_refused() -> None:
    """A file of the same dataset whose content is another cannot be appended; one of another dataset can."""
    changed = SourceFile(path=FILES[1].path, size=10 * MIB, content_id="sha256:" + "f" * 64)
    with pytest.raises(InputError, match=r"data/000001\.parquet is there with another content"):
        adding(held(FIRST), [FILES[0], changed])
    assert adding(held(FIRST), [changed], name="other/name").files == [changed]


def test_other_options_are_refused() -> None:
    """Each difference from the shards there is named."""
    other = replace(BYTES_SPEC, eod_id=None)
    with pytest.raises(InputError, match=r"eod_id: None, not 256; holdout_seed: 3, not 0"):
        added(held(FIRST), Catalog(dataset(), tuple(FILES)), other, Holdout(seed=3), MIB)


def test_hosts_are_joined() -> None:
    """New hosts hold nothing, others may be behind; units of all are one list."""
    found = joined(
        {
            "behind": Contents(record=record_of(FIRST), units=units_of(FIRST)[:2]),
            "new": Contents(record=None, units=[]),
            "last": Contents(record=record_of(SECOND), units=[*units_of(FIRST)[2:], *units_of(SECOND)]),
        }
    )
    assert found == Held(record_of(SECOND), held(FIRST, SECOND).units, ("behind",))


def test_a_host_that_is_behind_is_brought_up() -> None:
    """The latest append again has something to do for it, though no unit is missing; any other has not."""
    first = Contents(record=record_of(FIRST), units=units_of(FIRST))
    second = Contents(record=record_of(SECOND), units=units_of(SECOND))
    behind = joined({"alpha": first, "beta": second, "new": Contents(record=None, units=[])})
    assert behind.behind == ("alpha",)
    found = adding(behind, FILES[:5])
    assert plan_of(files=found.files, earlier=found.earlier).identity == SECOND.identity
    with pytest.raises(NothingToAppendError):
        adding(behind, FILES[:3])
    with pytest.raises(NothingToAppendError):
        adding(joined({"alpha": second, "beta": Contents(record=record_of(SECOND), units=units_of(FIRST))}), FILES[:5])


def test_hosts_that_do_not_agree() -> None:
    """Directories of another dataset are named with their host; where nothing is, nothing can be appended to."""
    other = plan_of(files=FILES[5:])
    with pytest.raises(InputError, match=r"beta holds shards of fingerprint"):
        joined(
            {
                "alpha": Contents(record=record_of(SECOND), units=[]),
                "beta": Contents(record=record_of(other), units=[]),
            }
        )
    with pytest.raises(InputError, match="no host has shards"):
        joined({"alpha": Contents(record=None, units=[])})


def test_compressed_directories_are_refused() -> None:
    """Their rank table was made for what they hold."""
    compression = Compression(ranks_sha256="0" * 64)
    record = replace(record_of(FIRST), identity=replace(FIRST.identity, compression=compression))
    with pytest.raises(InputError, match="the directories are compressed"):
        adding(Held(record, ()), FILES)


def test_small_files_that_share_units_are_told_apart_or_refused() -> None:
    """Of a unit of several files no record names them: the same again is nothing new, more of them is refused."""
    texts = [SourceFile(path=f"{number}.txt", size=10, content_id=f"sha256:{number:f>64}") for number in range(4)]
    first = plan_of(files=texts[:3], earlier=(FIRST.identity,))
    assert len(first.units) == 1
    with pytest.raises(NothingToAppendError):
        adding(held(FIRST, first), texts[:3])
    with pytest.raises(InputError, match="many small files"):
        adding(held(FIRST, first), texts)
