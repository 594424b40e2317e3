"""pdsh's arguments, and what its output means."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import InputError
from provision.hosts import Host
from provision.reach.pdsh import LogLine, parse_line, pdsh_argv, pdsh_command, supervisor_command
from shard.records.progress import Note, UnitFailed, encode
from tests.support.plans import plan_of

NOTE = Note(host="gpu3.lan", text="hello: world")
LINE = encode(NOTE).decode().rstrip("\n")

CASES = [
    pytest.param(LINE, NOTE, id="bare event, as without pdsh"),
    pytest.param(f"gpu3: {LINE}", NOTE, id="event with pdsh's label, its domain dropped"),
    pytest.param(f"gpu3.lan: {LINE}", NOTE, id="event with a full name"),
    pytest.param(f"10.0.0.3: {LINE}\n", NOTE, id="address and newline"),
    pytest.param("gpu3: ssh: connect to host gpu3 port 22: Connection refused",
                 LogLine("gpu3", "ssh: connect to host gpu3 port 22: Connection refused"), id="ssh's error"),
    pytest.param("pdsh@head: gpu3: ssh exited with exit code 255",
                 LogLine(None, "pdsh@head: gpu3: ssh exited with exit code 255"), id="pdsh's own word"),
    pytest.param("gpu3: ", LogLine("gpu3", ""), id="empty line of a host"),
    pytest.param("", LogLine(None, ""), id="empty line"),
    pytest.param("gpu3: {not json", LogLine("gpu3", "{not json"), id="broken JSON"),
    pytest.param('gpu3: {"event":"unheard_of","host":"gpu3"}',
                 LogLine("gpu3", '{"event":"unheard_of","host":"gpu3"}'), id="event of another version"),
    pytest.param('gpu3: {"event":"note"}', LogLine("gpu3", '{"event":"note"}'), id="event without its fields"),
    pytest.param("gpu3: 42", LogLine("gpu3", "42"), id="JSON that is no event"),
    pytest.param(f"gpu3: {LINE[:-5]}", LogLine("gpu3", LINE[:-5]), id="event cut short"),
    pytest.param(f"gpu3: {LINE}{LINE}", LogLine("gpu3", LINE + LINE), id="two events run together"),
    pytest.param("Traceback (most recent call last):",
                 LogLine(None, "Traceback (most recent call last):"), id="text with a colon and no label"),
    pytest.param("gpu3: " + "[" * 100_000, LogLine("gpu3", "[" * 100_000), id="deeply nested"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_lines(line: str, expected: object) -> None:
    """An event with or without a label is that event; whatever else is said is a log line of its host."""
    assert parse_line(line) == expected


@given(st.text())
def test_any_text_is_some_line(line: str) -> None:
    """No output of anything breaks the parser, and no character of it is lost."""
    found = parse_line(line)
    if isinstance(found, LogLine):
        label = f"{found.host}: " if found.host is not None else ""
        assert label + found.text == line.rstrip("\n")


@given(st.text(), st.sampled_from(["", "n1: ", "n-1.lan: "]))
def test_event_survives_its_way(reason: str, label: str) -> None:
    """What a supervisor writes is what the launcher reads, whatever text is in it."""
    event = UnitFailed(host="n1", unit=3, rank=0, attempt=1, quarantined=False, reason=reason)
    assume_encodable = reason.encode("utf-8", "surrogatepass").decode("utf-8", "ignore")
    event = msgspec.structs.replace(event, reason=assume_encodable)
    assert parse_line(label + encode(event).decode()) == event


def test_arguments_over_ssh() -> None:
    """-b, -S, all hosts at once, user names in front, and the command as one last word."""
    hosts = [Host(name="a", ranks=1), Host(name="b", ranks=1, user="bob")]
    assert pdsh_argv(hosts, "echo hi", local=False) == [
        *("pdsh", "-b", "-S", "-f", "2", "-R", "ssh", "-w", "a,bob@b", "echo hi")
    ]


def test_arguments_on_this_machine() -> None:
    """Where the host is this machine a shell gets the command."""
    assert pdsh_argv([Host(name="localhost", ranks=1)], "echo hi", local=True) == [
        *("pdsh", "-b", "-S", "-f", "1", "-R", "exec", "-w", "localhost", "sh", "-c", "echo hi")
    ]


def test_forty_hosts_start_at_once() -> None:
    """The fan-out is the number of hosts: pdsh's own 32 would leave the others waiting for the end."""
    hosts = [Host(name=f"n{number}", ranks=1) for number in range(40)]
    argv = pdsh_argv(hosts, "true", local=False)
    assert argv[argv.index("-f") + 1] == "40"


@pytest.mark.parametrize(
    ("python", "word"),
    [
        ("~/.shardfleet/venv/bin/python", "~/.shardfleet/venv/bin/python"),
        ("/opt/my venv/bin/python", "'/opt/my venv/bin/python'"),
        ("/opt/100%/python", "/opt/100%%/python"),
        ("/opt/%h/python", "/opt/%%h/python"),
        ("/opt/$(id)/python", "'/opt/$(id)/python'"),
    ],
)
def test_command_for_all_hosts(python: str, word: str) -> None:
    """One command with the run's cookie; the interpreter quoted once and its % doubled, only our own %h left."""
    plan = plan_of()
    run = plan.run_id
    assert pdsh_command(plan, python) == (
        f"exec env SHARDFLEET_JOB={run} SHARDFLEET_HOST=%h {word} -m shard run --job ~/.shardfleet/runs/{run}/%h"
    )


def test_command_for_one_host() -> None:
    """Without pdsh the command has the host's name, and a % is a %."""
    plan = plan_of()
    run = plan.run_id
    assert supervisor_command(plan, "/opt/%h/python", "localhost") == (
        f"exec env SHARDFLEET_JOB={run} SHARDFLEET_HOST=localhost "
        f"/opt/%h/python -m shard run --job ~/.shardfleet/runs/{run}/localhost"
    )


def test_interpreter_that_env_cannot_start() -> None:
    """env would take an interpreter with '=' in its path for a variable: refused, with the path named."""
    with pytest.raises(InputError, match=r"'/opt/a=b/python'"):
        pdsh_command(plan_of(), "/opt/a=b/python")
