"""Stages that overlap: an iterable that is run ahead, in a thread, through a bounded queue."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    """The last thing in the queue: how the iterable ended."""

    error: BaseException | None


class RunAhead(Generic[T]):
    """Iterates `items`, computed in a thread up to `depth` ahead of the consumer.

    An error of the iterable is raised in the consumer, in its place.
    """

    def __init__(self, items: Iterable[T], *, depth: int) -> None:
        self._items = items
        self._waiting: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._room = threading.Semaphore(depth)
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="run-ahead", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                self._room.acquire()
                if self._stopped:
                    break
                self._waiting.put(item)
        except BaseException as caught:  # noqa: BLE001  raised again in the consumer
            error = caught
        self._waiting.put(_End(error))

    def __iter__(self) -> Iterator[T]:
        while not isinstance(item := self._waiting.get(), _End):
            self._room.release()
            yield item
        if item.error is not None:
            raise item.error

    def stop(self) -> None:
        """Ask the thread to end at its next item, and end whoever waits for one."""
        self._stopped = True
        self._room.release()
        self._waiting.put(_End(None))

    def join(self) -> None:
        self._thread.join()


@contextmanager
def stages(*chain: RunAhead[Any], interrupt: Callable[[], None] | None = None) -> Iterator[None]:
    """On leaving, stop a chain of stages and wait until none of them touches its source any more.

    `interrupt` makes the source end what a stage may wait for within an item.
    """
    try:
        yield
    finally:
        for stage in chain:
            stage.stop()
        if interrupt is not None:
            interrupt()
        for stage in chain:
            stage.join()
