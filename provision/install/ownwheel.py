"""The shardfleet that runs here, as a wheel: hosts get the very code that plans and watches them.

It is packed from the imported packages and the metadata of their installation. So a checkout, an editable installation
and an installed wheel are one case, none of them needs a build backend, and the same code gives the same bytes.
"""

import base64
import hashlib
import zipfile
from importlib.metadata import Distribution
from importlib.resources import files
from pathlib import Path

_PACKAGES = ("provision", "shard")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The date of every member, so that the bytes follow from the content."""

_WHEEL = b"Wheel-Version: 1.0\nGenerator: shardfleet\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def playbooks() -> Path:
    """The directory of the playbooks and their role: inside the installed package, or at the top of a checkout."""
    package = _directory("provision")
    shipped = package / "_ansible"
    return shipped if shipped.is_dir() else package.parent / "ansible"


def pack(installed: Distribution, into: Path) -> Path:
    """Write the wheel of the running code into a directory; returns its path."""
    stem = f"shardfleet-{installed.version.replace('-', '_')}"
    members = {
        **_tree(playbooks(), "provision/_ansible"),
        **{name: data for package in _PACKAGES for name, data in _tree(_directory(package), package).items()},
        **_metadata(installed, f"{stem}.dist-info"),
    }
    record = f"{stem}.dist-info/RECORD"
    rows = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in sorted(members.items())]
    members[record] = "\n".join([*rows, f"{record},,", ""]).encode()
    wheel = into / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members, key=lambda it: (".dist-info/" in it, it)):
            member = zipfile.ZipInfo(name, _LONG_AGO)
            member.external_attr = 0o644 << 16
            archive.writestr(member, members[name], zipfile.ZIP_DEFLATED)
    return wheel


def _tree(directory: Path, prefix: str) -> dict[str, bytes]:
    """Every file below a directory by its name in the wheel, but for what Python and editors leave behind."""
    found = {}
    for path in sorted(directory.rglob("*")):
        inside = path.relative_to(directory)
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in inside.parts):
            found[f"{prefix}/{inside.as_posix()}"] = path.read_bytes()
    return found


def _metadata(installed: Distribution, directory: str) -> dict[str, bytes]:
    """What the installation says of itself: name, version, requirements, the command, licences."""
    texts = {name: installed.read_text(name) for name in ("METADATA", "entry_points.txt")}
    found = {f"{directory}/{name}": text.encode() for name, text in texts.items() if text is not None}
    for path in installed.files or ():
        if path.parts[0].endswith(".dist-info") and path.parts[1] == "licenses":
            found["/".join([directory, *path.parts[1:]])] = path.read_binary()
    return {**found, f"{directory}/WHEEL": _WHEEL}


def _directory(package: str) -> Path:
    return Path(str(files(package)))


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
