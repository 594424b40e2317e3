"""Documents with planted copies, and their true similarity by brute force."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORDS = 300


@dataclass(frozen=True)
class Planted:
    """Documents in a shuffled order, and which of them were made from which."""

    documents: list[str]
    exact: list[tuple[int, int]]
    """(original, copy) by position in `documents`; in copies white space and case differ."""
    near: list[tuple[int, int]]
    """One to four words are others: 5-grams shared at about 0.88 to 0.97."""
    mild: list[tuple[int, int]]
    """Eight to twenty words are others: about 0.4 to 0.8."""


def planted(texts: Sequence[str], each: int, seed: int = 7) -> Planted:
    """The first 300 words of every text, and `each` copies of three kinds, every one of another text."""
    draw = random.Random(seed)
    originals = [text.split()[:_WORDS] for text in texts]
    long = [number for number, words in enumerate(originals) if len(words) == _WORDS]
    chosen = draw.sample(long, 3 * each)
    documents = [" ".join(words) for words in originals]
    made: list[list[tuple[int, int]]] = []
    for kind, (least, most) in enumerate(((0, 0), (1, 4), (8, 20))):
        made.append([])
        for original in chosen[kind * each : (kind + 1) * each]:
            words = list(originals[original])
            for place in draw.sample(range(_WORDS), draw.randint(least, most)):
                words[place] = f"planted{draw.randrange(1 << 40)}"
            made[-1].append((original, len(documents)))
            documents.append(_shouted("  \n".join(words)) if kind == 0 and original % 2 else " ".join(words) + "\n")
    order = list(range(len(documents)))
    draw.shuffle(order)
    place_of = {number: place for place, number in enumerate(order)}
    exact, near, mild = ([(place_of[a], place_of[b]) for a, b in some] for some in made)
    return Planted([documents[number] for number in order], exact, near, mild)


def _shouted(text: str) -> str:
    return re.sub("[a-z]", lambda found: found[0].upper(), text)


def jaccard(one: str, other: str, ngram: int = 5) -> float:
    """True similarity of two texts as sets of word n-grams, case of A to Z and white space left out."""
    first, second = _grams(one, ngram), _grams(other, ngram)
    return len(first & second) / max(1, len(first | second))


def _grams(text: str, ngram: int) -> set[tuple[str, ...]]:
    lowered = re.sub("[A-Z]", lambda found: found[0].lower(), text)
    words = [word for word in re.split("[\x00-\x20]+", lowered) if word]
    return {tuple(words[start : start + ngram]) for start in range(len(words) - ngram + 1)}
