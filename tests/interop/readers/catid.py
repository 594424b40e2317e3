"""catid's DataLoader, one row for everything; its DataVerifier, on the files as they are and with a flipped bit."""

import sys
from pathlib import Path

import numpy as np
from catid_dataloader import DataLoader, DataVerifier, EpochConfig

directory, answer = Path(sys.argv[1]) / "train", sys.argv[2]
right = DataVerifier.verify(str(directory))
config = EpochConfig()
config.micro_batch_size, config.context_size, config.min_data_length = 1, 1 << 22, 1
loader = DataLoader(str(directory))
loader.begin_epoch(config)
spans = []
while (batch := loader.get_micro_batch()[0]) is not None:
    for row in batch:
        ends = np.flatnonzero(np.append(row, config.padding_token) == config.padding_token)
        starts = np.insert(ends[:-1] + 1, 0, 0)
        spans += [row[start:end].copy() for start, end in zip(starts, ends, strict=True) if end > start]
file = directory / "data_0.bin"
data = bytearray(file.read_bytes())
data[len(data) // 2] ^= 1
file.write_bytes(data)
wrong = DataVerifier.verify(str(directory))
np.savez(answer, tokens=np.concatenate(spans), lengths=[len(span) for span in spans], same=right and not wrong)
