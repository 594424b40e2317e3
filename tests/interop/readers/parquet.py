"""`datasets`: every row."""

import sys
from pathlib import Path

import numpy as np
from datasets import load_dataset

files = sorted(str(path) for path in (Path(sys.argv[1]) / "train").glob("*.parquet"))
rows = load_dataset("parquet", data_files=files, split="train", cache_dir=f"{sys.argv[2]}.cache")["input_ids"][:]
np.savez(sys.argv[2], tokens=np.concatenate(rows), lengths=[len(row) for row in rows], same=True)
