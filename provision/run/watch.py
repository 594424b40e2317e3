"""The watcher of a run: reads what the hosts say, keeps it, shows it, and tends the hosts."""

import os
import selectors
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TextIO

from provision.plan.rundir import RunDirectory
from provision.reach.pdsh import LogLine, parse_line
from provision.run.balance import finished
from provision.run.keeper import Keeper, stamped
from provision.run.monitor import ClusterState
from provision.run.push import pack
from provision.run.shows import Style, show_as
from provision.run.tend import Tender
from shard.records.progress import AnyEvent

_TURN_SECONDS = 0.5
_LAST_WORDS_SECONDS = 5.0
"""How long hosts that have ended may take to hang up."""
_READ_BYTES = 1 << 16
_GATHER_SECONDS = 0.05
"""Between two reads while little comes: hundreds of hosts would wake the watcher for every line."""
_LITTLE_BYTES = 1 << 13


def watch(run: RunDirectory, descriptor: int, output: TextIO, style: Style, *, parent: int) -> None:
    """Fold lines from `descriptor` until all its writers are gone, or there is nothing left that they could do.

    Or the process `parent`, the script, is gone: hosts that were started again from here must not keep the run alive.
    """
    package = pack(run)
    run.token.unlink(missing_ok=True)
    plan = package.plan
    began = now = time.monotonic()
    drawn = turned = began
    over_since: float | None = None
    with ExitStack() as stack:
        show = show_as(style, output, stack)

        def tell(text: str) -> None:
            line = LogLine(None, text)
            state.apply(line, now)
            show.line(state, stamped(line))

        state = ClusterState(plan)
        keeper = Keeper(run, plan.fingerprint, tell, stack)
        state = ClusterState(plan, keeper.ledger)
        state.begin(began)
        keeper.start(plan.run_id)
        tender = Tender(run, state, package, descriptor)
        stack.callback(tender.close)

        def take(events: Iterable[AnyEvent | LogLine]) -> None:
            for event in events:
                state.apply(event, now)
                keeper.commit(event, state)
                show.line(state, keeper.keep(event))

        for line in lines(descriptor):
            now = time.monotonic()
            if line is not None:
                take([parse_line(line)])
            if now - turned >= _TURN_SECONDS:
                turned = now
                if os.getppid() != parent:
                    break
                take(tender.step(now))
                if run.stopped.exists():
                    tender.close()
                over_since = (over_since or now) if finished(state, tender.busy, stopping=tender.stopping) else None
                if over_since is not None and (state.waiting or now - over_since > _LAST_WORDS_SECONDS):
                    break
            if now - drawn >= show.every:
                drawn = now
                show.draw(state, now - began)
        show.draw(state, time.monotonic() - began)


def lines(descriptor: int) -> Iterator[str | None]:
    """Lines as they come; None when a while has passed without one."""
    os.set_blocking(descriptor, False)
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(_TURN_SECONDS):
                yield None
                continue
            data = os.read(descriptor, _READ_BYTES)
            *whole, pending = (pending + data).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
            if not data:
                if pending:
                    yield pending.decode(errors="replace")
                return
            if len(data) < _LITTLE_BYTES:
                time.sleep(_GATHER_SECONDS)
