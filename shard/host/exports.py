"""An export on a host of a cluster: what its launcher asks for, and the answer."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from shard.errors import JobError, StoreError
from shard.export.options import ExportOptions
from shard.export.run import FORMATS, Exported, existing, export


def export_here(directories: Sequence[Path], format_name: str, target: Path, options: ExportOptions) -> Exported:
    """Write shards of this host in a trainer's format, unless the very same export is there.

    SIGTERM ends it as Ctrl+C does: nothing is left. Raises ShardError.
    """
    if format_name not in FORMATS:
        raise JobError(f"format {format_name!r}: there are {', '.join(FORMATS)}")
    signal.signal(signal.SIGTERM, _leave)
    places = [directory.expanduser() for directory in directories]
    there = target.expanduser()
    if (found := existing(places, format_name, there, options)) is not None:
        return found
    try:
        return export(places, format_name, there, options)
    except StoreError:
        # Another host that sees the same directory may have been quicker.
        if (found := existing(places, format_name, there, options)) is not None:
            return found
        raise


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
