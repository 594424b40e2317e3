"""Megatron-Core's GPTDataset over one pair: an epoch of samples, documents shuffled and joined as it trains on them."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
from harness import Request, main
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset


def dataset_of(request: Request) -> GPTDataset:
    (prefix,) = (str(path.with_suffix("")) for path in request.directory.glob("*.idx"))
    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=request.length,
        blend=([prefix], None),
        split="1,0,0",
        path_to_cache=str(request.scratch / "cache"),
        # All that the dataset asks of a tokenizer.
        tokenizer=SimpleNamespace(eod=request.eod, vocab_size=None, unique_identifiers={}),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
    dataset, *_ = BlendedMegatronDatasetBuilder(GPTDataset, [None, None, None], lambda: True, config).build()
    return dataset


def read(request: Request) -> Iterator[object]:
    dataset = dataset_of(request)
    return (dataset[i]["tokens"] for i in range(len(dataset)))


def check(request: Request, samples: Sequence[np.ndarray]) -> dict[str, bool]:
    dataset = dataset_of(request)
    documents = IndexedDataset(dataset.dataset.path_prefix)
    stream = np.concatenate([documents[i] for i in dataset.document_index])
    # The last token of all is nothing but a label.
    count = (len(stream) - 1) // request.length
    expected = {stream[i * request.length : (i + 1) * request.length].astype("<i8").tobytes() for i in range(count)}
    found = {sample.astype("<i8").tobytes() for sample in samples}
    return {
        "samples are windows of the documents in its order": found == expected and len(samples) == count,
        "every document once": sorted(dataset.document_index) == list(range(len(documents))),
    }


main("megatron-core", read, check)
