"""Runs on the controller: a directory of wheels, described and packed.

describe DIR: one line of JSON; a directory that cannot be used gives {"problem": ...}, which the role shows as its own
failure. pack DIR ARCHIVE: an uncompressed tar of the wheels whose names come as a JSON list on standard input.
"""

import hashlib
import json
import sys
import tarfile
from pathlib import Path


def pythons(wheels: list[Path]) -> list[str] | None:
    """Interpreters (such as cp311) that every wheel has a build for; None when any will do."""
    tags_of: dict[str, set[str]] = {}
    for wheel in wheels:
        name, *_, python, abi, _platform = wheel.stem.split("-")
        # abi3 and none load in every later Python; cp311 in one only.
        tags_of.setdefault(name, set()).update(python.split(".") if abi.startswith("cp") else {"any"})
    bound = [tags for tags in tags_of.values() if "any" not in tags]
    return sorted(set.intersection(*bound)) if bound else None


def describe(directory: Path) -> dict[str, object]:
    """The one shardfleet version in the directory, a digest over all wheels, and the Pythons they fit."""
    if not directory.is_absolute():
        return {"problem": f"shardfleet_wheelhouse={directory}: give an absolute path, such as $PWD/{directory}"}
    if not directory.is_dir():
        return {"problem": f"shardfleet_wheelhouse={directory}: no such directory; make it with pip wheel . -w <it>"}
    wheels = sorted(directory.iterdir())
    for path in wheels:
        # Anything else would have to be built on the host, which has no compiler and no index.
        if path.suffix != ".whl" or not path.is_file() or path.stem.count("-") < 4:
            return {"problem": f"{path}: a wheelhouse holds wheels only; remove this or build it with pip wheel"}
    versions = [path.stem.split("-")[1] for path in wheels if path.name.startswith("shardfleet-")]
    if len(versions) != 1:
        return {"problem": f"{directory} holds {len(versions)} wheels of shardfleet {versions}; it must hold one"}
    digest = hashlib.sha256()
    for path in wheels:
        digest.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n".encode())
    return {
        "version": versions[0],
        "sha256": digest.hexdigest(),
        "pythons": pythons(wheels),
        # SHA-1 because that is what Ansible's find module reports of the files on the host.
        "files": {path.name: hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest() for path in wheels},
    }


def pack(directory: Path, names: list[str], archive: Path) -> None:
    """Wheels are compressed already. Who built them, and when, is nobody's business on the host."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mode, member.uid, member.gid, member.uname, member.gname = 0o644, 0, 0, "", ""
        return member

    # Wheels may be links into a cache: the host gets what they lead to.
    with tarfile.open(archive, "w", dereference=True) as tar:
        for name in sorted(names):
            tar.add(directory / name, arcname=name, filter=plain)


if sys.argv[1] == "describe":
    sys.stdout.write(json.dumps(describe(Path(sys.argv[2]))))
else:
    pack(Path(sys.argv[2]), json.load(sys.stdin), Path(sys.argv[3]))
