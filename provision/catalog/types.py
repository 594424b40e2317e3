"""Dataset spec → pinned list of source files. The only listing of a run: hosts list nothing."""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from provision.errors import CatalogError
from shard.records.frozen import is_text, stays_below
from shard.records.inputs import BY_SUFFIX, Input
from shard.records.job import Dataset

_LARGEST_FILE = 1 << 46
"""64 TiB: beyond what any store keeps in one file, and still few enough units."""

# What git refuses in a name, and a leading '-'.
_REVISION = re.compile(r"(?!-)(?!.*\.\.)[^\x00-\x20\x7f~^:?*\[\\]+", re.DOTALL)

_CREDENTIALS = re.compile(r"://[^/@:\[]*:(?!\d*(?:/|$)).*@", re.DOTALL)
"""`user:secret@` behind a scheme, also with a slash in the secret; but neither `user@` nor a host's port."""


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """What the user asked for. Raises CatalogError when it cannot be meant, or holds credentials."""

    name: str
    """`owner/name` on the Hub, a directory, or an fsspec URL."""
    text_column: str = "text"
    revision: str | None = None
    config: str | None = None
    include: tuple[str, ...] = ()
    """Globs on the path; a file is taken when one of them matches, or none is given."""
    input: Input = BY_SUFFIX
    named: tuple[tuple[str, str], ...] = ()
    """Several datasets, each with its name and what `name` would be for it alone."""
    split: str | None = None
    """By the card where it names splits, else by words of paths; None for the card's train, or all files."""

    def __post_init__(self) -> None:
        names = (self.name, *(part for pair in self.named for part in pair))
        given = {"--dataset": names, "--text-column": (self.text_column,), "--include": self.include}
        given |= {
            "--revision": (self.revision or "",),
            "--config": (self.config or "",),
            "--split": (self.split or "",),
        }
        for option, values in given.items():
            for value in values:
                if not is_text(value):
                    raise CatalogError(f"{option} {value!r}: holds bytes that are not UTF-8")
        for name in names:
            _refuse_credentials(name)
        if self.revision is not None and not _REVISION.fullmatch(self.revision):
            raise CatalogError(f"--revision {self.revision!r}: no name of a branch, tag or commit")


def _refuse_credentials(name: str) -> None:
    """Raise CatalogError, without the secret, when a link of an fsspec URL has credentials in its authority."""
    links = name.split("::")
    shown = [_CREDENTIALS.sub("://", link) for link in links]
    if shown != links:
        raise CatalogError(
            f"{'::'.join(shown)}: credentials in a URL would be written into plan, script and shards; configure the "
            "driver instead (environment variables, its own configuration file)"
        )


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One input file, pinned. Raises CatalogError when no honest dataset lists such a file."""

    path: str
    size: int
    content_id: str

    def __post_init__(self) -> None:
        if not is_text(self.path):
            raise CatalogError(
                f"{self.path!r}: a file name that is not UTF-8; rename it, or leave it out with --include"
            )
        if not self.path or not stays_below(self.path):
            raise CatalogError(f"{self.path!r}: a file name that leads out of the dataset; leave it out with --include")
        if not 0 <= self.size <= _LARGEST_FILE:
            raise CatalogError(f"{self.path!r}: listed with {self.size} bytes; leave it out with --include")
        if not is_text(self.content_id):
            raise CatalogError(f"{self.path!r}: listed with a digest that is none; leave it out with --include")


@dataclass(frozen=True, slots=True)
class Catalog:
    """All input files of a dataset, in dataset order (by path)."""

    dataset: Dataset
    files: tuple[SourceFile, ...]
    notes: tuple[str, ...] = ()
    """What the user should know of how the files were chosen."""
    locations: dict[str, str] = field(default_factory=dict)
    """Signed locations that were resolved on the way, by path: worth a resolve each, and worth keeping secret."""


def choose(paths: Sequence[str], globs: Sequence[str]) -> list[str]:
    """The paths that match one of the globs (`**` crosses directories), in order; all of them when there is no glob.

    In time that grows with path and glob alone: globs come from dataset cards, too. Raises CatalogError when `**` is
    only a part of a name.
    """
    patterns = [_pattern(glob) for glob in globs]
    split = {path: path.split("/") for path in paths}
    return [path for path in sorted(paths) if not patterns or any(_matches(p, split[path]) for p in patterns)]


def _pattern(glob: str) -> list[re.Pattern[str] | None]:
    """What each name of a path is to match; None stands for any number of names."""
    pattern: list[re.Pattern[str] | None] = []
    for name in glob.removeprefix("./").split("/"):
        if name != "**" and "**" in name:
            raise CatalogError(f"{glob!r}: '**' stands for whole directories; write 'data/**/*.parquet'")
        pattern.append(None if name == "**" else re.compile(fnmatch.translate(name)))
    if pattern[-1] is None:
        pattern.append(re.compile("."))  # a file below
    return pattern


def _matches(pattern: Sequence[re.Pattern[str] | None], names: Sequence[str]) -> bool:
    reached = {0}  # how many names are matched by what has been seen of the pattern
    for part in pattern:
        if not reached:
            return False
        if part is None:
            reached = set(range(min(reached), len(names)))
        else:
            reached = {number + 1 for number in reached if number < len(names) and part.match(names[number])}
    return len(names) in reached
