"""Units in processes of their own, one for each core: numpy lets go of the interpreter too seldom for threads."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from shard.errors import ShardError
from shard.processes import die_with_parent

A = TypeVar("A")
R = TypeVar("R")


def in_processes(work: Callable[[A], R], items: Iterable[A], processes: int) -> Iterator[R]:
    """Results in the order of the items; the first exception ends all. With one process, in this one.

    Raises ShardError when a process is killed.
    """
    if processes == 1:
        yield from map(work, items)
        return
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
    )
    try:
        yield from pool.map(work, items)
    except BrokenProcessPool as error:
        raise ShardError(
            "a process was killed, by the kernel where memory ran out; start again with fewer --processes: "
            "what is finished is kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(parent: int) -> None:
    die_with_parent(parent)
    # Ctrl+C reaches every process of a terminal: the parent speaks for all.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
