"""docs/seeds: the tests that the pages name exist, and the commands that they show are taken by the command line."""

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import click
import pytest

from provision.cli import cli

_REPOSITORY = Path(__file__).resolve().parents[2]
_PAGES = sorted((_REPOSITORY / "docs" / "seeds").glob("*.md"))
_NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
_COMMAND = re.compile(r"^\$ shardfleet ((?:.*\\\n)*.*)$", re.MULTILINE)


@cache
def functions(path: str) -> set[str]:
    """Names of the tests in a file below tests/."""
    tree = ast.parse((_REPOSITORY / "tests" / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_there_are_five() -> None:
    """Every seed has its page, and the README leads there."""
    assert [page.name for page in _PAGES] == [f"00{number}.md" for number in range(5)]
    readme = (_REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert all(f"docs/seeds/{page.name}" in readme for page in _PAGES)


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_named_tests_exist(page: Path) -> None:
    """Every `path::test` of a page is a test of that name in that file below tests/."""
    named = _NAMED.findall(page.read_text(encoding="utf-8"))
    assert len(named) > 5
    assert [f"{path}::{name}" for path, name in named if name not in functions(path)] == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_every_row_of_a_checklist_names_a_test(page: Path) -> None:
    """Of the tables whose last column is what shows it, no row is without."""
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    without, checked, last = [], 0, ""
    for row in rows:
        if set(row) <= set("|- "):
            continue
        if row.rstrip().endswith("| shown by |"):
            last = "shown by"
        elif row.rstrip().endswith("| here |") or row.rstrip().endswith("| ours |"):
            last = ""
        elif last:
            checked += 1
            without += [] if _NAMED.search(row.rpartition(" | ")[2]) else [row]
    assert without == []
    assert checked > 3


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_commands_are_taken(page: Path) -> None:
    """Every `$ shardfleet …` of a page is parsed by the command that it names: there are these options."""
    commands = [shlex.split(found.replace("\\\n", " "), comments=True) for found in _COMMAND.findall(page.read_text())]
    assert commands
    for words in commands:
        command: click.Command = cli
        context = click.Context(cli, info_name="shardfleet")
        while isinstance(command, click.Group):
            name, command, words = command.resolve_command(context, list(words))
            assert command is not None, name
            context = click.Context(command, info_name=name, parent=context)
        parser = command.make_parser(context)
        parser.parse_args(list(words))
