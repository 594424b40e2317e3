"""Shards that are local to hosts: equal steps everywhere, from cluster.json."""

import shutil
from pathlib import Path

import pytest

from shard.errors import LoaderError, LoaderStateError
from shard.loader import DataLoader, TokenDataset
from shard.records.job import FORMAT
from shard.records.manifest import (
    MANIFEST_FILE,
    HostShare,
    Manifest,
    Proof,
    encode_manifest,
    equal_samples,
    read_manifest,
)
from shard.storage.stored import open_stored
from tests.support.stores import write_store

CONTEXT = 64
UNITS = {"a": ((0, 1), (3, 4)), "b": ((1, 3), (4, 5))}
RANKS = {"a": 2, "b": 3}


@pytest.fixture
def hosts(tmp_path: Path, store: Path) -> dict[str, Path]:
    """The shards of one directory on two hosts, with the manifest beside them."""
    stored = open_stored(store)
    shares, directories = [], {}
    for name, units in UNITS.items():
        directory = directories[name] = tmp_path / name
        directory.mkdir()
        shutil.copy(store / "dataset.json", directory)
        held = [shard for shard in stored.shards if any(start <= shard.record.unit < end for start, end in units)]
        for shard in held:
            for suffix in ("bin", "idx", "json"):
                shutil.copy(store / f"{shard.stem}.{suffix}", directory)
        shares.append(
            HostShare(
                name=name,
                ranks=RANKS[name],
                first_rank=0,
                output_dir=str(directory),
                holdout_dir="~/holdout",
                store=name,
                known="records",
                units=units,
                documents=sum(shard.record.documents for shard in held),
                tokens=sum(shard.record.tokens for shard in held),
                holdout_documents=0,
                holdout_tokens=0,
            )
        )
    data = encode_manifest(manifest_of(store, shares))
    for directory in directories.values():
        (directory / MANIFEST_FILE).write_bytes(data)
    return directories


def manifest_of(store: Path, shares: list[HostShare]) -> Manifest:
    record = open_stored(store).record
    counts = {"documents": sum(s.documents for s in shares), "holdout_documents": 0}
    return Manifest(
        format=FORMAT,
        version=1,
        fingerprint=record.fingerprint,
        run_id="run",
        dtype=record.dtype,
        tokenizer=record.tokenizer,
        source=record.source,
        holdout=record.holdout,
        tokens=sum(share.tokens for share in shares),
        holdout_tokens=0,
        world_size=sum(share.ranks for share in shares),
        tokens_per_rank=0,
        hosts=tuple(shares),
        proof=Proof(
            units=5, proven=5, rows=0, dropped=0, complete=True, missing=(), twice=(), shards_sha256=None, **counts
        ),
        **counts,
    )


def test_every_host_has_the_same_steps(hosts: dict[str, Path]) -> None:
    """With local ranks, each host's epoch has the number of steps that the poorest one can do, taken from its own
    shards; states of all hosts are the same."""
    manifest = read_manifest(hosts["a"])
    each = equal_samples(manifest, CONTEXT)
    lengths, states = set(), []
    for name, directory in hosts.items():
        ranks = RANKS[name]
        alone = len(TokenDataset(directory, CONTEXT))
        assert alone >= each * ranks
        taken: list[int] = []
        for rank in range(ranks):
            loader = DataLoader(directory, 2 * ranks, context_length=CONTEXT, dp_rank=rank, dp_world_size=ranks)
            taken += [sample for batch in loader for sample in batch.samples.tolist()]
            states.append(loader.state_dict())
            lengths.add(len(loader))
        assert len(taken) == len(set(taken)) == lengths.copy().pop() * 2 * ranks
        assert max(taken) < alone
    assert lengths == {each // 2}
    assert {state["fingerprint"] for state in states} == {states[0]["fingerprint"]}
    assert {(state["epoch"], state["step"]) for state in states} == {(1, each // 2)}


def test_a_whole_directory_is_not_shared(store: Path, hosts: dict[str, Path], tmp_path: Path) -> None:
    """Where the shards are those of no single host, or no other host has any, all of them are taken."""
    whole = tmp_path / "whole"
    shutil.copytree(store, whole)
    shutil.copy(hosts["a"] / MANIFEST_FILE, whole)
    plain = DataLoader(store, 4, context_length=CONTEXT)
    assert len(DataLoader(whole, 4, context_length=CONTEXT)) == len(plain)
    assert DataLoader(whole, 4, context_length=CONTEXT).state_dict() == plain.state_dict()


def test_a_state_of_another_distribution(hosts: dict[str, Path], tmp_path: Path) -> None:
    """A state made on other shards, or from shares of other hosts, is refused."""
    local = DataLoader(hosts["a"], 4, context_length=CONTEXT)
    state = local.state_dict()
    (hosts["a"] / MANIFEST_FILE).unlink()
    with pytest.raises(LoaderStateError, match=r"fingerprint: the state has .*another dataset"):
        DataLoader(hosts["a"], 4, context_length=CONTEXT).load_state_dict(state)


def test_other_packings_need_a_number(hosts: dict[str, Path], tmp_path: Path) -> None:
    """How many packed samples other hosts have is not known here, so a number of steps must be given."""
    dataset = TokenDataset(hosts["b"], CONTEXT, packing="best_fit", cache_dir=tmp_path / "packs")
    with pytest.raises(LoaderError, match="give steps_per_epoch"):
        DataLoader(dataset, 3)
    assert len(list(DataLoader(dataset, 3, steps_per_epoch=5))) == 5


def test_no_manifest(tmp_path: Path, shards: list[list[list[int]]]) -> None:
    """Without a manifest a directory is taken whole."""
    directory = write_store(tmp_path, shards)
    assert len(DataLoader(directory, 1, context_length=CONTEXT)) == len(TokenDataset(directory, CONTEXT))
