"""Batches for a trainer from directories of shards: deterministic, the same on any number of ranks, resumed at once.

    dataset = TokenDataset("~/dataset_shard", context_length=2048)
    loader = DataLoader(dataset, global_batch_size=256, dp_rank=rank, dp_world_size=world_size, seed=1)
    for batch in loader:                    # one epoch; the next loop is the next epoch
        train(batch.input_ids, batch.labels)
        state = loader.state_dict()         # below 1 KB, the same on every rank

What sample stands where is a pure function of (seed, step): the loader's whole state is the number of the next step.
Numpy does the work, no torch is needed; `shard.loader.torch` is for those who have it.
"""

from shard.loader.batch import Batch, BatchOptions
from shard.loader.dataset import TokenDataset
from shard.loader.loader import DataLoader
from shard.loader.locate import Located
from shard.loader.mixture import MixtureDataset, Stage

__all__ = ["Batch", "BatchOptions", "DataLoader", "Located", "MixtureDataset", "Stage", "TokenDataset"]
