"""Do the units of a file follow each other from its beginning to its end? (pure)"""

from collections.abc import Iterator

from shard.verify.report import UnitFacts


def row_problems(facts: UnitFacts, last: UnitFacts | None) -> Iterator[str]:
    """What is wrong between a unit and the one of the same file that comes before it among those present."""
    if last is None:
        return
    if (facts.lines is None) != (last.lines is None):
        yield f"counts the rows of {facts.path} otherwise than unit {last.unit} does"
    elif facts.lines is not None:
        pass  # rows are counted from the unit's own first: LineChain follows the bytes
    elif facts.row_start < last.row_end:
        yield f"begins at row {facts.row_start} of {facts.path}, but unit {last.unit} took rows up to {last.row_end}"
    elif facts.row_start > last.row_end and facts.unit == last.unit + 1:
        yield f"begins at row {facts.row_start} of {facts.path}, but unit {last.unit} ended at {last.row_end}"
    sizes, others = _sizes(facts), _sizes(last)
    if (facts.content_id, sizes) != (last.content_id, others):
        yield (
            f"{facts.path} had {sizes} ({facts.content_id}) for this unit, "
            f"{others} ({last.content_id}) for unit {last.unit}"
        )


def end_problems(facts: UnitFacts, *, first: bool, final: bool) -> Iterator[str]:
    """Whether a unit that is the first or the final one of its file begins or ends where the file does."""
    if (first or facts.lines is not None) and facts.row_start != 0:
        yield f"begins at row {facts.row_start} of {facts.path}; no unit took the rows before"
    if (final or facts.lines is not None) and facts.row_end != facts.file_rows:
        yield f"ends at row {facts.row_end} of {facts.file_rows} of {facts.path}; no unit took the rest"


class LineChain:
    """Follows a file that is cut by lines from unit to unit. A unit in whose part no line begins is passed over."""

    def __init__(self) -> None:
        self._reached: dict[str, tuple[int, int | None]] = {}
        """Path → unit, and where the last line up to it ends; None when that is not known."""

    def problems(self, facts: UnitFacts, *, first: bool, final: bool) -> Iterator[str]:
        """What is wrong with the bytes of the next unit of a file, in the order of units."""
        lines = facts.lines
        if lines is None:
            return
        unit, end = self._reached.get(facts.path, (-2, None))
        expected = 0 if first else end if facts.unit == unit + 1 else None
        if lines.empty:
            reached = expected
        else:
            reached = lines.end
            if expected is not None and lines.start != expected:
                yield f"begins at byte {lines.start} of {facts.path}, where byte {expected} was next"
            elif end is not None and lines.start < end:
                yield f"begins at byte {lines.start} of {facts.path}, but unit {unit} took lines up to {end}"
        if final and reached is not None and reached != lines.file_bytes:
            yield f"ends at byte {reached} of {lines.file_bytes} of {facts.path}; no unit took the rest"
        self._reached[facts.path] = (facts.unit, reached)


def _sizes(facts: UnitFacts) -> str:
    return f"{facts.file_rows} rows" if facts.lines is None else f"{facts.lines.file_bytes} bytes"
