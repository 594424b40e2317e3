"""The same bytes under another name: a hard link, or a copy where the file systems differ or know no links."""

import errno
import os
import secrets
import shutil
from pathlib import Path

_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


def link_or_copy(source: Path, target: Path) -> bool:
    """Make `target` hold what `source` does. Returns whether it costs no disk."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)
        return False
    return True


def alias(source: Path, target: Path) -> bool:
    """The same for a target that may exist already: it is replaced whole, and lasts once its directory is synced."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        linked = link_or_copy(source, temporary)
        if not linked:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        # Also after success: where both are names of one file already, rename() leaves both.
        temporary.unlink(missing_ok=True)
    return linked
