"""The JSON of the Hub's API for one snapshot: repository info, tree pages, path info. Pure functions."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from provision.hubserver.repos import HubFile, Snapshot

Json = dict[str, Any]


def info(snapshot: Snapshot, *, blobs: bool) -> Json:
    """`GET /api/datasets/{id}`; blobs adds size and hashes to each sibling."""
    siblings: list[Json] = []
    for path, file in snapshot.files.items():
        sibling: Json = {"rfilename": path}
        if blobs:
            sibling |= {"size": file.stat.size, "blobId": file.oid}
            if file.sha256:
                sibling["lfs"] = {"sha256": file.sha256, "size": file.stat.size, "pointerSize": file.pointer_size}
        siblings.append(sibling)
    return {
        "id": snapshot.repo_id,
        "author": snapshot.repo_id.partition("/")[0],
        "sha": snapshot.commit,
        "lastModified": _date(snapshot.mtime_ns),
        "private": snapshot.access.private,
        "gated": "auto" if snapshot.access.gated is True else snapshot.access.gated,
        "disabled": False,
        "tags": [],
        "siblings": siblings,
    }


def tree(snapshot: Snapshot, folder: str, *, recursive: bool, expand: bool) -> list[Json] | None:
    """`GET …/tree/{rev}/{folder}`: all entries under a folder ("" is the root), sorted by path.

    Returns None if there is no such folder.
    """
    prefix = folder.strip("/") + "/" if folder.strip("/") else ""
    entries: dict[str, Json] = {}
    for path in snapshot.files:
        if not path.startswith(prefix):
            continue
        below = path[len(prefix) :].split("/")
        depths = range(1, len(below) + 1) if recursive else [1]
        for depth in depths:
            entry = prefix + "/".join(below[:depth])
            if entry not in entries:
                entries[entry] = _entry(snapshot, entry, expand=expand)
    if prefix and not entries:
        return None
    return [entries[path] for path in sorted(entries)]


def paths_info(snapshot: Snapshot, paths: list[str], *, expand: bool) -> list[Json]:
    """`POST …/paths-info/{rev}`: the entries that exist, in the order asked for."""
    wanted = [path.strip("/") for path in paths]
    return [_entry(snapshot, path, expand=expand) for path in wanted if path in snapshot.files or _has(snapshot, path)]


def _has(snapshot: Snapshot, folder: str) -> bool:
    return any(_below(snapshot, folder))


def _below(snapshot: Snapshot, folder: str) -> Iterator[HubFile]:
    return (file for path, file in snapshot.files.items() if path.startswith(folder + "/"))


def _entry(snapshot: Snapshot, path: str, *, expand: bool) -> Json:
    file = snapshot.files.get(path)
    if file is None:
        digest = hashlib.sha1("\0".join(f.oid for f in _below(snapshot, path)).encode(), usedforsecurity=False)
        entry: Json = {"type": "directory", "oid": digest.hexdigest(), "size": 0, "path": path}
    else:
        entry = {"type": "file", "oid": file.oid, "size": file.stat.size, "path": path}
        if file.sha256:
            entry["lfs"] = {"oid": file.sha256, "size": file.stat.size, "pointerSize": file.pointer_size}
    if expand:
        entry["lastCommit"] = {"id": snapshot.commit, "title": "Content", "date": _date(snapshot.mtime_ns)}
    return entry


def _date(mtime_ns: int) -> str:
    return datetime.fromtimestamp(mtime_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
