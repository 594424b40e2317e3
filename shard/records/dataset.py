"""Where source files come from, pinned; as a frozen record."""

import re
from typing import Literal

from shard.errors import JobError
from shard.records.frozen import Record, require
from shard.records.inputs import BY_SUFFIX, Input

_REPOSITORY = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_ENDPOINT = re.compile(r"https?://[^\s/@?#]+(/[^\s@?#]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
DATASET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
"""Of one among several."""


class Dataset(Record, frozen=True, kw_only=True):
    """Where source files come from, pinned."""

    kind: Literal["hub", "files", "named"]
    """`named` is several of the others in one run."""
    name: str
    """`owner/name` on the Hub, else the directory or URL as the user gave it."""
    root: str
    """What unit paths are relative to: the repository id, or a directory or fsspec URL; empty for several."""
    revision: str
    """Commit sha on the Hub; for files, a digest of the listing."""
    text_column: str
    endpoint: str | None = None
    """Hub endpoint; None for files."""
    input: Input = BY_SUFFIX
    """Of all files, of all named datasets."""
    named: tuple[tuple[str, "Dataset"], ...] = ()
    """Of several: each with its name, with which the paths of its units begin."""

    @property
    def on_hub(self) -> tuple["Dataset", ...]:
        """Those of the Hub among what it is made of."""
        single = (self,) if self.kind != "named" else (dataset for _, dataset in self.named)
        return tuple(dataset for dataset in single if dataset.kind == "hub")

    def holding(self, path: str) -> tuple["Dataset", str]:
        """The dataset that a unit's file lies in, and its path there. Raises JobError."""
        if self.kind != "named":
            return self, path
        name, _, rest = path.partition("/")
        for own, dataset in self.named:
            if own == name:
                return dataset, rest
        raise JobError(f"{path}: no dataset is named {name!r}")


def require_dataset(dataset: Dataset) -> None:
    """Raise JobError when it cannot be one."""
    if dataset.kind == "named":
        names = [name for name, _ in dataset.named]
        require(len(set(names)) == len(names) > 0, f"datasets named {', '.join(names) or 'nothing'}")
        for name, single in dataset.named:
            require(bool(DATASET_NAME.fullmatch(name)), f"{name!r} is no name of a dataset")
            require(single.kind != "named", f"dataset {name!r} is made of others")
            require_dataset(single)
        return
    if dataset.kind == "files":
        whole = dataset.root.startswith("/") or "://" in dataset.root
        require(whole, f"dataset root {dataset.root!r} is neither a whole path nor a URL")
        return
    require(bool(_REPOSITORY.fullmatch(dataset.root)), f"dataset root {dataset.root!r} is no repository of the Hub")
    require(bool(_COMMIT.fullmatch(dataset.revision)), f"dataset revision {dataset.revision!r} is no commit")
    require(
        dataset.endpoint is None or bool(_ENDPOINT.fullmatch(dataset.endpoint)),
        f"Hub endpoint {dataset.endpoint!r} is no http address, or holds more than an address",
    )
