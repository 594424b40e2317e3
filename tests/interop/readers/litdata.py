"""litdata's TokensLoader: blocks of 128 tokens."""

import sys
from pathlib import Path

import numpy as np
from litdata import StreamingDataset, TokensLoader

dataset = StreamingDataset(str(Path(sys.argv[1]) / "train"), item_loader=TokensLoader(block_size=128))
blocks = [np.asarray(dataset[i]) for i in range(len(dataset))]
np.savez(sys.argv[2], tokens=np.concatenate(blocks), lengths=[len(block) for block in blocks], same=True)
