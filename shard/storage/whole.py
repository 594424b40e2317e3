"""Directories that appear whole or not at all: written under temporary names beside their own, then renamed."""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from shard.errors import DiskFullError, StoreError
from shard.records.shards import Split
from shard.storage.disk import fsync_directory, is_full


@contextmanager
def appearing(finals: Mapping[Split, Path]) -> Iterator[dict[Split, Path]]:
    """Empty directories to write to, which become the final ones on leaving; after an exception nothing is left.

    What an earlier attempt left that was killed is removed. Raises StoreError when one of the final directories exists,
    two are the same or one in the other, or a file system refuses; DiskFullError when it is full.
    """
    places = {split: final.absolute() for split, final in finals.items()}
    require_apart(places)
    for final in places.values():
        if final.exists() or final.is_symlink():
            raise StoreError(f"{final}: exists, and nothing is replaced: remove it, or choose another")
    unfinished = {
        split: final.with_name(f".{final.name}.{secrets.token_hex(4)}.tmp") for split, final in places.items()
    }
    done: list[tuple[Path, Path]] = []
    with ExitStack() as held:
        try:
            for split, directory in unfinished.items():
                directory.mkdir(parents=True)
                held.callback(os.close, _locked(directory))
                remove_left_over(places[split])
            yield unfinished
            for split in reversed(list(places)):  # train, which is looked at first, comes last
                unfinished[split].rename(places[split])
                done.append((places[split], unfinished[split]))
            for final in places.values():
                fsync_directory(final.parent)
        except BaseException as error:
            for final, before in done:
                final.rename(before)
            if isinstance(error, OSError):
                where = " and ".join(map(str, places.values()))
                what = os.strerror(error.errno) if error.errno else str(error)
                if is_full(error):
                    raise DiskFullError(
                        f"{where}: {what}; nothing was made, and what it was to be made from "
                        "is as it was: free space there, or choose another --to"
                    ) from error
                about = f" ({error.filename})" if error.filename else ""
                raise StoreError(f"{where}: {what}{about}; nothing was made") from error
            raise
        finally:
            for directory in unfinished.values():
                shutil.rmtree(directory, ignore_errors=True)


def require_apart(finals: Mapping[Split, Path]) -> None:
    """Raise StoreError where directories to make, absolute, are the same, or one is in the other."""
    # Without `..`, but not resolved: what is to be made is not there to be followed.
    places = [Path(os.path.normpath(final)) for final in finals.values()]
    if len(set(places)) < len(places):
        raise StoreError(f"{finals['train']}: --to and --holdout-dir are the same directory")
    for place in places:
        if any(place in other.parents for other in places):
            raise StoreError(f"{place}: --to and --holdout-dir are one inside the other; put them side by side")


def left_unfinished(final: Path) -> list[Path]:
    """Directories, or files, that are being written for this name, or were."""
    pattern = re.compile(rf"\.{re.escape(final.name)}\.[0-9a-f]{{8}}\.tmp")
    try:
        return [path for path in final.parent.iterdir() if pattern.fullmatch(path.name)]
    except FileNotFoundError:
        return []


def make_last(root: Path) -> None:
    """Put all below a directory on the disk: files first, then the directories that name them, the root last."""
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir():
            fsync_directory(path)
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    fsync_directory(root)


def _locked(directory: Path) -> int:
    """A descriptor that shows others, as long as it is open, that somebody is at work there."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    lock(descriptor)
    return descriptor


def lock(descriptor: int) -> None:
    """Show others, as long as it is open, that somebody is at work on what is unfinished."""
    with suppress(OSError):  # some network file systems lock no directories: left-overs stay there, as in use
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_left_over(final: Path) -> None:
    """Remove unfinished directories, or files, of this name at which nobody is at work any more."""
    for path in left_unfinished(final):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            continue  # gone meanwhile
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        except OSError:
            continue  # somebody is at work there
        finally:
            os.close(descriptor)
