"""shard/formats/payload.py"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shard.formats.payload import payload_of
from tests.support.batches import token_batch_of

DOCUMENTS = st.lists(st.lists(st.integers(0, 2**16 - 1), max_size=20), max_size=20)


FRAMING = st.none() | st.integers(0, 2**16 - 1)


@given(DOCUMENTS, st.sampled_from(["uint16", "uint32"]), FRAMING, FRAMING, st.data())
def test_payload(
    documents: list[list[int]], dtype: str, eod_id: int | None, bos_id: int | None, data: st.DataObject
) -> None:
    """Each side's bytes are its documents' ids in order, each framed by the ids that begin and end one, if any."""
    mask = data.draw(st.lists(st.booleans(), min_size=len(documents), max_size=len(documents)))
    payload = payload_of(token_batch_of(documents), dtype, eod_id, bos_id)
    for side in (True, False):
        expected = b""
        lengths = []
        for document, held in zip(documents, mask, strict=True):
            if held == side:
                before, after = ([] if framing is None else [framing] for framing in (bos_id, eod_id))
                ids = [*before, *document, *after]
                expected += b"".join(i.to_bytes(np.dtype(dtype).itemsize, "little") for i in ids)
                lengths.append(len(ids))
        chosen = np.array(mask, dtype=np.bool_) == side
        assert expected == b"".join(bytes(run.data.cast("B")) for run in payload.runs(chosen))
        assert lengths == payload.lengths(chosen).tolist()


@pytest.mark.parametrize("last", [2**16, 2**31 - 1])
def test_wide_ids(last: int) -> None:
    """Ids past two bytes are whole in uint32."""
    payload = payload_of(token_batch_of([[0, last]]), "uint32", 1)
    assert [0, last, 1] == payload.tokens.tolist()


def test_runs_are_views() -> None:
    """Neighbours on the same side are one run, and nothing is copied."""
    payload = payload_of(token_batch_of([[1], [2], [3], [4]]), "uint16", 0)
    runs = list(payload.runs(np.array([True, True, False, True])))
    assert [run.tolist() for run in runs] == [[1, 0, 2, 0], [4, 0]]
    assert all(np.shares_memory(run, payload.tokens) for run in runs)
