"""The wheels that hosts are installed from: the running shardfleet, and what it needs in the versions used here.

The wheels of others come from the package index once and are kept under ~/.cache/shardfleet/wheels; a later run, and
a run after a change of our own code alone, needs no index.
"""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from provision.errors import InputError
from provision.install.ownwheel import pack, playbooks

_BY_HAND = (
    "or make the wheels where there is an index, with 'python -m pip wheel -w DIR <checkout or wheel of shardfleet>', "
    "and give them with --wheelhouse DIR"
)


def build_wheelhouse(into: Path, say: Callable[[str], None]) -> Path:
    """Fill an empty directory with a wheel of everything a host needs: the same for the same code and versions.

    Raises InputError, with the way around, when the wheels of others cannot be had.
    """
    ours = distribution("shardfleet")
    wheel = pack(ours, into)
    for dependency in _dependencies(ours, wheel, say).iterdir():
        (into / dependency.name).symlink_to(dependency)
    return into


def require_wheelhouse(directory: Path) -> None:
    """Raise InputError when hosts could not be installed from a directory; the role's own script says so."""
    script = playbooks() / "roles/shardfleet/files/wheelhouse.py"
    done = subprocess.run(
        [sys.executable, "-I", script, "describe", directory], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    if "problem" in (described := json.loads(done.stdout)):
        raise InputError(described["problem"])


def cache_directory() -> Path:
    """Where the launcher keeps what it can make again."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "shardfleet"


def _dependencies(ours: Distribution, wheel: Path, say: Callable[[str], None]) -> Path:
    """The directory with the wheels of others, filled where it is not there yet."""
    pins = _pins(ours)
    wanted = [f"{sys.implementation.cache_tag} {sysconfig.get_platform()}", *sorted(ours.requires or ()), *pins]
    kept = cache_directory() / "wheels" / hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:16]
    if kept.is_dir():
        return kept
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            f"{sys.executable} has no pip to collect wheels with; run '{sys.executable} -m ensurepip', {_BY_HAND}"
        )
    say(f"collecting the wheels that hosts need, once: {kept}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".new-") as scratch:
        _pip_wheel(wheel, Path(scratch), pins)
        try:
            (Path(scratch) / "wheels").rename(kept)
        except OSError:
            # Another run of this user was quicker, with the same.
            if not kept.is_dir():
                raise
    return kept


def _pip_wheel(wheel: Path, scratch: Path, pins: list[str]) -> None:
    constraints = scratch / "constraints.txt"
    constraints.write_text("".join(f"{pin}\n" for pin in pins))
    argv = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-input", "--disable-pip-version-check"]
    argv += ["--constraint", str(constraints), "--wheel-dir", str(scratch / "wheels"), str(wheel)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-6:]
        raise InputError(
            "\n".join(["pip could not collect the wheels:", *(f"  {line}" for line in said), f"mend that, {_BY_HAND}"])
        )
    # Our own changes more often than what it needs: it is packed for each run.
    (scratch / "wheels" / wheel.name).unlink()


def _pins(ours: Distribution) -> list[str]:
    """`name==version` of all that is installed here and that shardfleet needs: hosts run what was tried here."""
    versions: dict[str, str] = {}
    waiting = list(ours.requires or ())
    while waiting:
        match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", waiting.pop())
        name = re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""
        if name in versions or name == "shardfleet":
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # of an extra, or for another platform
        versions[name] = found.version
        waiting += found.requires or ()
    return sorted(f"{name}=={version}" for name, version in versions.items())
