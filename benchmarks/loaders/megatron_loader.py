"""Megatron's GPTDataset under torch's DataLoader, with a sampler that begins after what has been consumed.

Its index files are made by the first run and kept, as its --data-cache-path does.
"""

import itertools
from collections.abc import Iterator

from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.tokenizers.text.libraries.null_tokenizer import NullTokenizer
from protocol import SEED, Arguments, run
from torch.utils.data import DataLoader

VOCABULARY = 50256


def batches(given: Arguments, done: int) -> Iterator[int]:
    config = GPTDatasetConfig(
        random_seed=SEED,
        sequence_length=given.context_length,
        blend=([str(given.data / "train_text_document")], None),
        split="1,0,0",
        path_to_cache=str(given.scratch / "indices"),
        tokenizer=NullTokenizer(VOCABULARY),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
    dataset = BlendedMegatronDatasetBuilder(GPTDataset, [None, None, None], lambda: True, config).build()[0]
    rows = given.batch_size
    for _ in itertools.count():
        # Samples are in shuffled order already; the same in every epoch.
        order = ([*range(start, start + rows)] for start in range(done * rows, len(dataset) - rows + 1, rows))
        for batch in DataLoader(dataset, batch_sampler=list(order)):
            yield batch["tokens"].numel()
        done = 0


if __name__ == "__main__":
    run(batches)
