"""A thread that makes things ahead, in order, and never outlives or outwaits who takes them."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class _Channel(Generic[T]):
    """A bounded queue that either side can close; all waiting ends then."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._finished = False
        self._error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Wait for room. False when nobody takes any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._most)
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def finish(self, error: BaseException | None) -> None:
        """Nothing more comes; why, if it was an error."""
        with self._changed:
            self._finished, self._error = True, error
            self._changed.notify_all()

    def get(self) -> T:
        """Wait for the next. Raises StopIteration after the last, or what ended the making."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._finished or bool(self._items))
            if self._items and not self._closed:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None and not self._closed:
                raise self._error
            raise StopIteration

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()


class Prefetched(Generic[T]):
    """An iterator's items, made in a thread, at most `most` of them ahead."""

    def __init__(self, items: Iterator[T], most: int) -> None:
        self._channel: _Channel[T] = _Channel(most)
        self._thread = threading.Thread(
            target=_make, args=(items, self._channel), name="shard-loader-prefetch", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> "Prefetched[T]":
        return self

    def __next__(self) -> T:
        return self._channel.get()

    def close(self) -> None:
        """End the thread; what it makes at the moment is finished first."""
        self._channel.close()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __del__(self) -> None:
        # Nobody takes any more: the thread, which knows the channel only, ends.
        self._channel.close()


def _make(items: Iterator[T], channel: "_Channel[T]") -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not channel.put(item):
                return
    except BaseException as caught:  # noqa: BLE001  whoever waits for the next item is told
        error = caught
    finally:
        channel.finish(error)
