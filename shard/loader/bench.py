"""How fast a directory is read: what `shardfleet bench-loader` prints."""

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from shard.errors import LoaderError
from shard.loader.dataset import TokenDataset
from shard.loader.loader import DataLoader, Shuffle

SHUFFLES: tuple[str, ...] = get_args(Shuffle)
PACKINGS = ("concat", "bos_aligned", "best_fit", "pad")


@dataclass(frozen=True, kw_only=True)
class LoaderFigures:
    """Of one process with one rank; times in seconds."""

    documents: int
    tokens_held: int
    """By the directory."""
    samples: int
    """Of an epoch."""
    steps: int
    """Of an epoch."""
    first_batch: float
    """From opening the directory to the first batch."""
    resume: float
    """From opening the directory again to the batch in the middle of the epoch, by a state."""
    batches: int
    """In so many seconds:"""
    seconds: float
    tokens: int
    """Inputs of those batches, padding included."""
    peak_bytes: int
    """Resident memory of the process at its highest, mapped indexes included."""

    @property
    def batches_per_second(self) -> float:
        return self.batches / self.seconds

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def measure_loader(
    directory: Path, *, context_length: int, batch_size: int, seconds: float, shuffle: Shuffle, packing: str
) -> LoaderFigures:
    """Read batches of input_ids and labels for so many seconds, one epoch after the other; at least one batch.

    Raises LoaderError, JobError, VerificationError.
    """

    def opened() -> tuple[TokenDataset, DataLoader]:
        dataset = TokenDataset(directory, context_length, packing=packing)
        if len(dataset) < batch_size:
            raise LoaderError(
                f"{directory}: {len(dataset)} samples of {context_length} tokens are no batch of {batch_size}; choose "
                "a smaller --batch-size or --context-length"
            )
        return dataset, DataLoader(dataset, batch_size, shuffle=shuffle)

    began = time.perf_counter()
    dataset, loader = opened()
    with loader:
        next(iter(loader))
        first_batch = time.perf_counter() - began
        steps = len(loader)
        batches, tokens, spent = _read(loader, seconds)
        loader.advance_to(steps // 2)
        state = loader.state_dict()
    began = time.perf_counter()
    _, again = opened()
    with again:
        again.load_state_dict(state)
        next(iter(again))
        resume = time.perf_counter() - began
    return LoaderFigures(
        documents=dataset.documents,
        tokens_held=dataset.tokens,
        samples=len(dataset),
        steps=steps,
        first_batch=first_batch,
        resume=resume,
        batches=batches,
        seconds=spent,
        tokens=tokens,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _read(loader: DataLoader, seconds: float) -> tuple[int, int, float]:
    """(batches, tokens, seconds) until so much time is over, or a little more: whole batches."""
    batches = tokens = 0
    began = now = time.perf_counter()
    while batches == 0 or now - began < seconds:
        for batch in loader:
            tokens += batch.labels.size
            batches += 1
            now = time.perf_counter()
            if now - began >= seconds:
                break
    return batches, tokens, now - began
