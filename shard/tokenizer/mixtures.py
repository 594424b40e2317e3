"""Texts put together at random, the same every time, from what engines take differently (pure).

What an engine gets wrong is often a pair: an added token beside another or at an end, a mark before an apostrophe, a
space of an odd kind before a letter. No list of strings has them all.
"""

import random
from collections.abc import Sequence

_COUNT = 1000
_PARTS_MOST = 14
_ADDED_SHARES = (0.1, 0.6)

# fmt: off
_PARTS = (
    "the", "The", " the", "the end", "ab", "a", "x" * 40, "don't", "'s", "'S", "’s", "http://x.y/z",
    " ", "  ", "\n", "\n\n", "\r\n", "\t", "\x0b", "\x1c", "\x85", "\u00a0", "\u2028", "\u3000", "\u180e",
    "123", "1234567", "１２", "²", "Ⅷ", "...", "!", "=", "==", "/", "\\", "{", "}", '"', "#", "_", "##",
    "é", "e\u0301", "\u0300", "\u0345", "İ", "ß", "ẞ", "ſ", "ς", "ΑΣ", "ǅ", "ʼn", "ﬁ", "\u212b", "\u00ad", "\u200d",
    "\u1100\u1161", "한국", "日本", "ไทย", "\u0e33", "\uff9e", "א", "ع", "👍🏽",
    "\x00", "\ufeff", "\ufffc", "\ufdd0", "\ue000", "\U0010ffff",
    "▁", "▁▁", "<s>", "</s>", "<unk>", "<0x41>", "</w>",
)
# fmt: on


def mixtures(added: Sequence[str]) -> list[str]:
    """A thousand texts, with the tokens `added` in them, where there are any."""
    dice = random.Random(0)  # noqa: S311  nothing that is to be kept from anybody

    def mixture() -> str:
        share = dice.choice(_ADDED_SHARES) if added else 0.0
        parts = (added if dice.random() < share else _PARTS for _ in range(dice.randint(1, _PARTS_MOST)))
        return "".join(map(dice.choice, parts))

    return [mixture() for _ in range(_COUNT)]
