"""Megatron's newest way: JSON lines through gigatoken as one awkward array, end of document appended, added at once.

gigatoken reads and encodes the whole file with threads; the array, with a column of end-of-document ids joined to it,
is written by megatron-core's builder: the ids in one piece, the lengths as an array.
"""

import awkward as ak
import numpy as np
from gigatoken import JsonlFileSource, Tokenizer
from interface import EOD_ID, arguments
from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder


def add_documents(builder: IndexedDatasetBuilder, documents: ak.Array) -> None:
    """All documents of an awkward array in one write."""
    lengths = ak.to_numpy(ak.num(documents, axis=1))
    first = len(builder.sequence_lengths)
    builder.data_file.write(ak.to_numpy(ak.flatten(documents, axis=1)).astype(builder.dtype).tobytes())
    builder.sequence_lengths.extend(lengths)
    builder.document_indices.extend(range(first + 1, first + len(lengths) + 1))


def main() -> None:
    given = arguments()
    tokenizer = Tokenizer(given.tokenizer)
    prefix = given.output / "text_document"
    builder = IndexedDatasetBuilder(str(prefix.with_suffix(".bin")), dtype=DType.optimal_dtype(tokenizer.vocab_size))
    documents = tokenizer.encode_files(JsonlFileSource(given.inputs, "text"), parallel=given.workers > 1)
    eod = ak.singletons(ak.Array(np.full(len(documents), EOD_ID, dtype=np.uint32)))
    add_documents(builder, ak.concatenate([documents, eod], axis=1))
    builder.finalize(str(prefix.with_suffix(".idx")))


if __name__ == "__main__":
    main()
