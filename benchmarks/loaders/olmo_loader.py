"""OLMo-core's fixed-length dataset and data loader; its state holds the batches done."""

import itertools
from collections.abc import Iterator

from olmo_core.data import NumpyDataLoaderConfig, NumpyFSLDatasetConfig, TokenizerConfig
from protocol import SEED, Arguments, run

EOD = 50256


def batches(given: Arguments, done: int) -> Iterator[int]:
    dataset = NumpyFSLDatasetConfig(
        paths=sorted(str(path) for path in (given.data / "train").glob("*.npy")),
        sequence_length=given.context_length,
        tokenizer=TokenizerConfig(vocab_size=EOD + 1, eos_token_id=EOD, pad_token_id=EOD),
        work_dir=str(given.scratch / "work"),
    ).build()
    tokens = given.batch_size * given.context_length
    loader = NumpyDataLoaderConfig(global_batch_size=tokens, seed=SEED, work_dir=str(given.scratch / "work")).build(
        dataset
    )
    if done:
        state = loader.state_dict() | {"batches_processed": done, "tokens_processed": done * tokens, "epoch": 1}
        loader.load_state_dict(state)
    for epoch in itertools.count(1):
        loader.reshuffle(epoch)
        # Labels are made from the inputs, by the trainer.
        for batch in loader:
            yield batch["input_ids"].numel()
        loader.reset()


if __name__ == "__main__":
    run(batches)
