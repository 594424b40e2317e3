"""Folders as repositories: what files there are, what they hash to, and which commit that makes.

`ROOT/<owner>/<name>` is the repository `owner/name`. Its one commit is computed from its content, so it changes when
a file does and is the same on every machine that holds the same files.
"""

import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from provision.hubserver.access import ACCESS_FILE, Access, read_access

LFS_THRESHOLD = 10 * 1024 * 1024
"""Bytes from which a file counts as LFS, as on the Hub. Parquet always does."""

# What git and `hf download --local-dir` leave in a folder is no content of the dataset.
_UNLISTED = frozenset({ACCESS_FILE, ".git", ".cache"})
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class FileStat(NamedTuple):
    """A file as the folder walk sees it, not hashed yet.

    A tuple, because every resolve makes and compares one per file of the repository.
    """

    path: str
    """Path inside the repository, with forward slashes."""
    local: str
    """Where it is on this machine."""
    size: int
    """Bytes."""
    mtime_ns: int


@dataclass(frozen=True)
class HubFile:
    """A file of a repository with its hashes."""

    stat: FileStat
    oid: str
    """Git blob id, 40 hex digits; of the pointer file for LFS."""
    sha256: str | None
    """Content hash of an LFS file, 64 hex digits; None for a plain git file."""
    pointer_size: int = 0
    """Bytes of the LFS pointer file."""

    @property
    def etag(self) -> str:
        """Unquoted: the sha256 for LFS, else the git blob id."""
        return self.sha256 or self.oid

    def unchanged(self) -> bool:
        """Whether the file on disk still is the one that was hashed."""
        try:
            now = os.stat(self.stat.local)  # noqa: PTH116 (a string, as the walk gives it)
        except OSError:
            return False
        return (now.st_size, now.st_mtime_ns) == (self.stat.size, self.stat.mtime_ns)


@dataclass(frozen=True)
class Snapshot:
    """A repository at its current commit."""

    repo_id: str
    commit: str
    """40 hex digits."""
    files: Mapping[str, HubFile]
    """By path, sorted."""
    access: Access

    @property
    def mtime_ns(self) -> int:
        """Last modification of any file, nanoseconds since the epoch; 0 for an empty repository."""
        return max((file.stat.mtime_ns for file in self.files.values()), default=0)

    def has_revision(self, revision: str) -> bool:
        """Whether the revision names this commit: `main` or the commit itself."""
        return revision in ("main", self.commit)


class Repositories:
    """The repositories under one folder. Safe to use from several threads."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._latest: dict[str, Snapshot] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def snapshot(self, repo_id: str) -> Snapshot | None:
        """The repository as it is now, or None if there is none of that name.

        Walks the folder; hashes only files whose size or modification time changed since the last call.
        """
        folder = self._folder(repo_id)
        if folder is None:
            return None
        with self._guard:
            lock = self._locks.setdefault(repo_id, threading.Lock())
        with lock:  # a second request for the same repository waits for the hashes instead of computing them again
            access = read_access(folder)
            stats = sorted(_walk(self._root, str(folder), ""))
            before = self._latest.get(repo_id)
            if before and stats == [file.stat for file in before.files.values()]:
                after = replace(before, access=access)
            else:
                files = _hash_all(stats, before.files if before else {})
                after = Snapshot(repo_id, _commit(files), files, access)
            self._latest[repo_id] = after
            return after

    def last_known(self, repo_id: str) -> Snapshot | None:
        """The snapshot made last, without looking at the folder."""
        return self._latest.get(repo_id)

    def place(self, repo_id: str) -> Path | None:
        """Where a repository lies, or would; None where the name is none."""
        owner, _, name = repo_id.partition("/")
        if not (_NAME.fullmatch(owner) and _NAME.fullmatch(name)):
            return None
        folder = (self._root / owner / name).resolve()
        return folder if folder.is_relative_to(self._root) else None

    def _folder(self, repo_id: str) -> Path | None:
        folder = self.place(repo_id)
        return folder if folder is not None and folder.is_dir() else None


def _walk(root: Path, folder: str, prefix: str) -> Iterator[FileStat]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_listed(entry.name):
                continue
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(root, entry.path, path + "/")
            elif stat := _stat_file(root, entry):
                yield FileStat(path, entry.path, stat.st_size, stat.st_mtime_ns)


def _stat_file(root: Path, entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        # Only listed files are ever served, so a link that leaves the root ends here.
        if entry.is_file() and (not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(root)):
            return entry.stat()
    except OSError:  # it vanished meanwhile, or is a link in a circle
        return None
    return None


def is_listed(name: str) -> bool:
    """Whether a file or folder of this name can be content of a repository."""
    return name not in _UNLISTED and _is_utf8(name)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # such a name can be in no URL and no JSON
        return False
    return True


def _hash_all(stats: list[FileStat], known: Mapping[str, HubFile]) -> dict[str, HubFile]:
    files = {stat.path: known[stat.path] for stat in stats if stat.path in known and known[stat.path].stat == stat}
    # hashlib releases the GIL, so a first look at a large dataset uses every core.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        fresh = pool.map(hash_file, [stat for stat in stats if stat.path not in files])
    files |= {file.stat.path: file for file in fresh}
    return {stat.path: files[stat.path] for stat in stats}


def hash_file(stat: FileStat) -> HubFile:
    """Hash a file as the Hub does: sha256 and pointer for LFS, git blob id otherwise.

    Pointer format: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
    """
    if stat.size < LFS_THRESHOLD and not stat.path.endswith(".parquet"):
        return HubFile(stat, _git_blob(Path(stat.local).read_bytes()), None)
    with Path(stat.local).open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {stat.size}\n".encode()
    return HubFile(stat, _git_blob(pointer), sha256, len(pointer))


def _git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _commit(files: Mapping[str, HubFile]) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    for path, file in files.items():
        digest.update(f"{file.etag} {file.stat.size} {path}\0".encode())
    return digest.hexdigest()
