"""Interpreters for hosts whose ranks are hard to stop: the real one, with a sitecustomize of their own."""

import shlex
import signal
import sys
from pathlib import Path

from tests.support.fleet import Seen

DEAF = """\
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""
"""What a rank does first so as to ignore SIGTERM."""

DAEMONS = """\
import subprocess
# Twice away from the rank: the shell ends, setsid is another session. Nothing of the rank's is kept open.
subprocess.run(["sh", "-c", "trap '' TERM; setsid sleep 3600 &"], stdin=-3, stdout=-3, stderr=-3, check=True)
"""
"""What a rank does first so as to have a grandchild that ignores SIGTERM, in a session of its own."""

_ONLY_RANKS = """\
import sys
if sys.orig_argv[1:4] == ["-m", "shard", "rank"]:
"""


def interpreter(directory: Path, first: str) -> str:
    """A program for `--remote-python` that is this interpreter, but that its ranks do `first` before all else."""
    directory.mkdir()
    indented = "".join(f"    {line}\n" for line in first.splitlines())
    (directory / "sitecustomize.py").write_text(_ONLY_RANKS + indented)
    program = directory / "python"
    place = shlex.quote(str(directory))
    program.write_text(f'#!/bin/sh\nPYTHONPATH={place} exec {shlex.quote(sys.executable)} "$@"\n')
    program.chmod(0o755)
    return str(program)


def ignores_sigterm(process: Seen) -> bool:
    """Whether the kernel says so."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    ignored = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))
    return bool(ignored >> (signal.SIGTERM - 1) & 1)
