"""Runs on the host in the installed venv: import what a worker needs, compare versions, print the version.

Argument 1: the version that must be found, or nothing for any.
"""

import sys
from importlib.metadata import version
from pathlib import Path

# The compiled ones fail here, not ten hours into a run, on a host whose C library is too old.
import gigatoken  # noqa: F401
import pyarrow  # noqa: F401
import tiktoken  # noqa: F401
import xxhash  # noqa: F401

import provision  # noqa: F401
import shard  # noqa: F401

found = version("shardfleet")
# The venv in use is a link to versions/<version>.
promised = {Path(sys.prefix).resolve().name, sys.argv[1] or found}
if promised != {found}:
    sys.exit(f"{sys.prefix} imports shardfleet {found}, but {' and '.join(sorted(promised - {found}))} was expected")
sys.stdout.write(found)
