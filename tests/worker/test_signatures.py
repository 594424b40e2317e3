"""`launch --signatures`: keys and signatures of a unit, made while its text streams by, and used by dedup."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from shard.concat import concatenate
from shard.dedup.run import deduplicate, open_pair
from shard.errors import TokenizerError, VerificationError
from shard.formats.signatures import scheme_at, signatures_size
from shard.records.dedup import Scheme, Scope, Settings
from shard.records.job import Holdout, Job
from shard.records.shards import ShardRecord
from shard.signatures.rows import mapped_rows, rows_of
from shard.signatures.signing import sign_shard
from shard.signatures.text import token_bytes_of
from shard.storage.sidecars import complete_unit
from shard.storage.store import directories_of
from shard.storage.stored import StoredShard, open_stored
from shard.tokenizer.load import load_reference
from shard.tokenizer.raw_bytes import ByteReference
from shard.verify.stores import verify
from tests.support.batches import text_batch_of
from tests.support.copies import planted
from tests.support.jobs import compressed_job, make_job, model_spec, write_corpus, write_job
from tests.support.plans import tree_of
from tests.support.supervisors import supervising
from tests.support.text import real_documents, train_small_model
from tests.support.worker import write_all

SCHEME = Scheme()


def signing(job: Job, scheme: Scheme | None = SCHEME) -> Job:
    return replace(job, options=replace(job.options, signatures=scheme))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents with planted copies, in three files."""
    documents = planted(real_documents(150), 20).documents
    return write_corpus(tmp_path_factory.mktemp("corpus"), documents, files=3)


@pytest.fixture(scope="module")
def signed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three units with signatures; `train` and `holdout` below the directory."""
    root = tmp_path_factory.mktemp("signed")
    write_all(signing(make_job(corpus, root, holdout=Holdout(rate=0.2))))
    return root


def test_rows_are_those_of_the_documents(signed: Path) -> None:
    """Row by row a file of signatures is of the documents of its shard, on either side of the holdout."""
    seen = 0
    for split in ("train", "holdout"):
        for shard in open_stored(signed / split).shards:
            path = shard.directory / f"{shard.stem}.sig"
            assert scheme_at(path) == SCHEME
            assert path.stat().st_size == signatures_size(SCHEME, shard.record.documents)
            texts = [
                block.tokens[start : end - 1].astype(np.uint8).tobytes().decode()
                for block in shard.blocks()
                for start, end in zip(block.offsets[:-1], block.offsets[1:], strict=True)
            ]
            expected = rows_of(text_batch_of(texts), SCHEME)
            assert mapped_rows(path, SCHEME, shard.record.documents).tobytes() == expected.tobytes()
            seen += len(texts)
    assert seen == 190 + 20


def test_dedup_uses_them(signed: Path, corpus: Path, tmp_path: Path) -> None:
    """Removal lists are those of directories without signatures, and none is made again."""
    plain = tmp_path / "plain"
    write_all(make_job(corpus, plain, holdout=Holdout(rate=0.2)))
    lists = []
    for root, work in ((signed, tmp_path / "with"), (plain, tmp_path / "without")):
        pair = open_pair([root / "train", root / "holdout"])
        found = deduplicate(pair, ByteReference(), Settings(), work)
        assert len(found.duplicates.removed) >= 20
        lists.append(tree_of(work / "removed"))
    assert lists[0] == lists[1]
    assert tree_of(tmp_path / "with" / "signatures") == {}
    pair = open_pair([signed / "train", signed / "holdout"])
    other = Settings(scheme=Scheme(seed=7))
    deduplicate(pair, ByteReference(), other, tmp_path / "seven")
    assert len(tree_of(tmp_path / "seven" / "signatures")) == 12


def test_any_serve_for_exact_copies(signed: Path, corpus: Path, tmp_path: Path) -> None:
    """Exact copies are found by signatures of any scheme, those that have keys alone included; nothing else is."""
    pair = open_pair([signed / "train", signed / "holdout"])
    exact = Settings(scheme=Scheme(kind="exact", seed=7))
    removed = deduplicate(pair, ByteReference(), exact, tmp_path / "work").duplicates
    assert len(removed.removed) == removed.exact >= 20 and tree_of(tmp_path / "work" / "signatures") == {}
    write_all(signing(make_job(corpus, tmp_path, holdout=Holdout(rate=0.2)), Scheme(kind="exact")))
    bare = open_pair([tmp_path / "train", tmp_path / "holdout"])
    assert np.array_equal(
        deduplicate(bare, ByteReference(), exact, tmp_path / "work").duplicates.removed, removed.removed
    )
    assert tree_of(tmp_path / "work" / "signatures") == {}
    deduplicate(bare, ByteReference(), Settings(), tmp_path / "work")
    assert len(tree_of(tmp_path / "work" / "signatures")) == 12


def test_another_scheme_replaces_them(signed: Path, corpus: Path, tmp_path: Path) -> None:
    """Asked for signatures by another scheme, ranks make those of committed units, and tokenize nothing again."""
    shutil.copytree(signed, tmp_path / "out")
    other = Scheme(seed=7)
    job = signing(make_job(corpus, tmp_path / "out", holdout=Holdout(rate=0.2)), other)
    payloads = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.bin")}
    with supervising(write_job(job, tmp_path / "job")) as supervisor:
        done = supervisor.end()
    assert done is not None and done.outcome == "complete"
    assert {path: path.stat().st_mtime_ns for path in payloads} == payloads
    write_all(replace(signing(make_job(corpus, tmp_path / "fresh", holdout=Holdout(rate=0.2)), other)))
    for path in (tmp_path / "fresh").rglob("*.sig"):
        assert (tmp_path / "out" / path.relative_to(tmp_path / "fresh")).read_bytes() == path.read_bytes()
    report = verify([tmp_path / "out" / "train", tmp_path / "out" / "holdout"])
    assert report.ok and not report.findings


def test_replacing_them_may_be_cut_short(signed: Path, corpus: Path, tmp_path: Path) -> None:
    """Killed between the file and its record, signatures by another scheme are made again, not taken for damaged."""
    shutil.copytree(signed, tmp_path, dirs_exist_ok=True)
    other = signing(make_job(corpus, tmp_path, holdout=Holdout(rate=0.2)), Scheme(seed=7))
    unit, directories = other.units[0], directories_of(other)

    def killed(directory: Path, stem: str, record: ShardRecord) -> str:
        """Writes the file, and does not live to write the record."""
        sign(directory, stem, record)
        raise InterruptedError

    def sign(directory: Path, stem: str, record: ShardRecord) -> str:
        table = token_bytes_of(ByteReference(), 257, (0, 1))
        shard = StoredShard(directory, stem, record, "uint16", None)
        return sign_shard(shard, table, Scheme(seed=7), directory / f"{stem}.sig")

    with pytest.raises(InterruptedError):
        complete_unit(other, directories, unit, killed)
    assert complete_unit(other, directories, unit, sign) is not None
    report = verify([tmp_path / "train", tmp_path / "holdout"])
    assert report.ok and not report.findings


def test_cut_short_they_are_made_again(signed: Path, tmp_path: Path) -> None:
    """Signatures that are not of their size count as none: on one machine others are made beside the directories."""
    shutil.copytree(signed, tmp_path / "out")
    path = tmp_path / "out" / "train" / "000001.sig"
    path.write_bytes(path.read_bytes()[:-80])
    pair = open_pair([tmp_path / "out" / "train", tmp_path / "out" / "holdout"])
    found = deduplicate(pair, ByteReference(), Settings(), tmp_path / "work")
    assert len(found.duplicates.removed) >= 20
    assert sorted(tree_of(tmp_path / "work" / "signatures")) == ["000001.train.json", "000001.train.sig"]


def test_tokenizers_that_change_the_text(corpus: Path, tmp_path: Path) -> None:
    """Signatures made while the text streams by are all that is needed, also of shards without a document; without them
    a text that cannot be had back is refused, and what to do is said."""
    train_small_model(tmp_path / "nfkc.model", vocab_size=600, normalization_rule_name="nmt_nfkc")
    job = make_job(corpus, tmp_path, tokenizer=model_spec(tmp_path / "nfkc.model"), holdout=Holdout(rate=0.01))
    write_all(signing(job), tmp_path)
    pair = open_pair([tmp_path / "train", tmp_path / "holdout"])
    assert {shard.record.documents > 0 for shard in pair["holdout"].shards} == {True, False}
    reference = load_reference(job.tokenizer, tmp_path)
    assert len(deduplicate(pair, reference, Settings(), tmp_path / "work").duplicates.removed) >= 20
    with pytest.raises(TokenizerError, match=r"cannot be had back: .* launch with --signatures"):
        deduplicate(pair, reference, Settings(scheme=Scheme(seed=7)), tmp_path / "work")


def test_nothing_else_changes(signed: Path, corpus: Path, tmp_path: Path) -> None:
    """Payloads, indexes and fingerprint are those of a run without signatures."""
    write_all(make_job(corpus, tmp_path, holdout=Holdout(rate=0.2)))
    for path in [*tmp_path.rglob("*.bin"), *tmp_path.rglob("*.idx"), *tmp_path.rglob("dataset.json")]:
        assert (signed / path.relative_to(tmp_path)).read_bytes() == path.read_bytes()


def test_compressed_shards_have_them_too(corpus: Path, tmp_path: Path) -> None:
    """Signatures are of the text, whatever becomes of the tokens: at once, or had back from compressed ones."""
    at_once = signing(compressed_job(corpus, tmp_path / "at-once", tmp_path / "ranks"))
    write_all(at_once, tmp_path / "ranks")
    after = compressed_job(corpus, tmp_path / "after", tmp_path / "ranks")
    write_all(after, tmp_path / "ranks")
    directory = write_job(signing(after), tmp_path / "job")
    for path in (tmp_path / "ranks").iterdir():
        shutil.copy(path, directory)
    with supervising(directory) as supervisor:
        done = supervisor.end()
    assert done is not None and done.outcome == "complete", done
    made = sorted((tmp_path / "at-once").rglob("*.sig"))
    assert len(made) >= 3
    for path in made:
        assert (tmp_path / "after" / path.relative_to(tmp_path / "at-once")).read_bytes() == path.read_bytes()


@pytest.fixture(scope="module")
def joined(signed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those units, and behind them two with some of their documents, twice each."""
    root = tmp_path_factory.mktemp("joined")
    documents = planted(real_documents(150), 20).documents[:30]
    corpus = write_corpus(root / "corpus", [*documents, *documents], files=2)
    write_all(signing(make_job(corpus, root / "other", holdout=Holdout(rate=0.2))))
    for split in ("train", "holdout"):
        concatenate([signed / split, root / "other" / split], root / split)
    return root


def test_joined_directories_keep_them(joined: Path, signed: Path, tmp_path: Path) -> None:
    """concat carries signatures along, and refuses damaged ones."""
    assert [path.name for path in sorted((joined / "train").glob("*.sig"))] == [f"00000{unit}.sig" for unit in range(5)]
    assert verify([joined / "train", joined / "holdout"]).findings == []
    shutil.copytree(signed / "train", tmp_path / "damaged")
    path = tmp_path / "damaged" / "000001.sig"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(VerificationError, match=r"000001\.sig: these are not the bytes"):
        concatenate([tmp_path / "damaged", joined / "other" / "train"], tmp_path / "none")
    assert str(path) in [finding.file for finding in verify([tmp_path / "damaged"]).findings]


def test_scopes(joined: Path, signed: Path, tmp_path: Path) -> None:
    """Copies across two datasets go with one scope, those within each alone with another, and none with the third."""

    def removed(root: Path, scope: Scope) -> int:
        pair = open_pair([root / "train", root / "holdout"])
        found = deduplicate(pair, ByteReference(), Settings(scope=scope), tmp_path / f"{root.name}-{scope}")
        return len(found.duplicates.removed)

    alone = removed(signed, "global")
    assert removed(signed, "source") == alone > 0  # one dataset
    within_other = removed(joined / "other", "global")
    assert within_other >= 30
    assert removed(joined, "global") == alone + 60
    assert removed(joined, "source") == alone + within_other
    assert removed(joined, "none") == 0


def test_nothing_is_made_where_nothing_is_compared(signed: Path, tmp_path: Path) -> None:
    """With scope none no signatures are made, though those there are of another scheme."""
    pair = open_pair([signed / "train", signed / "holdout"])
    settings = Settings(scheme=Scheme(seed=9), scope="none")
    assert len(deduplicate(pair, ByteReference(), settings, tmp_path).duplicates.removed) == 0
    assert tree_of(tmp_path / "signatures") == {} and len(tree_of(tmp_path / "removed")) == 6
