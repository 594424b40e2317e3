"""--split: which files it takes, by a card or by their paths. Cards on a Hub are in test_catalog."""

from pathlib import Path

import pytest

from provision.catalog.files import files_catalog
from provision.catalog.split import of_split, split_notes, split_of
from provision.catalog.types import DatasetSpec
from provision.errors import CatalogError
from tests.support.seeds import call


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("train/a.parquet", "train"),
        ("en/Training_set.jsonl", "train"),
        ("data/validation-00000-of-00001.parquet", "validation"),
        ("dev.jsonl", "validation"),
        ("train/valid.jsonl", "validation"),
        ("eval/0.txt", "test"),
        ("restrained/latest.parquet", None),
        ("data/0.parquet", None),
    ],
)
def test_split_by_words(path: str, expected: str | None) -> None:
    """Whole words of a path say its split, the last one of them; parts of words do not."""
    assert split_of(path) == expected


PATHS = [
    *(
        "data/pretrain-00000-of-00002.parquet",
        "data/pretrain-00001-of-00002.parquet",
        "data/test-00000-of-00001.parquet",
    ),
    *("data/train-00000-of-00001.parquet", "other/a.parquet", "sft/a.parquet", "train.parquet"),
]


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", ["data/train-00000-of-00001.parquet", "train.parquet"]),
        ("test", ["data/test-00000-of-00001.parquet"]),
        ("pretrain", ["data/pretrain-00000-of-00002.parquet", "data/pretrain-00001-of-00002.parquet"]),
        ("sft", ["sft/a.parquet"]),
    ],
)
def test_files_of_a_split(split: str, expected: list[str]) -> None:
    """A usual split by its words; another one by the names of shards, files and folders."""
    assert of_split(PATHS, split, where="x") == expected


def test_no_such_split() -> None:
    """The splits that there are are named."""
    with pytest.raises(CatalogError, match="x: no file of the split 'validation'; there are test, train"):
        of_split(PATHS, "validation", where="x")
    with pytest.raises(CatalogError, match="no file of the split 'test'; all is train; choose files with --include"):
        of_split(["a.txt"], "test", where="x")


def test_without_splits_all_is_train() -> None:
    """Paths that say nothing of splits are train, as for `datasets`; once one is named, the others are not."""
    assert of_split(["a.txt", "b/c.txt"], "train", where="x") == ["a.txt", "b/c.txt"]
    with pytest.raises(CatalogError, match="there are test"):
        of_split(["a.txt", "test.txt"], "train", where="x")


def test_several_splits_are_told() -> None:
    """Files of train beside those of other splits are read all the same, and the user is told how to leave them out."""
    (note,) = split_notes(PATHS)
    assert "2 of train, 1 of test; --split train takes those alone" in note
    assert split_notes(["train.txt", "other.txt"]) == ()
    assert split_notes(["test.txt", "dev.txt"]) == ()


def test_a_split_of_a_directory(tmp_path: Path) -> None:
    """Of files anywhere, as of several datasets at once."""
    for dataset in ("one", "two"):
        for split in ("train", "test"):
            (tmp_path / dataset / split).mkdir(parents=True)
            (tmp_path / dataset / split / "a.txt").write_text(f"{dataset} {split}")
    catalog = files_catalog(DatasetSpec(name=str(tmp_path / "one")))
    assert [file.path for file in catalog.files] == ["test/a.txt", "train/a.txt"]
    assert "--split train" in catalog.notes[0]
    named = [f"{name}={tmp_path / name}" for name in ("one", "two")]
    given = [word for name in named for word in ("--dataset", name)]
    call("text", *given, "--split", "train", "--to", tmp_path / "train.txt")
    assert (tmp_path / "train.txt").read_text() == "one train\ntwo train\n"
