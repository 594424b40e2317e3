"""Parts of a directory by document, such as `949,50,1` (pure)."""

from fractions import Fraction
from itertools import accumulate

from shard.errors import LoaderError

NAMES = ("train", "valid", "test")


def split_range(split: str, documents: int) -> tuple[int, int]:
    """[start, end) of the documents in a part such as `949,50,1:valid`, of this many.

    Documents stay in dataset order; part k ends after its share of all documents and of those before it, rounded down,
    so that parts cover everything once. Raises LoaderError.
    """
    weights_text, colon, name = split.partition(":")
    try:
        weights = [Fraction(word) for word in weights_text.split(",")]
    except (ValueError, ZeroDivisionError) as error:
        raise LoaderError(f"split {split!r}: not weights such as '949,50,1:train'") from error
    if min(weights) < 0 or sum(weights) == 0:
        raise LoaderError(f"split {split!r}: weights are not negative, and one is positive")
    if not colon:
        raise LoaderError(f"split {split!r}: which part? Append ':train', ':valid', ':test', or its number from ':0'")
    number = NAMES.index(name) if name in NAMES else int(name) if name.isdecimal() else len(weights)
    if number >= len(weights):
        raise LoaderError(f"split {split!r}: no part {name!r} among {len(weights)}")
    ends = [int(documents * part / sum(weights)) for part in accumulate(weights)]
    return (ends[number - 1] if number else 0), ends[number]
