"""Case files: one case a line, grouped under comments that say why; read by tests and by `refusals.py`.

The notation is described at the top of cases/hosts.txt.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_REPEATED = re.compile(r"\{(\d+)\*([^}]+)\}")


@dataclass(frozen=True)
class Case:
    """One line of a case file."""

    place: str
    """File and line, such as `hosts.txt:12`."""
    text: str
    """What is tried; `{canary}` still stands for itself."""
    parts: tuple[str, ...]
    """What a message must say, or other words behind the arrow."""

    def filled(self, canary: Path) -> str:
        return self.text.replace("{canary}", str(canary))

    def missing_from(self, message: str, canary: Path) -> list[str]:
        """The parts that a message lacks."""
        return [part for part in self.parts if part.replace("{canary}", str(canary)) not in message]


def cases(name: str) -> list[Case]:
    """The cases of `cases/<name>.txt`, escapes and repetitions spelled out."""
    return [Case(case.place, _meant(case.text), case.parts) for case in raw_cases(name)]


def raw_cases(name: str) -> list[Case]:
    """The cases of `cases/<name>.txt` as they are written."""
    found = []
    path = Path(__file__).with_name("cases") / f"{name}.txt"
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line and not line.startswith("# "):
            text, _, parts = line.partition(" => ")
            found.append(Case(f"{path.name}:{number}", text, tuple(parts.split(" && ")) if parts else ()))
    return found


def _meant(text: str) -> str:
    # Escapes are for what an editor would not show; characters beyond ASCII stand for themselves.
    shown = text.encode("ascii", "backslashreplace").decode("unicode_escape")
    return _REPEATED.sub(lambda match: match[2] * int(match[1]), shown)
