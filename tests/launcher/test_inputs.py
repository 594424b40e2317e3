"""Which files a dataset's name stands for when not all of it is Parquet, and how they become units."""

import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.catalog.files import files_catalog
from provision.catalog.inputs import Readable, readable
from provision.catalog.types import DatasetSpec, SourceFile
from provision.cli.dataset import dataset_spec
from provision.errors import CatalogError
from provision.plan.estimates import disk_needed
from provision.plan.units import units_of
from provision.prepare.prepare import list_dataset
from shard.records.inputs import Input, Kind, kind_of
from shard.records.job import Dataset, Holdout, TokenizerSpec, identity_of
from shard.records.unit import Unit
from tests.support.inputs import PER_LINE, arrow_stream, json_lines, tar_of
from tests.support.plans import MIB, dataset, plan_of


def chosen(paths: Sequence[str], form: Input | None = None, *, included: bool = False) -> Readable:
    return readable(sorted(paths), set(paths), form or Input(), included=included, where="d", chosen_by="")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.parquet", Kind("parquet")),
        ("d/a.jsonl", Kind("jsonl")),
        ("a.json", Kind("jsonl")),
        ("c4-train.00000-of-01024.json.gz", Kind("jsonl", "gzip")),
        ("a.jsonl.zst", Kind("jsonl", "zstd")),
        ("a.txt", Kind("text")),
        ("a.txt.gz", Kind("text", "gzip")),
        ("a.tgz", Kind("tar", "gzip")),
        ("a.tar.zst", Kind("tar", "zstd")),
        ("data-00000-of-00001.arrow", Kind("arrow")),
        ("a.parquet.gz", None),
        ("state.json", None),
        ("jsonl", None),
        ("a.jsonl/b", None),
        ("a.gz", None),
        ("a.md", None),
    ],
)
def test_kind_by_suffix(path: str, kind: Kind | None) -> None:
    """A file is read as its suffixes say; one that says nothing is not."""
    assert kind_of(path, Input()) == kind


def test_shards_within_a_dataset_are_no_data() -> None:
    """What a run has written into its own dataset leaves that as it was, so the run can go on; `plan` says so. Numbers
    alone, or the name of our record, make no shards."""
    shards = [f"out/{name}" for name in ("dataset.json", "000000.json", "000000.idx", "000000.bin")]
    found = chosen(["a.jsonl", "b/000000.json", "c/dataset.json", *shards])
    assert found.paths == ["a.jsonl", "b/000000.json", "c/dataset.json"]
    assert found.notes == ("not read, as they hold shards: out",)
    assert chosen(["a.jsonl", *shards], included=True).paths == ["a.jsonl"]


def test_where_there_is_parquet_only_that_is_read() -> None:
    """A repository that also has its data as JSON lines keeps the units it always had, and the rest is named."""
    found = chosen(["b.parquet", "a.parquet", "raw/a.jsonl", "raw/b.jsonl", "x.csv", "README.md", ".gitattributes"])
    assert found.paths == ["a.parquet", "b.parquet"]
    assert found.notes == (
        "not read: 2 .jsonl; choose them with --include, or with --input-format",
        "not read, of kinds that are not known: 1 .csv; --input-format says what they are",
    )


def test_mixed_suffixes() -> None:
    """Without Parquet, every file is read as its suffix says; hidden files and documentation are no data."""
    found = chosen(["a.txt", "b.tar", "c.jsonl", "LICENSE.txt", "readme.txt", ".x/d.txt", "e.bin"])
    assert found.paths == ["a.txt", "b.tar", "c.jsonl"]
    assert found.notes[0] == "read by suffix: 1 as jsonl, 1 as tar, 1 as text"
    assert "1 .bin" in found.notes[1]
    assert found.notes[2] == (
        "not read, as the name is that of documentation: LICENSE.txt, readme.txt; rename what is data"
    )
    assert chosen(["a.jsonl", "LICENSE.txt", "README.md"]).notes == ()


def test_forced_format() -> None:
    """--input-format takes what its suffix says; without such files those of unknown kind; and all of --include."""
    form = Input(format="jsonl")
    assert chosen(["a.parquet", "b.jsonl", "c.data"], form).paths == ["b.jsonl"]
    assert chosen(["a.parquet", "c.data", "d.data.gz"], form).paths == ["c.data", "d.data.gz"]
    assert chosen(["a.txt", "c.data"], form, included=True).paths == ["a.txt", "c.data"]
    assert chosen(["a.parquet", "b.jsonl"], form).form == Input()
    assert chosen(["c.data"], form).form == form
    assert chosen(["a.tar"], Input(format="tar")).form == Input(format="tar")


def test_folder_of_save_to_disk() -> None:
    """Caches beside saved data are no data; where nothing was saved, a name alone makes no cache."""
    saved = [f"train/{name}" for name in ("data-0.arrow", "cache-1.arrow", "state.json", "dataset_info.json")]
    assert chosen(saved).paths == ["train/data-0.arrow"]
    assert chosen(["cache-1.arrow"]).paths == ["cache-1.arrow"]


@pytest.mark.parametrize(
    ("paths", "form", "message"),
    [
        (["a.csv", "b.csv", "c.md"], Input(), "d: no file to be read; there are 2 .csv, 1 .md"),
        (["a.parquet"], Input(format="text"), "d: no file to be read as text; there are 1 .parquet"),
        ([], Input(), "d: no file"),
    ],
)
def test_nothing_to_read(paths: list[str], form: Input, message: str) -> None:
    """What there is instead is said; an option that would do nothing is refused."""
    with pytest.raises(CatalogError) as caught:
        chosen(paths, form)
    assert message in str(caught.value)


# A look into the first file


@pytest.mark.parametrize(
    ("name", "data", "form", "message"),
    [
        ("a.jsonl", json_lines(["x"], "body"), Input(), "no 'text' in its first lines; its names are id, body, url"),
        ("a.jsonl.gz", gzip.compress(json_lines([3, 4]), mtime=0), Input(), "'text' holds a int, not a string"),
        ("a.json", json.dumps([{"text": "x"}]).encode(), Input(), "not JSON lines"),
        ("a.json", json.dumps({"text": "x"}, indent=1).encode(), Input(), "not JSON lines"),
        ("a.jsonl", '{"text": "x"}'.encode("utf-16"), Input(), "UTF-16; convert it"),
        ("a.txt", "text".encode("utf-16"), Input(), "UTF-16; convert it"),
        ("a.txt", tar_of([("a.txt", b"text")]), Input(), "a tar archive; give it with --include"),
        ("a.tar", tar_of([("a.json", b"{}"), ("b.jpg", b"")]), Input(), "none of its first members is named *.txt"),
        ("a.arrow", arrow_stream(["x"]).replace(b"text", b"body"), Input(), "its columns are id, body"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_first_file_is_not_what_it_should_be(
    name: str, data: bytes, form: Input, message: str, scheme: str, tmp_path: Path
) -> None:
    """What no file of the dataset will hold is said before a host is asked, wherever the files lie."""
    root = f"{scheme}{tmp_path}"
    fs, base = fsspec.core.url_to_fs(root)
    fs.makedirs(base, exist_ok=True)
    fs.pipe_file(f"{base}/{name}", data)
    with pytest.raises(CatalogError) as caught:
        files_catalog(DatasetSpec(name=root, input=form))
    assert message in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.tar", "a.arrow"])
def test_damaged_first_file_is_the_workers_to_report(name: str, tmp_path: Path) -> None:
    """A file that cannot be read does not end the plan, as with Parquet."""
    (tmp_path / name).write_bytes(b"this is not what its name says" * 100)
    assert [file.path for file in files_catalog(DatasetSpec(name=str(tmp_path))).files] == [name]


# Units


def sources(*names: str, size: int = 10) -> list[SourceFile]:
    return [SourceFile(path=name, size=size, content_id=f"etag:{name}") for name in names]


def test_only_what_can_be_read_from_its_middle_is_cut() -> None:
    """Parquet and uncompressed lines are cut at --unit-size; other files are one unit, however large."""
    names = ["a.parquet", "b.jsonl", "c.jsonl.gz", "d.txt.gz", "e.tar", "f.arrow"]
    found = {unit.path: unit.parts for unit in units_of(sources(*names, size=100), 30)}
    assert found == {"a.parquet": 4, "b.jsonl": 4, "c.jsonl.gz": 1, "d.txt.gz": 1, "e.tar": 1, "f.arrow": 1}
    assert [unit.parts for unit in units_of(sources("a.txt", size=100), 30, PER_LINE)] == [4, 4, 4, 4]
    assert [unit.parts for unit in units_of(sources("a.txt", size=100), 30)] == [1]


@given(st.lists(st.integers(0, 40), max_size=40), st.integers(1, 60))
def test_small_files_share_units(sizes: list[int], unit_bytes: int) -> None:
    """Every file is in one unit, in order; no unit of several is too large, and none could take its neighbour in."""
    files = [SourceFile(path=f"{n:03d}.txt", size=size, content_id="etag:x") for n, size in enumerate(sizes)]
    units = units_of(files, unit_bytes)
    groups = [[m.path for m in unit.members] if isinstance(unit.members, tuple) else [unit.path] for unit in units]
    assert [path for group in groups for path in group] == [file.path for file in files]
    assert all(unit.size <= unit_bytes for unit, group in zip(units, groups, strict=True) if len(group) > 1)
    by_path = {file.path: file.size for file in files}
    for unit, following in zip(units, groups[1:], strict=False):
        assert unit.size + by_path[following[0]] > unit_bytes
    assert [unit.ordinal for unit in units] == list(range(len(units)))


def test_other_content_of_a_small_file_is_another_unit() -> None:
    """A unit of several files is known by all of them."""
    one, other = sources("a.txt", "b.txt"), [*sources("a.txt"), SourceFile(path="b.txt", size=10, content_id="etag:y")]
    assert units_of(one, 100)[0].content_id != units_of(other, 100)[0].content_id


def test_at_most_so_many_files_in_a_unit() -> None:
    """A million small files are neither a million shards nor one."""
    units = units_of([SourceFile(path=f"{n:06d}.txt", size=1, content_id="etag:x") for n in range(10_000)], MIB)
    assert [len(unit.members) for unit in units if isinstance(unit.members, tuple)] == [4096, 4096, 1808]


def test_fingerprint_of_a_parquet_dataset_stays_what_it_was() -> None:
    """Shards that were made before other inputs were read are still those of the same dataset and options."""
    units = [
        Unit(ordinal=n, path=f"data/train-{n // 2:05d}.parquet", size=1000 + n // 2, content_id=f"etag:{n // 2}",
             part=n % 2, parts=2)
        for n in range(4)
    ]  # fmt: skip
    plain = Dataset(kind="files", name="/d", root="/d", revision="0" * 40, text_column="text")
    spec = TokenizerSpec(name="gpt2", kind="tiktoken", vocab_size=50257, eod_id=50256, sha256="0" * 64, file="f")
    expected = "779a32112a69a0d82c88a3ed56ec106f63c2c7e712f1b4b526955101dd501f01"
    assert identity_of(plain, spec, Holdout(), units).fingerprint == expected
    files = [SourceFile(path=f"data/train-{n:05d}.parquet", size=1000 + n, content_id=f"etag:{n}") for n in range(2)]
    assert units_of(files, 501) == tuple(units)


def test_disk_by_kind_of_file() -> None:
    """A byte of plain text gives fewer tokens than one of Parquet, one of a compressed file more."""

    def need(name: str) -> int:
        return disk_needed(plan_of(files=sources(name, size=MIB)), 10**9)

    assert need("a.jsonl") < need("a.parquet") < need("a.jsonl.zst")


def test_plans_carry_how_files_are_read() -> None:
    """What was asked for reaches the hosts' jobs."""
    plan = plan_of(files=sources("a.data"), dataset=dataset(input=Input(format="jsonl")))
    assert plan.dataset.input.format == "jsonl"
    assert plan.identity.input == Input(format="jsonl")


# Several datasets in one run


def place(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.jsonl").write_bytes(json_lines(["web one", "web two"]))
    (tmp_path / "books").mkdir()
    for number in range(3):
        (tmp_path / "books" / f"a{number}.txt").write_text(f"book {number}\n\n")


def spec_of(*datasets: str, **fields: Any) -> DatasetSpec:
    given: dict[str, Any] = {"revision": None, "config": None, "split": None, "include": (), "text_column": "text"}
    given |= {"input_format": None, "document_per_line": False, "drop_empty_lines": False}
    return dataset_spec(datasets=datasets, **(given | fields))


def test_several_datasets(tmp_path: Path) -> None:
    """Each is listed by itself, in the order given, its files below its name; small files of two share no unit."""
    place(tmp_path)
    catalog = list_dataset(spec_of(f"web={tmp_path}/web", f"books={tmp_path}/books", f"more={tmp_path}/books"))
    paths = ["web/a.jsonl", *(f"{name}/a{number}.txt" for name in ("books", "more") for number in range(3))]
    assert [file.path for file in catalog.files] == paths
    units = units_of(catalog.files, MIB, catalog.dataset.input, named=True)
    assert [unit.path for unit in units] == ["web/a.jsonl", "books/a0.txt", "more/a0.txt"]
    single, path = catalog.dataset.holding("books/a1.txt")
    assert (single.root, path) == (str(tmp_path / "books"), "a1.txt")


def test_options_of_text_beside_other_datasets(tmp_path: Path) -> None:
    """--drop-empty-lines concerns those datasets that are text; where none is, it is refused."""
    place(tmp_path)
    books, web = f"books={tmp_path}/books", f"web={tmp_path}/web"
    assert list_dataset(spec_of(web, books, drop_empty_lines=True)).dataset.input == Input(drop_empty_lines=True)
    assert list_dataset(spec_of(web, books)).dataset.input == Input()
    for datasets in ((web,), (f"{tmp_path}/web",), (web, f"again={tmp_path}/web")):
        with pytest.raises(CatalogError, match="--document-per-line is for plain text, and there is none"):
            list_dataset(spec_of(*datasets, document_per_line=True))


def test_notes_and_errors_name_the_dataset(tmp_path: Path) -> None:
    """What is said of one of several names it."""
    place(tmp_path)
    (tmp_path / "web" / "x.csv").touch()
    books, web = f"books={tmp_path}/books", f"web={tmp_path}/web"
    assert [note.partition(":")[0] for note in list_dataset(spec_of(books, web)).notes] == ["web"]
    with pytest.raises(CatalogError, match=f"{tmp_path}/web/a.jsonl: no 'body'"):
        list_dataset(spec_of(books, web, text_column="body"))


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        (("a=x", "y"), "--dataset y: one of several needs a name: --dataset web=y"),
        (("a=x", "a=y"), "--dataset a=…: two datasets have this name"),
        (("a=x", "../b=y"), "--dataset ../b=y: one of several needs a name"),
        (("a=x", "b="), "--dataset b=: one of several needs a name"),
        (("a=x", "b=s3://user:secret@host/y"), "credentials in a URL"),
    ],
)
def test_several_datasets_that_cannot_be_meant(datasets: tuple[str, ...], message: str) -> None:
    """Names are needed, are names, and differ; a secret in one of them is not repeated."""
    with pytest.raises(CatalogError) as caught:
        spec_of(*datasets)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_directory_with_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single directory that is called like `year=2024` is that directory."""
    (tmp_path / "year=2024").mkdir()
    monkeypatch.chdir(tmp_path)
    assert spec_of("year=2024").named == ()
    assert spec_of("year=2025").named == (("year", "2025"),)
    assert spec_of("./year=2025").named == ()


def test_links(tmp_path: Path) -> None:
    """Links to files are files; those to directories are not followed, and named."""
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "b.txt").write_text("b")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "far").symlink_to(tmp_path / "far")
    with pytest.raises(CatalogError, match=r"no file; links to directories are not followed \(far\)"):
        files_catalog(DatasetSpec(name=f"{tmp_path}/in"))
    (tmp_path / "in" / "b.txt").symlink_to(tmp_path / "far" / "b.txt")
    catalog = files_catalog(DatasetSpec(name=f"{tmp_path}/in"))
    assert [(file.path, file.size) for file in catalog.files] == [("b.txt", 1)]
    assert catalog.notes == ("links to directories are not followed (far); give the directories themselves",)


@pytest.mark.parametrize("kind", ["pipe", "link that leads nowhere", "link to itself"])
def test_files_that_are_none(kind: str, tmp_path: Path) -> None:
    """What is no file is refused by name at once: who opens a pipe would wait for ever."""
    (tmp_path / "a.txt").write_text("a")
    if kind == "pipe":
        os.mkfifo(tmp_path / "b.txt")
    else:
        (tmp_path / "b.txt").symlink_to(tmp_path / ("b.txt" if "itself" in kind else "nowhere"))
    with pytest.raises(CatalogError, match=r"/b\.txt: a pipe, .*or a link that leads to no file; remove it, or"):
        files_catalog(DatasetSpec(name=str(tmp_path)))
