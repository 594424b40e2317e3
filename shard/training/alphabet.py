"""The characters that a SentencePiece-style vocabulary holds: the most frequent ones; all others go by their bytes."""

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from shard.training.recipe import SPACE

COVERAGE = 0.9995
"""Share of all characters of the text that the alphabet makes up, as in SentencePiece itself."""

_CODE_POINTS = 0x110000


def alphabet_of(texts: Iterable[list[str]], normalize: Callable[[str], str]) -> list[str]:
    """The most frequent characters of the normalised texts, in order of code points; equals go by code point.

    Characters are normalised one by one: what only a sequence is normalised to is not counted.
    """
    # [code points] int64
    counts = np.zeros(_CODE_POINTS, dtype=np.int64)
    for batch in texts:
        points = np.frombuffer("".join(batch).encode("utf-32-le"), dtype=np.uint32)
        counts += np.bincount(points, minlength=_CODE_POINTS)
    found: Counter[str] = Counter()
    for point in np.flatnonzero(counts).tolist():
        for character in normalize(chr(point)):
            found[character] += int(counts[point])
    del found[SPACE], found[" "]
    left = COVERAGE * found.total()
    kept = [SPACE]
    for character, count in sorted(found.items(), key=lambda item: (-item[1], item[0])):
        if left <= 0:
            break
        kept.append(character)
        left -= count
    return sorted(kept)
