"""MosaicML Streaming's reader; and what its writer makes of the same samples."""

import json
import sys
from pathlib import Path

import numpy as np
from streaming import LocalDataset, MDSWriter

directory, answer = Path(sys.argv[1]) / "train", Path(sys.argv[2])
dataset = LocalDataset(str(directory))
samples = [np.asarray(dataset[i]["tokens"]) for i in range(len(dataset))]
index = json.loads((directory / "index.json").read_text())
encoding = index["shards"][0]["column_encodings"][0]
theirs = answer.with_name("theirs")
with MDSWriter(out=str(theirs), columns={"tokens": encoding}) as writer:
    for sample in samples:
        writer.write({"tokens": sample})
files = ["index.json", *(shard["raw_data"]["basename"] for shard in index["shards"])]
same = all((theirs / name).read_bytes() == (directory / name).read_bytes() for name in files)
np.savez(answer, tokens=np.concatenate(samples), lengths=[len(sample) for sample in samples], same=same)
