"""dolma: its own command line, `dolma tokens`, over gzipped JSON lines."""

import os
import sys
from pathlib import Path

from interface import EOD_ID, arguments


def main() -> None:
    given = arguments()
    dolma = Path(sys.executable).with_name("dolma")
    command = [str(dolma), "tokens", "--documents", *given.inputs, "--destination", str(given.output)]
    command += ["--tokenizer.name_or_path", given.tokenizer, "--tokenizer.eos_token_id", str(EOD_ID)]
    command += ["--tokenizer.pad_token_id", str(EOD_ID), "--dtype", "uint16", "--processes", str(given.workers)]
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
