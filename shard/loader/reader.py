"""All shards of a directory as one row of tokens: reading anywhere in it, and finding the documents there."""

import errno
import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from shard.formats.payload import DTYPES
from shard.loader.index import DocumentIndex
from shard.loader.payload import PayloadReader, open_payload
from shard.storage.stored import Stored, StoredShard

_MOST_FRAMES = 64
"""Compressed shards that are open at a time: each keeps a frame decoded, half a megabyte of two-byte tokens."""


class _Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


class _Opened(Generic[C]):
    """What was used last of many that can be opened; others are closed, as descriptors are few."""

    def __init__(self, opener: Callable[[StoredShard], C], shards: Sequence[StoredShard], most: int) -> None:
        self._opener, self._shards, self._most = opener, shards, most
        self._opened: OrderedDict[int, C] = OrderedDict()

    def get(self, number: int) -> C:
        found = self._opened.get(number)
        if found is not None:
            self._opened.move_to_end(number)
            return found
        if len(self._opened) >= self._most:
            self._opened.popitem(last=False)[1].close()
        try:
            found = self._opener(self._shards[number])
        except OSError as error:
            if error.errno != errno.EMFILE or not self._opened:
                raise
            self.close()  # others of this process need many, too
            found = self._opener(self._shards[number])
        self._opened[number] = found
        return found

    def close(self) -> None:
        while self._opened:
            self._opened.popitem()[1].close()


@dataclass(frozen=True, slots=True)
class Found:
    """Documents of some ranges of tokens."""

    ranges: NDArray[np.int64]
    """[found] which range."""
    begins: NDArray[np.int64]
    """[found] where a document begins, relative to the range: from 1 to its length. Equal ones are of documents
    without tokens. Of one range they need not be in a row."""
    within: NDArray[np.bool_]
    """[ranges] whether it begins within a document."""


@dataclass(frozen=True, slots=True)
class Place:
    """A shard, and a token in it."""

    shard: int
    token: int


class Reader:
    """Tokens and documents by their numbers in the whole directory. One thread at a time is in it; others wait."""

    def __init__(self, stored: Stored) -> None:
        self.shards = stored.shards
        # [shards + 1] int64: tokens and documents before each, and all
        self.token_starts = _before([shard.record.tokens for shard in stored.shards])
        self.document_starts = _before([shard.record.documents for shard in stored.shards])
        self._in_frames = any(shard.codec is not None for shard in stored.shards)
        self._itemsize = DTYPES[stored.record.dtype].itemsize
        self._prepare()

    def _prepare(self) -> None:
        most = max(8, min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))
        payloads = min(most, _MOST_FRAMES) if self._in_frames else most
        self._payloads: _Opened[PayloadReader] = _Opened(open_payload, self.shards, payloads)
        self._indexes: _Opened[DocumentIndex] = _Opened(DocumentIndex, self.shards, most)
        self._lock = threading.RLock()
        self._process = os.getpid()

    @property
    def lock(self) -> threading.RLock:
        """Held by whoever is in the reader; a lock of its own in a forked process."""
        if self._process != os.getpid():
            # Another thread of the parent may have held the lock when it forked. Its descriptors are good here, too,
            # but not worth keeping.
            self._prepare()
        return self._lock

    def shards_of(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """[n] the shard that holds each token."""
        return np.searchsorted(self.token_starts, starts, side="right") - 1

    def place_of(self, token: int) -> Place:
        """Where a token lies."""
        shard = int(np.searchsorted(self.token_starts, token, side="right")) - 1
        return Place(shard, token - int(self.token_starts[shard]))

    def read(self, starts: NDArray[np.int64], outs: Sequence[NDArray[Any]]) -> None:
        """Fill each of `outs`, [n] of the payload's dtype, from its start on. Raises ShardChangedError."""
        if self._in_frames:
            order = np.argsort(starts)  # each frame is decoded once
            starts, outs = starts[order], [outs[number] for number in order.tolist()]
        shards = self.shards_of(starts)
        places = (starts - self.token_starts[shards]).tolist()
        ends = self.token_starts[1:][shards].tolist()
        with self.lock:
            for shard, place, start, end, out in zip(shards.tolist(), places, starts.tolist(), ends, outs, strict=True):
                if start + len(out) > end:
                    self._read_across(start, out)
                    continue
                payload = self._payloads.get(shard)
                payload.check()
                payload.read(place, out)

    def _read_across(self, start: int, out: NDArray[Any]) -> None:
        """A range that goes on in the next shard."""
        done = 0
        while done < len(out):
            place = self.place_of(start + done)
            count = min(len(out) - done, int(self.token_starts[place.shard + 1]) - start - done)
            payload = self._payloads.get(place.shard)
            payload.check()
            payload.read(place.token, out[done : done + count])
            done += count

    def will_need(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Begin to bring these ranges into memory, as far as their first shard goes."""
        shards = self.shards_of(starts)
        places = (starts - self.token_starts[shards]).tolist()
        with self.lock:
            for shard, place, length in zip(shards.tolist(), places, lengths.tolist(), strict=True):
                self._payloads.get(shard).will_need(place, length)

    def find(self, starts: NDArray[np.int64], length: int) -> Found:
        """The documents of ranges of this length. Raises ShardChangedError."""
        shards = self.shards_of(starts)
        places = ((starts - self.token_starts[shards]) * self._itemsize).tolist()
        ends = self.token_starts[1:][shards]
        size = length * self._itemsize
        within, begins = [], []
        with self.lock:
            indexes = {int(shard): self._indexes.get(shard) for shard in np.unique(shards).tolist()}
            for index in indexes.values():
                index.check()
            # A range that goes on in another shard is looked at as far as its own goes.
            for shard, place in zip(shards.tolist(), places, strict=True):
                inside, view = indexes[shard].find(place, place + size)
                within.append(inside)
                begins.append(view)
            # [found] bytes of the payload
            joined = np.concatenate(begins)
        counts = np.fromiter(map(len, begins), dtype=np.int64, count=len(begins))
        ranges = np.repeat(np.arange(len(begins)), counts)
        found = Found(ranges, (joined - np.repeat(places, counts)) // self._itemsize, np.array(within))
        across = np.flatnonzero(starts + length >= ends)
        return found if not len(across) else self._with_rest(found, across, starts, length)

    def _with_rest(self, found: Found, across: NDArray[np.int64], starts: NDArray[np.int64], length: int) -> Found:
        """With what ranges hold beyond their first shard, where a document always begins."""
        ranges, begins = [found.ranges], [found.begins]
        for number in across.tolist():
            start = int(starts[number])
            stop = start + length
            at = self.place_of(start).shard + 1
            while at <= len(self.shards) and (first := int(self.token_starts[at])) <= stop:
                more = np.array([first - start])
                if at < len(self.shards) and self.shards[at].record.tokens and first < stop:
                    with self.lock:
                        index = self._indexes.get(at)
                        index.check()
                        more = np.append(
                            more, index.find(0, (stop - first) * self._itemsize)[1] // self._itemsize + more
                        )
                ranges.append(np.full(len(more), number))
                begins.append(more)
                at += 1
        return Found(np.concatenate(ranges), np.concatenate(begins), found.within)

    def token_of(self, document: int) -> int:
        """The token with which a document begins; for the number of documents, the number of tokens."""
        if document == self.document_starts[-1]:
            return int(self.token_starts[-1])
        shard = int(np.searchsorted(self.document_starts, document, side="right")) - 1
        with self.lock:
            inside = self._indexes.get(shard).start_of(document - int(self.document_starts[shard]))
        return int(self.token_starts[shard]) + inside

    def with_index(self, shard: int) -> DocumentIndex:
        """The index of a shard; the caller holds the lock."""
        return self._indexes.get(shard)

    def close(self) -> None:
        with self.lock:
            self._payloads.close()
            self._indexes.close()


def _before(counts: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
