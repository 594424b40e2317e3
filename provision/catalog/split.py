"""Which files are of a split where no card says so: by words of their paths, as `datasets` has it (pure).

Source: https://huggingface.co/docs/datasets/repository_structure
"""

import re
from collections import Counter
from collections.abc import Sequence

from provision.errors import CatalogError

_WORDS = re.compile(r"[^A-Za-z]+")
_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Split → the words that say so in a path."""


def of_split(paths: Sequence[str], split: str, *, where: str) -> list[str]:
    """The files of a split; its name may be one that is not usual: `data/pretrain-00000-of-00002.parquet`.

    Where no path says anything of splits, all is train. Raises CatalogError when there is no file of the split, with
    the splits that there are.
    """
    taken = [path for path in paths if _is_of(path, split)]
    named = {name for path in paths if (name := split_of(path)) is not None}
    if not taken and split == "train" and not named:
        return list(paths)
    if not taken:
        have = f"there are {', '.join(sorted(named))}" if named else "all is train; choose files with --include"
        raise CatalogError(f"{where}: no file of the split {split!r}; {have}")
    return taken


def split_of(path: str) -> str | None:
    """The usual split whose word stands last in a path; None where it says nothing of splits."""
    words = [word.lower() for word in _WORDS.split(path)]
    return next((name for word in reversed(words) for name, known in _NAMES.items() if word in known), None)


def split_notes(paths: Sequence[str]) -> tuple[str, ...]:
    """What to say where the files are those of several splits: all of them would be trained on."""
    counts = Counter(split_of(path) for path in paths)
    named = [name for name in _NAMES if counts[name]]
    if "train" not in named or len(named) < 2:
        return ()
    shown = ", ".join(f"{counts[name]} of {name}" for name in named)
    return (f"files of several splits, which are all read: {shown}; --split train takes those alone",)


def _is_of(path: str, split: str) -> bool:
    name = path.rpartition("/")[2]
    own = re.match(rf"{re.escape(split)}(-\d{{5}}-of-\d{{5}}\b|\.)", name) is not None or f"/{split}/" in f"/{path}"
    return own or (split in _NAMES and split_of(path) == split)
