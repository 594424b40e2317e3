"""shard/verify, shard/dircheck, shard/shardcheck and shard/coverage, over stores that the real pipeline wrote."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shard.errors import JobError
from shard.formats.megatron import index_bytes, read_index
from shard.records.frozen import sealed_json
from shard.records.job import Holdout, Job, identity_of
from shard.records.shards import Split, read_directory, read_shard
from shard.records.unit import Unit
from shard.verify.coverage import prove_coverage, report_of
from shard.verify.directory import verify_directory
from shard.verify.report import DirectoryReport, Report
from shard.verify.stores import verify, verify_job
from tests.support.jobs import (
    BYTES_SPEC,
    files_dataset,
    json_spec,
    make_job,
    rank_spec,
    write_corpus,
    write_job,
)
from tests.support.worker import write_all


@dataclass(frozen=True)
class Store:
    """Two directories of shards, free to be damaged, and the job that wrote them."""

    job: Job

    @property
    def train(self) -> Path:
        return Path(self.job.output_dir)

    @property
    def holdout(self) -> Path:
        return Path(self.job.holdout_dir)

    def verify(self) -> Report:
        return verify([self.train, self.holdout])

    def moved(self, target: Path) -> "Store":
        """A copy elsewhere."""
        shutil.copytree(self.train, target / "train")
        shutil.copytree(self.holdout, target / "holdout")
        job = msgspec.structs.replace(self.job, output_dir=str(target / "train"), holdout_dir=str(target / "holdout"))
        return Store(job)

    def without(self, *units: int) -> "Store":
        """The same without some units, as on one host of several."""
        for unit in units:
            for directory in (self.train, self.holdout):
                for path in directory.glob(f"{unit:06d}.*"):
                    path.unlink()
        return self

    def rewrite(self, unit: int, split: Split = "train", **changes: Any) -> None:
        """Change fields of a record; `source` takes a dict of its fields."""
        directory = self.train if split == "train" else self.holdout
        record = read_shard(directory, f"{unit:06d}")
        if "source" in changes:
            changes["source"] = msgspec.structs.replace(record.source, **changes["source"])
        changed = msgspec.structs.replace(record, **changes)
        (directory / f"{unit:06d}.json").write_bytes(sealed_json(changed))

    def edit_payload(self, unit: int, edit: Callable[[np.ndarray[Any, Any]], None]) -> None:
        """Change tokens, with a record that agrees: only the look at the tokens can find it."""
        path = self.train / f"{unit:06d}.bin"
        tokens = np.fromfile(path, dtype="<u2")
        edit(tokens)
        path.write_bytes(tokens.tobytes())
        self.rewrite(unit, payload_sha256=hashlib.sha256(tokens.tobytes()).hexdigest())

    def edit_lengths(self, unit: int, edit: Callable[[np.ndarray[Any, Any]], None]) -> None:
        """Change document lengths, with an index and a record that agree in themselves."""
        path = self.train / f"{unit:06d}.idx"
        lengths = read_index(path).lengths.copy()
        edit(lengths)
        data = index_bytes([lengths], "uint16")
        path.write_bytes(data)
        self.rewrite(unit, index_sha256=hashlib.sha256(data).hexdigest())


def write_store(job: Job, tokenizer_directory: Path) -> Store:
    write_all(job, tokenizer_directory)
    return Store(job)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Store:
    """Six units of three files, with rows that are no documents."""
    root = tmp_path_factory.mktemp("store")
    texts: list[str | None] = [*documents[:57], None, "", "last"]
    random.Random(7).shuffle(texts)
    corpus = write_corpus(root / "corpus", texts, files=3, group_rows=4)
    return write_store(make_job(corpus, root, parts=2, holdout=Holdout(rate=0.3)), root)


@pytest.fixture
def store(written: Store, tmp_path: Path) -> Store:
    return written.moved(tmp_path / "store")


def errors(report: Report) -> list[str]:
    return [str(finding) for finding in report.findings if finding.severity == "error"]


def only_error(report: Report, file: Path | str, *words: str) -> None:
    """Exactly one error, about this file, saying these words."""
    (error,) = errors(report)
    assert error.startswith(f"{file}: "), error
    for word in words:
        assert word in error


def test_a_store_as_written_is_proven(written: Store) -> None:
    """Nothing is found, every row of the dataset is accounted for, and the sums are those of the records."""
    report = written.verify()
    assert report.findings == []
    coverage = report.coverage
    assert (coverage.complete, coverage.proven, coverage.units, coverage.missing) == (True, 6, 6, ())
    assert coverage.documents + coverage.holdout_documents + coverage.dropped == coverage.rows == 60
    assert (coverage.dropped, coverage.fingerprint) == (2, written.job.fingerprint)
    assert min(coverage.documents, coverage.holdout_documents) > 5
    size = sum(path.stat().st_size for d in (written.train, written.holdout) for path in d.glob("*.bin"))
    assert sum(directory.bytes_checked for directory in report.directories) == size
    assert 2 * (coverage.tokens + coverage.holdout_tokens) == size


def test_a_report_survives_json(written: Store) -> None:
    """What a host prints is what the launcher reads."""
    report = verify_job(written.job)
    assert report.coverage.complete
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_every_flipped_byte_is_found(written: Store, tmp_path: Path) -> None:
    """One changed byte anywhere gives a finding that names the file."""
    chance = random.Random(2)
    store = written.moved(tmp_path)
    files = sorted(path for d in (store.train, store.holdout) for path in d.iterdir() if path.name[0] != ".")
    # Records and indexes as often as payloads, though they are much smaller.
    for suffix in (".bin", ".idx", ".json"):
        some = [path for path in files if path.suffix == suffix and path.stat().st_size]
        for _ in range(70):
            path = chance.choice(some)
            data = bytearray(path.read_bytes())
            position, bit = chance.randrange(len(data)), 1 << chance.randrange(8)
            data[position] ^= bit
            path.write_bytes(data)
            found = [str(finding) for finding in store.verify().findings]
            assert any(path.name in finding and path.parent.name in finding for finding in found), (
                f"{path.name}, byte {position}, bit {bit}: {found}"
            )
            data[position] ^= bit
            path.write_bytes(data)
    assert store.verify().findings == []


@pytest.mark.parametrize("suffix", ["bin", "idx", "json"])
@pytest.mark.parametrize("keep", [0, 1, 33, -1])
def test_a_truncated_file_is_found(store: Store, suffix: str, keep: int) -> None:
    """Cut anywhere, each of the three files is named, and no other."""
    path = store.train / f"000002.{suffix}"
    path.write_bytes(path.read_bytes()[:keep])
    report = store.verify()
    assert errors(report)
    assert all(error.startswith(f"{path}: ") for error in errors(report))


@pytest.mark.parametrize("suffix", ["bin", "idx", "json"])
def test_a_lost_file_is_found(store: Store, suffix: str) -> None:
    """Payload and index are missed by name; a lost record leaves its unit without one of two."""
    path = store.holdout / f"000002.{suffix}"
    path.unlink()
    if suffix == "json":
        only_error(store.verify(), store.train / "000002.json", "unit 2 has no holdout record")
    else:
        only_error(store.verify(), path, "missing")


def test_a_lost_train_record_is_found(store: Store) -> None:
    """The train record is the commit; without it the holdout record stands alone, and the files are left-overs."""
    (store.train / "000001.json").unlink()
    report = store.verify()
    only_error(report, store.holdout / "000001.json", "unit 1 has no train record")
    warned = {finding.file for finding in report.findings if finding.severity == "warning"}
    assert warned == {str(store.train / "000001.bin"), str(store.train / "000001.idx")}
    assert not report.coverage.complete


def test_unfinished_work_is_no_error(store: Store) -> None:
    """What an interrupted run leaves of a unit is reported mildly, and the unit is missing."""
    for directory in (store.train, store.holdout):
        (directory / "000003.json").unlink()
        (directory / ".000003.json.77.tmp").write_bytes(b"{")
    report = store.verify()
    assert report.ok
    assert len(report.findings) == 6
    assert report.coverage.missing == ((3, 4),)
    assert (report.coverage.complete, report.coverage.proven) == (False, 5)


def test_unreadable_files_are_findings(store: Store) -> None:
    """A directory in place of a file ends neither the run nor the look at the others."""
    for name in ("000000.bin", "000001.idx", "000002.json"):
        (store.train / name).unlink()
        (store.train / name).mkdir()
    named = sorted(Path(error.partition(": ")[0]).name for error in errors(store.verify()))
    assert named == ["000000.bin", "000001.idx", "000002.json"]


def test_swapped_shards_are_found(store: Store) -> None:
    """Two shards under each other's names, records and all."""
    for suffix in ("bin", "idx", "json"):
        a, b = (store.train / f"00000{unit}.{suffix}" for unit in (0, 1))
        a.rename(store.train / "x")
        b.rename(a)
        (store.train / "x").rename(b)
    assert [error.partition(": ")[0] for error in errors(store.verify())] == [
        str(store.train / "000000.json"),
        str(store.train / "000001.json"),
    ]


def test_a_payload_of_another_unit_is_found(store: Store) -> None:
    """Payload and index fit each other, but the record is of others."""
    for suffix in ("bin", "idx"):
        shutil.copy(store.train / f"000000.{suffix}", store.train / f"000004.{suffix}")
    found = errors(store.verify())
    assert {error.partition(": ")[0] for error in found} == {str(store.train / f"000004.{s}") for s in ("bin", "idx")}


def test_holdout_in_place_of_train_is_found(store: Store) -> None:
    """A directory that says it is the other split, or of another job, is refused with the difference."""
    swapped = msgspec.structs.replace(store.job, output_dir=store.job.holdout_dir, holdout_dir=store.job.output_dir)
    found = errors(verify_job(swapped))
    assert sorted(error.partition("split: ")[2] for error in found) == [
        "'holdout', not 'train'",
        "'train', not 'holdout'",
    ]
    assert all(error.startswith("localhost:/") for error in found)


def test_an_id_outside_the_vocabulary_is_found(store: Store) -> None:
    """Even where hash and record agree with it."""

    def edit(tokens: np.ndarray[Any, Any]) -> None:
        tokens[[5, 9]] = (300, 257)

    store.edit_payload(1, edit)
    only_error(store.verify(), store.train / "000001.bin", "token 5 is 300", "vocabulary of 257", "(and 1 more)")


def test_a_lacking_end_of_document_is_found(store: Store) -> None:
    """The last token of every document is the end-of-document id."""
    ends = np.cumsum(read_index(store.train / "000000.idx").lengths) - 1

    def edit(tokens: np.ndarray[Any, Any]) -> None:
        tokens[ends[2]] = 65

    store.edit_payload(0, edit)
    only_error(store.verify(), store.train / "000000.bin", f"document 2 ends at token {ends[2]}")


def test_an_end_of_document_inside_is_found(store: Store) -> None:
    """Bytes are never the end-of-document id, so inside a document it cannot stand."""

    def edit(tokens: np.ndarray[Any, Any]) -> None:
        tokens[7] = 256

    store.edit_payload(1, edit)
    only_error(store.verify(), store.train / "000001.bin", "token 7", "inside a document")


def test_boundaries_that_are_not_the_documents_are_found(store: Store) -> None:
    """An index that agrees with itself and its record, but not with the payload."""

    def edit(lengths: np.ndarray[Any, Any]) -> None:
        lengths[0] += 3
        lengths[1] -= 3

    store.edit_lengths(0, edit)
    found = errors(store.verify())
    assert found
    assert all(error.startswith(str(store.train / "000000.bin")) for error in found)


def test_end_of_document_inside_is_allowed_where_text_may_hold_it(
    tmp_path: Path, documents: list[str], small_tokenizer: Path
) -> None:
    """With `--eod 32` (here: a space of bytes) the id stands inside documents too; its place at the end is checked."""
    spec = msgspec.structs.replace(BYTES_SPEC, eod_id=32)
    store = write_store(make_job(write_corpus(tmp_path / "c", documents[:9]), tmp_path, tokenizer=spec), tmp_path)
    assert store.verify().findings == []
    for tokenizer in (json_spec(small_tokenizer), msgspec.structs.replace(BYTES_SPEC, eod_id=None)):
        job = make_job(tmp_path / "c", tmp_path / tokenizer.name / str(tokenizer.eod_id), tokenizer=tokenizer)
        assert write_store(job, small_tokenizer.parent).verify().findings == []


def test_beginning_of_document(tmp_path: Path, documents: list[str]) -> None:
    """A directory with `--bos` is sound, and a document that begins with another id is found."""
    spec = msgspec.structs.replace(BYTES_SPEC, bos_id=2)
    store = write_store(make_job(write_corpus(tmp_path / "c", documents[:9]), tmp_path, tokenizer=spec), tmp_path)
    assert store.verify().findings == []
    path = store.train / "000000.bin"
    tokens = np.fromfile(path, dtype="<u2")
    assert tokens[0] == 2
    tokens[0] = 3
    path.write_bytes(tokens.tobytes())
    store.rewrite(0, payload_sha256=hashlib.sha256(tokens.tobytes()).hexdigest())
    only_error(store.verify(), path, "document 0 begins at token 0 without the id it should")


def test_tiktoken_in_two_widths(
    tmp_path: Path, documents: list[str], rank_directory: Path, cl100k_directory: Path
) -> None:
    """uint16 and uint32 payloads; in both the end-of-document id stands at ends only."""
    corpus = write_corpus(tmp_path / "corpus", documents[:30])
    for encoding, directory in (("r50k_base", rank_directory), ("cl100k_base", cl100k_directory)):
        store = write_store(make_job(corpus, tmp_path / encoding, tokenizer=rank_spec(encoding)), directory)
        assert store.verify().findings == []
        path = store.train / "000000.bin"
        dtype = np.dtype("<u2" if encoding == "r50k_base" else "<u4")
        tokens = np.fromfile(path, dtype=dtype)
        tokens[4] = tokens[-1]
        path.write_bytes(tokens.tobytes())
        store.rewrite(0, payload_sha256=hashlib.sha256(tokens.tobytes()).hexdigest())
        only_error(store.verify(), path, "token 4, inside")


def test_rows_that_do_not_add_up_are_found(store: Store) -> None:
    """A dropped row too many, and a document too few in its own index."""
    record = read_shard(store.train, "000002")
    store.rewrite(2, dropped={**record.dropped, "null": record.dropped["null"] + 1})
    report = store.verify()
    only_error(report, store.train / "000002.json", "dropped")
    assert (report.coverage.proven, report.coverage.complete) == (5, False)


@pytest.mark.parametrize(("change", "words"), [(-1, "took rows up to"), (+1, "ended at")])
def test_rows_taken_twice_or_never_are_found(store: Store, change: int, words: str) -> None:
    """The second part of a file begins before, or after, the first one's end."""
    for split in ("train", "holdout"):
        record = read_shard(store.train if split == "train" else store.holdout, "000003")
        source = {"row_start": record.source.row_start + change}
        dropped = {**record.dropped, "null": record.dropped["null"] - change if split == "train" else 0}
        if dropped["null"] < 0:
            # One row fewer: the count that is left must still add up.
            store.rewrite(3, split, source=source | {"row_end": record.source.row_end + change})
        else:
            store.rewrite(3, split, source=source, dropped=dropped)
    found = errors(store.verify())
    assert any(error.startswith(str(store.train / "000003.json")) and words in error for error in found), found


def test_a_file_begins_at_row_0_and_ends_at_its_last(store: Store) -> None:
    """Rows before the first part, or after the last, that nobody took."""
    for unit, shift in ((2, 1), (5, -1)):
        for split in ("train", "holdout"):
            record = read_shard(store.train if split == "train" else store.holdout, f"{unit:06d}")
            start, end, rows = record.source.row_start, record.source.row_end, record.source.file_rows
            source = {"row_start": start, "row_end": end, "file_rows": rows + 1}
            if unit == 2:
                source = {"row_start": start + shift, "row_end": end + shift, "file_rows": rows}
            store.rewrite(unit, split, source=source)
    found = "\n".join(errors(store.verify()))
    assert "begins at row 1 of part-1.parquet; no unit took the rows before" in found
    assert "ends at row 20 of 21 of part-2.parquet; no unit took the rest" in found


def test_splits_that_disagree_on_the_source_are_found(store: Store) -> None:
    """Both records of a unit are of the same rows of the same file."""
    store.rewrite(1, "holdout", source={"content_id": "tail:0"})
    only_error(store.verify(), store.train / "000001.json", "000001.json", "content_id", "'tail:0'")


def test_one_host_of_two_is_sound_but_not_complete(written: Store, tmp_path: Path) -> None:
    """Each host lacks the other's units, which is no error; together they are complete, with the plan or without."""
    first, second = written.moved(tmp_path / "a").without(1, 3, 4), written.moved(tmp_path / "b").without(0, 2, 5)
    report = first.verify()
    assert (report.ok, report.coverage.complete, report.coverage.missing) == (True, False, ((1, 2), (3, 5)))
    both = [*report.directories, *second.verify().directories]
    assert prove_coverage(both).complete
    assert prove_coverage(both, written.job.units).complete
    alone = report_of(report.directories, written.job.units)
    assert [str(finding) for finding in alone.findings] == [
        "unit 1: no host holds a record; launch again",
        "units 3 to 4: no host holds a record; launch again",
    ]


def test_a_unit_on_two_hosts_is_found(written: Store, tmp_path: Path) -> None:
    """Whoever reads both directories reads its documents twice."""
    first, second = written.moved(tmp_path / "a").without(3, 4, 5), written.moved(tmp_path / "b").without(0, 1)
    report = verify([first.train, first.holdout, second.train, second.holdout])
    assert errors(report) == [
        f"{second.train}/000002.json: unit 2 stands twice: also in {first.train}/000002.json",
        f"{second.holdout}/000002.json: unit 2 stands twice: also in {first.holdout}/000002.json",
    ]
    assert not report.coverage.complete


def test_hosts_that_share_a_file_system_are_no_two_places(written: Store) -> None:
    """Two hosts see one directory: each reads its own units' bytes, and what both see is one shard."""
    units = written.job.units
    reports = [
        verify_job(msgspec.structs.replace(written.job, host=host, units=units[share]))
        for host, share in (("alpha", slice(0, 2)), ("beta", slice(2, 6)))
    ]
    assert all(report.ok for report in reports)
    assert [len(report.directories[0].units) for report in reports] == [6, 6]
    everything = [directory for report in reports for directory in report.directories]
    assert prove_coverage(everything, units).complete
    sizes = {path.stem: path.stat().st_size for path in written.train.glob("*.bin")}
    assert [report.directories[0].bytes_checked for report in reports] == [
        sum(size for stem, size in sizes.items() if (int(stem) < 2) == (report is reports[0])) for report in reports
    ]
    # What nobody has read is not proven.
    half = prove_coverage(reports[0].directories, units)
    assert "not verified" in half.findings[0].problem


def test_the_plan_names_what_each_unit_must_be(written: Store) -> None:
    """Directories of another plan, and a unit of another file than planned."""
    units = [msgspec.structs.replace(written.job.units[0], content_id="tail:1"), *written.job.units[1:]]
    report = report_of(written.verify().directories, units)
    found = errors(report)
    assert found[0] == f"{written.train}/dataset.json: holds shards of other units than the plan has"
    assert "the plan has part-0.parquet (tail:1)" in found[1]


def test_the_other_split_is_found_beside(store: Store, tmp_path: Path) -> None:
    """Naming one of the two is enough where the other lies beside it; else the report says what it could not prove."""
    for directory in (store.train, store.holdout):
        report = verify([directory])
        assert report.coverage.complete
        assert len(report.directories) == 2
    store.holdout.rename(tmp_path / "elsewhere")
    report = verify([store.train])
    only_error(report, store.train, "holdout not found: coverage not proven")
    assert not report.coverage.complete
    assert verify([store.train, tmp_path / "elsewhere"]).coverage.complete


def test_the_right_one_of_several_is_found_beside(written: Store, tmp_path: Path) -> None:
    """Directories of two hosts side by side: the holdout with the same units is taken."""
    for name, gone in (("a", (0, 1)), ("b", (2, 3, 4, 5))):
        part = written.moved(tmp_path / "made" / name).without(*gone)
        part.train.rename(tmp_path / f"{name}-train")
        part.holdout.rename(tmp_path / f"{name}-holdout")
    report = verify([tmp_path / "a-train"])
    assert [Path(directory.directory).name for directory in report.directories] == ["a-train", "a-holdout"]
    assert report.ok
    report = verify([tmp_path / "a-train", tmp_path / "b-train", tmp_path / "a-holdout"])
    assert len(report.directories) == 4
    assert report.coverage.complete


def test_one_directory_under_two_names_counts_once(store: Store, tmp_path: Path) -> None:
    """A symbolic link is no second copy."""
    (tmp_path / "link").symlink_to(store.train)
    assert verify([store.train, tmp_path / "link", store.holdout]).findings == []


def test_no_directory_of_shards(tmp_path: Path) -> None:
    """A directory without dataset.json, or none at all, is refused by name."""
    for directory in (tmp_path, tmp_path / "absent"):
        with pytest.raises(JobError, match=f"{directory}: no dataset.json there"):
            verify([directory])


def test_a_host_that_has_written_nothing_is_a_finding(written: Store, tmp_path: Path) -> None:
    """The launcher gets a report from every host, and the missing directories in it."""
    job = msgspec.structs.replace(written.job, output_dir=str(tmp_path / "t"), holdout_dir=str(tmp_path / "h"))
    report = verify_job(job)
    assert [Path(error.partition(": ")[0]).parent.name for error in errors(report)] == ["t", "h"]
    assert not report.coverage.complete


def test_damaged_dataset_json(store: Store) -> None:
    """A record that is none, one that contradicts itself, and one of another fingerprint: each is named."""
    path = store.train / "dataset.json"
    record = read_directory(store.train)
    path.write_bytes(b'{"format":\xff}')
    found = errors(store.verify())
    assert found[0].startswith(f"{path}: not a DirectoryRecord")
    assert found[1].endswith("train not found: coverage not proven, name its directory too")

    path.write_bytes(sealed_json(msgspec.structs.replace(record, fingerprint="0" * 64)))
    only_error(store.verify(), path, "is not that of its identity")

    other = msgspec.structs.replace(record.identity, holdout_seed=9)
    facts = msgspec.structs.replace(record.holdout, seed=9)
    path.write_bytes(
        sealed_json(msgspec.structs.replace(record, identity=other, holdout=facts, fingerprint=other.fingerprint))
    )
    found = errors(store.verify())
    assert any("holdout_seed: " in error for error in found)
    assert any("is not the directory's" in error for error in found)


def test_names_may_differ(store: Store) -> None:
    """A mirror gives the same bytes under another name: said, but no error."""
    record = read_directory(store.holdout)
    named = msgspec.structs.replace(record, source=msgspec.structs.replace(record.source, dataset="mirror"))
    (store.holdout / "dataset.json").write_bytes(sealed_json(named))
    report = store.verify()
    assert report.coverage.complete
    (warning,) = report.findings
    assert (warning.severity, "mirror" in warning.problem) == ("warning", True)


def test_units_without_documents_are_proven(tmp_path: Path, documents: list[str]) -> None:
    """Parts that own no row group, a file without rows, and one whose rows are all dropped."""
    corpus = write_corpus(tmp_path / "corpus", documents[:4], group_rows=2)
    write_corpus(tmp_path / "none", [])
    (tmp_path / "none" / "part-0.parquet").rename(corpus / "part-1.parquet")
    write_corpus(tmp_path / "none", [None, ""])
    (tmp_path / "none" / "part-0.parquet").rename(corpus / "part-2.parquet")
    store = write_store(make_job(corpus, tmp_path, parts=5), tmp_path)
    report = store.verify()
    assert report.findings == []
    assert (report.coverage.complete, report.coverage.units, report.coverage.rows) == (True, 15, 6)
    assert sum(facts.documents == 0 for facts in report.directories[0].units) >= 13


def test_chunks_join_without_a_seam(tmp_path: Path) -> None:
    """A payload of several chunks: documents across the seams, and a fault in the last chunk."""
    texts = ["x" * 1_500_000, "y" * 3_000_000, "z" * 10]
    corpus = write_corpus(tmp_path / "corpus", texts)
    store = write_store(make_job(corpus, tmp_path, holdout=Holdout(rate=0.0)), tmp_path)
    assert store.verify().findings == []
    position = sum(map(len, texts)) + 1

    def edit(tokens: np.ndarray[Any, Any]) -> None:
        tokens[position] = 256

    store.edit_payload(0, edit)
    only_error(store.verify(), store.train / "000000.bin", f"token {position}, inside")


def test_progress_reaches_its_total(written: Store) -> None:
    """The callback sees every shard and ends at all bytes."""
    seen: list[tuple[Path, int, int]] = []
    verify_directory(written.train, progress=lambda *said: seen.append(said))
    assert len(seen) == 6
    assert {directory for directory, _, _ in seen} == {written.train}
    assert seen[-1][1] == seen[-1][2] == sum(path.stat().st_size for path in written.train.glob("*.bin"))


def test_twenty_thousand_units_prove_quickly(written: Store) -> None:
    """Reports of many hosts with many units, made up: small as JSON, and every fault among them found."""
    count, hosts = 20_000, 50
    units = [
        Unit(
            ordinal=o,
            path=f"data/CC-MAIN-2024-10/{o // 4:05d}.parquet",
            size=400,
            content_id=f"sha256:{o // 4:064x}",
            part=o % 4,
            parts=4,
        )
        for o in range(count)
    ]
    identity = identity_of(files_dataset("x"), BYTES_SPEC, Holdout(), units)
    record = read_directory(written.train)
    facts = written.verify().directories[0].units[0]

    def report(host: int, split: Split) -> DirectoryReport:
        return DirectoryReport(
            directory=f"host{host}:/{split}",
            place=f"{host}-{split}",
            record=msgspec.structs.replace(record, split=split, identity=identity, fingerprint=identity.fingerprint),
            units=tuple(
                msgspec.structs.replace(
                    facts,
                    unit=u.ordinal,
                    path=u.path,
                    content_id=u.content_id,
                    row_start=u.part * 10,
                    row_end=u.part * 10 + 10,
                    file_rows=40,
                    documents=9 if split == "train" else 1,
                    dropped=0,
                )
                for u in units[host::hosts]
            ),
            unreadable=(),
            bytes_checked=0,
            findings=(),
        )

    reports = [report(host, split) for host in range(hosts) for split in ("train", "holdout")]
    coverage = prove_coverage(reports, units)
    assert (coverage.complete, coverage.proven, coverage.rows) == (True, count, 10 * count)
    assert len(msgspec.json.encode(reports)) < 250 * 2 * count
    assert prove_coverage(reports[2:], units).missing[:2] == ((0, 1), (50, 51))


def test_the_command_prints_one_report(store: Store, tmp_path: Path) -> None:
    """`python -m shard verify --job DIR`: JSON on standard output, exit 0 when sound and 1 when not."""
    directory = write_job(store.job, tmp_path)
    command = [sys.executable, "-m", "shard", "verify", "--job", str(directory)]
    command += ["--output-dir", store.job.output_dir, "--holdout-dir", store.job.holdout_dir]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert msgspec.json.decode(done.stdout, type=Report).coverage.complete
    os.truncate(store.train / "000000.bin", 2)
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"")
    report = msgspec.json.decode(done.stdout, type=Report)
    only_error(report, f"localhost:{store.train}/000000.bin", "2 bytes; 000000.json says")
