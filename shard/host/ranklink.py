"""What a supervisor and a rank say to each other: JSON lines over a socket pair."""

import os
import socket
import threading

import msgspec

from shard.records.shards import ShardRecord
from shard.records.unit import Unit


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all messages."""


class Ready(Message, frozen=True, kw_only=True, tag="ready"):
    """Rank → supervisor: give me a unit."""

    note: str = ""
    """Something the user should know, once."""


class Take(Message, frozen=True, kw_only=True, tag="take"):
    """Supervisor → rank: do this unit; None: there is nothing more, end."""

    unit: Unit | None
    then: Unit | None = None
    """What will probably be the next: it may be opened, and not be begun."""


class Committed(Message, frozen=True, kw_only=True, tag="committed"):
    """Rank → supervisor: this unit's shards are on disk."""

    unit: int
    train: ShardRecord
    holdout: ShardRecord
    text_bytes: int
    kept: bool = False
    """Whether its tokens were there already, and only sidecars were not."""
    note: str = ""
    """Something the user should know, once."""


class Failed(Message, frozen=True, kw_only=True, tag="failed"):
    """Rank → supervisor: this unit failed."""

    unit: int
    reason: str
    retryable: bool
    fatal: bool
    """No unit on this host can succeed (the disk is full): stop the host."""


class Broken(Message, frozen=True, kw_only=True, tag="broken"):
    """Rank → supervisor: I cannot work at all, and neither could another rank here."""

    reason: str


class Counted(Message, frozen=True, kw_only=True, tag="counted"):
    """Rank → supervisor, every few seconds: sums since this process started."""

    unit: int
    """In work, or -1."""
    documents: int
    tokens: int
    text_bytes: int
    retries: int


FromRank = Ready | Committed | Failed | Broken | Counted

rank_message = msgspec.json.Decoder(FromRank)
_take = msgspec.json.Decoder(Take)


def line_of(message: Message) -> bytes:
    return msgspec.json.encode(message) + b"\n"


class RankEnd:
    """The rank's end of the link. Sending is thread-safe; an error means that the supervisor is gone."""

    def __init__(self, descriptor: int) -> None:
        # Or a process that the rank leaves behind would hide its end from the supervisor.
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)
        self._lines = self._socket.makefile("rb")
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        with self._lock:
            self._socket.sendall(line_of(message))

    def take(self, *, note: str = "") -> Take:
        """Ask for a unit and wait for the answer."""
        self.send(Ready(note=note))
        line = self._lines.readline()
        return _take.decode(line) if line else Take(unit=None)
