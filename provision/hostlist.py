"""Host name ranges in pdsh's notation: `n[01-12]`, `n[1-2]r[3-4]`, `gpu[3-6,9].lan`."""

import itertools
import re

MAX_NAMES = 10_000
"""Names one pattern may stand for. More is a slip of the finger, and would take the memory of the launcher."""

_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


def expand(pattern: str) -> tuple[str, ...]:
    """All names a pattern stands for, the rightmost group running fastest, as pdsh orders them.

    A first number with leading zeros sets the width: `n[08-10]` is n08, n09, n10. Text without brackets is
    returned as it is; it is not checked to be a host name.

    Raises ValueError, with a message that ends in what to write, for brackets that do not match, ranges that
    are empty, reversed or not numbers, and patterns of more than `MAX_NAMES` names.
    """
    pieces: list[list[str]] = []
    total = 1
    rest = pattern
    while rest:
        literal, opening, rest = rest.partition("[")
        if "]" in literal:
            raise ValueError("']' without '['; write a range like 'n[1-4]'")
        pieces.append([literal])
        if opening:
            inside, closing, rest = rest.partition("]")
            if not closing or "[" in inside:
                raise ValueError("'[' without ']'; write a range like 'n[1-4]'")
            pieces.append(_group(inside))
            total *= len(pieces[-1])
            if total > MAX_NAMES:
                raise ValueError(_too_many(total))
    return tuple("".join(parts) for parts in itertools.product(*pieces))


def _group(inside: str) -> list[str]:
    """The numbers, as text, of one bracket group such as `3-6,9`."""
    numbers: list[str] = []
    for item in inside.split(","):
        match = _RANGE.fullmatch(item)
        if match is None:
            raise ValueError(f"'[{inside}]' is not a list of numbers and ranges; write it like '[3-6,9]'")
        first, last = match[1], match[2] or match[1]
        if int(last) < int(first):
            raise ValueError(f"the range {item} runs backwards; write '{last}-{first}'")
        if int(last) - int(first) >= MAX_NAMES:
            raise ValueError(_too_many(int(last) - int(first) + 1))
        if last.startswith("0") and len(last) != len(first):
            raise ValueError(f"the range {item} is padded to two widths; pad both ends alike")
        width = len(first)
        numbers.extend(f"{number:0{width}d}" for number in range(int(first), int(last) + 1))
        if len(numbers) > MAX_NAMES:
            raise ValueError(_too_many(len(numbers)))
    return numbers


def _too_many(count: int) -> str:
    return f"stands for {count:,} names or more, and {MAX_NAMES:,} is the limit; write a shorter range"
