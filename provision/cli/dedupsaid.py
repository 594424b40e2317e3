"""What dedup says before it writes anything."""

from math import floor
from pathlib import Path

from provision.errors import TooManyDuplicatesError
from shard.dedup.parts import Duplicates
from shard.records.dedup import Settings

_SIMILARITIES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def curve(settings: Settings) -> str:
    """How likely two documents of some similarity are found."""
    lines = [
        f"{settings.bands} bands of {settings.rows} rows, {settings.scheme.num_perm} permutations, threshold "
        f"{settings.threshold}: of two documents that have a share J of their {settings.scheme.ngram}-grams in common",
        "     J   compared   alike if compared",
    ]
    lines += [f"  {one:.2f}   {settings.compared(one):8.4f}   {settings.passed(one):8.4f}" for one in _SIMILARITIES]
    return "\n".join(lines)


def estimate(duplicates: Duplicates, settings: Settings, lists: Path) -> str:
    """What would be removed."""
    near = len(duplicates.removed) - duplicates.exact
    said = f"{duplicates.exact:,} equal to an earlier one"
    if settings.scheme.kind == "minhash":
        said += f", {near:,} nearly so ({duplicates.compared:,} pairs compared)"
    return (
        f"{len(duplicates.removed):,} of {duplicates.documents:,} documents would go, {duplicates.share:.2%}: {said}; "
        f"lists in {lists}"
    )


def require_few(duplicates: Duplicates, max_removed: float, lists: Path) -> None:
    """Raise TooManyDuplicatesError where more would go than was allowed."""
    if duplicates.share > max_removed:
        # Rounded to what nobody writes: 0.29 * 100 is a hair below 29.
        allowed = floor(round(max_removed * duplicates.documents, 6))
        raise TooManyDuplicatesError(
            f"{duplicates.share:.2%} of the documents would go, which is more than --max-removed {max_removed:.2%}: "
            f"{len(duplicates.removed):,} of {duplicates.documents:,}, not {allowed:,}; look at some in {lists}, "
            "then give a higher one"
        )
