"""The other floor: read the shards of a finished run and write them again, every file synced to disk.

python -m benchmarks.rewrite SOURCE DESTINATION
"""

import os
import shutil
import sys
from pathlib import Path

_PIECE = 8 << 20


def main() -> None:
    source, destination = map(Path, sys.argv[1:])
    for path in sorted(source.rglob("*")):
        target = destination / path.relative_to(source)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as old, target.open("wb") as new:
            shutil.copyfileobj(old, new, _PIECE)
            new.flush()
            os.fsync(new.fileno())


if __name__ == "__main__":
    main()
