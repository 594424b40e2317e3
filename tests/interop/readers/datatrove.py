"""datatrove's folder dataset: windows of 129 tokens of every file."""

import sys
from pathlib import Path

import numpy as np
from datatrove.utils.dataset import DatatroveFolderDataset

dataset = DatatroveFolderDataset(
    str(Path(sys.argv[1]) / "train"), seq_len=128, filename_pattern="*.ds", token_size=2, shuffle=False
)
windows = [np.asarray(dataset[i]["input_ids"]) for i in range(len(dataset))]
np.savez(sys.argv[2], tokens=np.concatenate(windows), lengths=[len(window) for window in windows], same=True)
