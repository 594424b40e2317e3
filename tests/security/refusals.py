"""Runs `shardfleet` with many sets of arguments in one process, for cases that must be refused.

    python refusals.py WORK CANARY < cases.json > outcomes.json

Standard input is a list of argument lists, each for one call in the directory WORK; the output says of each how it
ended, and whether CANARY had come to be by then.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from provision.cli import cli
from provision.errors import ProvisionError
from shard.errors import ShardError


def outcome(arguments: list[str], canary: Path) -> dict[str, Any]:
    """As the entry point of the command does it: errors become their message and exit code."""
    began = time.monotonic()
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    error, code, message = result.exception, result.exit_code, ""
    if isinstance(error, click.ClickException):
        code, message = error.exit_code, error.format_message()
    elif isinstance(error, ProvisionError | ShardError):
        code, message = error.exit_code, str(error)
    elif error is not None:
        code, message = 99, f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - began
    printed = result.output.encode(errors="backslashreplace").decode()
    return {
        "code": code,
        "message": message.encode(errors="backslashreplace").decode(),
        "printed": printed,
        "canary": canary.exists(),
        "seconds": seconds,
    }


def main() -> None:
    work, canary = sys.argv[1:]
    os.chdir(work)
    asked = json.loads(sys.stdin.buffer.read())
    # Surrogates stand for bytes that are not UTF-8, as they do in sys.argv.
    sys.stdout.write(json.dumps([outcome(arguments, Path(canary)) for arguments in asked]))


if __name__ == "__main__":
    main()
