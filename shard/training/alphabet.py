"""The characters that a SentencePiece-style vocabulary holds: the most frequent ones; all others go by their bytes."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from shard.training.recipe import SPACE

COVERAGE = 0.9995
"""Share of all characters of the text that the alphabet makes up, as in SentencePiece itself."""

_CODE_POINTS = 0x110000


@dataclass(frozen=True, slots=True)
class Alphabet:
    """See above."""

    characters: tuple[str, ...]
    """Of normalised text, in order of code points."""
    others: re.Pattern[str]
    """Runs of characters, before they are normalised, that become none of these."""


def alphabet_of(texts: Iterable[list[str]], normalize: Callable[[str], str]) -> Alphabet:
    """The most frequent characters of the texts; of equals the lower code point.

    Characters are normalised one by one: what only a sequence is normalised to is not counted.
    """
    # [code points] int64
    counts = np.zeros(_CODE_POINTS, dtype=np.int64)
    for batch in texts:
        points = np.frombuffer("".join(batch).encode("utf-32-le"), dtype=np.uint32)
        counts += np.bincount(points, minlength=_CODE_POINTS)
    normalized = {chr(point): normalize(chr(point)) for point in np.flatnonzero(counts).tolist()}
    found: Counter[str] = Counter()
    for raw, characters in normalized.items():
        found.update(dict.fromkeys(characters, int(counts[ord(raw)])))
    # SentencePiece reads no piece with NUL in it.
    del found[SPACE], found[" "], found["\0"]
    left = COVERAGE * found.total()
    kept = {SPACE}
    for character, count in sorted(found.items(), key=lambda item: (-item[1], item[0])):
        if left <= 0:
            break
        kept.add(character)
        left -= count
    taken = [raw for raw, characters in normalized.items() if kept.issuperset(characters.replace(" ", SPACE))]
    others = re.compile(f"[^{re.escape(''.join(taken))}]+")
    return Alphabet(tuple(sorted(kept)), others)
