"""Which of several datasets a source file is of (pure)."""

import re
from collections.abc import Iterable, Iterator, Sequence

from shard.errors import JobError
from shard.records.shards import SourceFacts

_OF_APPENDED = re.compile(r"(?:[0-9a-f]{12}/)+")
"""Before the paths of what was appended, in what dedup has left of it, as often as it has done so: see path_after."""


def sources_of(paths: Iterable[str], facts: SourceFacts, *, appended: bool, needed: bool) -> list[str]:
    """Of each path that; all empty where names are not needed.

    Raises JobError where they are, and the directories were appended to without them: whether what came then is of the
    same dataset is written nowhere.
    """
    if not needed:
        return ["" for _ in paths]
    found = [(path, source_of(path, facts)) for path in paths]
    unknown = [path for path, source in found if not source and (appended or _OF_APPENDED.match(path))]
    if unknown:
        raise JobError(
            f"--scope source: {unknown[0]}, and {len(unknown) - 1} more units, are of no named dataset, and more was "
            "appended to these directories, of the same one or of another; take --scope global"
        )
    return [source for _, source in found]


def source_of(path: str, facts: SourceFacts) -> str:
    """What the path begins with: the name of a named dataset of one run, or of a directory that was joined with others,
    and within that of what it was made of. Empty where there was but one."""
    if (before := _OF_APPENDED.match(path)) is not None:
        path = path[before.end() :]
    pinned = [part.partition("=") for part in facts.revision.split(" ")]
    if all(equals for _, equals, _ in pinned):
        return _longest(path, (name for name, _, _ in pinned))
    return _of_joined(path, facts.dataset.split(" + "))


def _of_joined(path: str, datasets: Sequence[str]) -> str:
    """Of datasets that were joined in this order; some of them before the others, it may be."""
    if len(datasets) == 1:
        # A run of several named datasets is called `web=owner/fine books=./books`.
        return _longest(path, (word.partition("=")[0] for word in datasets[0].split(" ") if "=" in word))
    found, made_of = max(_neighbours(path, datasets), key=lambda pair: len(pair[0]))
    within = _of_joined(path[len(found) + 1 :], made_of) if found else ""
    return f"{found}/{within}" if within else found


def _neighbours(path: str, datasets: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """(what the path begins with, the datasets of that name): one of them, or neighbours that were joined before."""
    for first in range(len(datasets)):
        for end in range(first + 1, len(datasets) + (first > 0)):
            name = " + ".join(datasets[first:end])
            yield _begins(path, name), datasets[first:end]
            if not path.startswith(name):
                break


def _longest(path: str, names: Iterable[str]) -> str:
    return max((_begins(path, name) for name in names), key=len, default="")


def _begins(path: str, name: str) -> str:
    """The name, with the revision that tells it from another of that name, if the path begins so."""
    name = name.rstrip("/")
    if path.startswith(f"{name}/"):
        return name
    if path.startswith(f"{name}@"):
        revision = path[len(name) + 1 :].partition("/")[0]
        return f"{name}@{revision}"
    return ""
