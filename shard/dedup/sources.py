"""Which of several datasets a source file is of (pure)."""

import re
from collections.abc import Iterable

from shard.errors import JobError
from shard.records.shards import SourceFacts

_OF_APPENDED = re.compile(r"[0-9a-f]{12}/")
"""Before the paths of what was appended, in what dedup has left of it: see path_after."""


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
    """The name with which the path begins: that of a named dataset of one run, or of a directory that was joined with
    others. Empty where there was but one."""
    if (before := _OF_APPENDED.match(path)) is not None:
        path = path[before.end() :]
    return max((found for name in _names(facts) if (found := _begins(path, name))), key=len, default="")


def _names(facts: SourceFacts) -> list[str]:
    pinned = [part.partition("=") for part in facts.revision.split(" ")]
    if all(equals for _, equals, _ in pinned):
        return [name for name, _, _ in pinned]
    joined = facts.dataset.split(" + ")
    return joined if len(joined) > 1 else []


def _begins(path: str, name: str) -> str:
    """The name, with the revision that tells it from another of that name, if the path begins so."""
    name = name.rstrip("/")
    if path.startswith(f"{name}/"):
        return name
    if path.startswith(f"{name}@"):
        revision = path[len(name) + 1 :].partition("/")[0]
        return f"{name}@{revision}"
    return ""
