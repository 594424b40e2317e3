"""One walk over a loader's batches: in a thread or not, ended by either side."""

from collections.abc import Callable, Iterator

from shard.errors import LoaderError
from shard.loader.batch import Batch
from shard.loader.prefetch import Prefetched


class Iteration:
    """Batches as they are taken; tells which was, and when there are no more."""

    def __init__(
        self, batches: Iterator[Batch], ahead: int, yielded: Callable[[Batch], None], ended: Callable[[], None]
    ) -> None:
        self._prefetched = Prefetched(batches, ahead) if ahead else None
        self._batches: Iterator[Batch] = self._prefetched or batches
        self._yielded, self._ended = yielded, ended
        self._abandoned = False

    def __iter__(self) -> "Iteration":
        return self

    def __next__(self) -> Batch:
        if self._abandoned:
            raise LoaderError("the loader was closed, moved or iterated again since: iterate anew")
        try:
            batch = next(self._batches)
        except StopIteration:
            self._ended()
            raise
        self._yielded(batch)
        return batch

    def abandon(self) -> None:
        """End the thread, if there is one."""
        self._abandoned = True
        if self._prefetched is not None:
            self._prefetched.close()
