"""Where the shared test data lie; apart from what reads them, which is slow to import."""

import os
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]


def data_directory() -> Path | None:
    """The shared test data, when it is there."""
    directory = Path(os.environ.get("SHARDFLEET_TEST_DATA", _REPOSITORY.parent / "shared" / "data"))
    return directory if (directory / "fineweb-sample").is_dir() else None
