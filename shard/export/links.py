"""The same bytes under another name: a hard link, or a copy where the file systems differ or know no links."""

import errno
import os
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
