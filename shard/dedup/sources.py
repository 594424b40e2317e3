"""Which of several datasets a source file is of (pure)."""

from shard.records.shards import SourceFacts


def source_of(path: str, facts: SourceFacts) -> str:
    """The name with which the path begins: that of a named dataset of one run, or of a directory that was joined with
    others. Empty where there was but one."""
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
