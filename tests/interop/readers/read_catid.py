"""catid's DataLoader; its DataVerifier, on the files as they are and with a flipped bit; and several local ranks."""

import shutil
from collections.abc import Iterator, Sequence

import numpy as np
from catid_dataloader import DataLoader, DataVerifier, EpochConfig
from harness import Request, main

_ROWS = 4
_RANKS = 4


def rows_of(request: Request, length: int, rank: int = 0, ranks: int = 1) -> Iterator[tuple[np.ndarray, bool]]:
    """Rows, padding left out, and whether a row goes on with the document at the end of the same row before."""
    config = EpochConfig()
    config.local_rank, config.local_rank_count = rank, ranks
    config.micro_batch_size, config.context_size, config.min_data_length = _ROWS, length, 1
    loader = DataLoader(str(request.directory))
    loader.begin_epoch(config)

    def batches() -> Iterator[tuple[np.ndarray, bool]]:
        while True:
            rows, continued, *_ = loader.get_micro_batch()
            if rows is None:
                return
            yield from zip(rows, continued, strict=True)

    return batches()


def read(request: Request) -> Iterator[np.ndarray]:
    rows = rows_of(request, request.length)
    return (row[row != EpochConfig.padding_token] for row, _ in rows)


def documents(request: Request, rank: int = 0, ranks: int = 1) -> Iterator[bytes]:
    """As bytes of int32. A row is wider than any document here, so none is cut."""
    for row, continued in rows_of(request, 1 << 20, rank, ranks):
        assert not continued
        for piece in np.split(row, np.flatnonzero(row == EpochConfig.padding_token)):
            if len(tokens := piece[piece != EpochConfig.padding_token]):
                yield tokens.astype("<i4").tobytes()


def collect(request: Request) -> list[np.ndarray]:
    return [np.frombuffer(document, dtype="<i4") for document in documents(request)]


def check(request: Request, samples: Sequence[np.ndarray]) -> dict[str, bool]:
    whole = sorted(sample.tobytes() for sample in samples)
    shared = sorted(document for rank in range(_RANKS) for document in documents(request, rank, _RANKS))
    damaged = request.scratch / "damaged"
    shutil.copytree(request.directory, damaged)
    data = bytearray((damaged / "data_0.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / "data_0.bin").write_bytes(data)
    return {
        f"{_RANKS} local ranks share them": shared == whole,
        "DataVerifier finds the files right": DataVerifier.verify(str(request.directory)),
        "DataVerifier finds a flipped bit": not DataVerifier.verify(str(damaged)),
    }


main("catid_dataloader", read, check, collect)
