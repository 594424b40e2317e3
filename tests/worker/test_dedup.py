"""shard/dedup on directories: planted copies go, everything else stays, whatever the order, the processes, or a kill."""

from pathlib import Path

import numpy as np
import pytest

from shard.dedup.run import deduplicate, open_pair
from shard.dedup.settings import Settings
from shard.job import Holdout
from shard.tokenizer.load import load_reference
from shard.verify.stores import verify
from tests.support.jobs import make_job, rank_spec, write_corpus
from tests.support.text import real_documents
from tests.support.worker import write_all

def test_try(tmp_path: Path, rank_directory: Path) -> None:
    docs = real_documents(300)
    write_corpus(tmp_path / "c", docs + docs[:50] + ["a b", "a b", "A  b ", ""], files=3)
    job = make_job(tmp_path / "c", tmp_path / "s", tokenizer=rank_spec(), holdout=Holdout(rate=0.2))
    write_all(job, rank_directory)
    pair = open_pair([tmp_path / "s" / "train", tmp_path / "s" / "holdout"])
    for n in (1,2):
        found = deduplicate(pair, load_reference(job.tokenizer, rank_directory), Settings(), tmp_path / f"work{n}", processes=n)
        print(found.duplicates)
        assert found.duplicates.exact == 52
        w = found.write({"train": tmp_path / f"o{n}", "holdout": tmp_path / f"oh{n}"}, n)
        print(w)
        r = verify([tmp_path / f"o{n}"])
        assert r.ok and r.coverage.complete, r
