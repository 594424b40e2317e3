"""What hosts might say of themselves, for tests of what is made of it."""

from typing import Any

from provision import __version__
from provision.prepare.survey import Answer
from shard.host.survey import Survey

TB = 10**12


def survey_of(**fields: Any) -> Survey:
    """A host with which everything is well, but for the fields given."""
    given: dict[str, Any] = {
        "version": __version__, "python": "3.11.7", "clock": 1.7e9, "seconds": 0.1,
        "cores": 64, "open_files": 1024, "open_files_hard": 4096,
        "output_free": TB, "holdout_free": TB, "same_disk": True,
        "identity": None, "place": "", "committed": [], "runs": [],
    }  # fmt: skip
    return Survey(**{**given, **fields})


def answer_of(*, ahead: tuple[float, float] = (-0.2, 0.2), **fields: Any) -> Answer:
    """The same, as the launcher has heard it."""
    return Answer(survey_of(**fields), ahead)
