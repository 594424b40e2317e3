"""OLMo-core's fixed-length dataset: windows of 128 tokens of every file."""

import sys
from pathlib import Path

import numpy as np
from olmo_core.data import NumpyFSLDatasetConfig, TokenizerConfig

directory, answer, eod = Path(sys.argv[1]) / "train", Path(sys.argv[2]), int(sys.argv[3])
dataset = NumpyFSLDatasetConfig(
    paths=[str(path) for path in sorted(directory.glob("*.npy"))],
    sequence_length=128,
    tokenizer=TokenizerConfig(vocab_size=60_000, eos_token_id=eod, pad_token_id=eod),
    work_dir=str(answer.parent / "work"),
).build()
dataset.prepare()
windows = [np.asarray(dataset[i]["input_ids"]) for i in range(len(dataset))]
np.savez(answer, tokens=np.concatenate(windows), lengths=[len(window) for window in windows], same=True)
