"""What goes wrong is said clearly, and nothing hangs: every test has a watchdog."""

import gc
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shard.errors import JobError, LoaderError, LoaderStateError, ShardChangedError, ShardError
from shard.loader import BatchOptions, DataLoader, TokenDataset
from shard.loader.prefetch import Prefetched
from tests.support.deadline import deadline
from tests.support.stores import write_store

CONTEXT = 64
GLOBAL_BATCH = 24

Damage = Callable[[Path], object]


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """Nothing takes longer than this, and no thread is left."""
    before = threading.active_count()
    with deadline(60):
        yield
        gc.collect()
        for thread in threading.enumerate():
            if thread.name == "shard-loader-prefetch":
                thread.join()
    assert threading.active_count() == before


@pytest.fixture
def own(store: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    shutil.copytree(store, tmp_path / "own")
    return tmp_path / "own"


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(8))
    os.utime(path, ns=(0, 0))


DAMAGES: dict[str, Damage] = {
    "deleted under the loader": Path.unlink,
    "replaced under the loader .another file": replaced,
    "replaced under the loader .*": overwritten,
    "cut short under the loader|instead of": lambda path: os.truncate(path, 100),
}


@pytest.mark.parametrize("prefetch_factor", [0, 3])
@pytest.mark.parametrize("message", sorted(DAMAGES))
def test_a_payload_changes_under_a_running_loader(own: Path, prefetch_factor: int, message: str) -> None:
    """A shard that is deleted, replaced, overwritten or cut short while it is read ends the loader with its name,
    within seconds; a new iterator says so, too."""
    loader = DataLoader(TokenDataset(own, CONTEXT), GLOBAL_BATCH, prefetch_factor=prefetch_factor)
    next(iter(loader))
    DAMAGES[message](own / "000003.bin")
    with pytest.raises(ShardChangedError, match=f"000003.bin: .*({message})"):
        while True:
            for _ in loader:
                pass
    with pytest.raises(ShardChangedError, match=r"000003\.bin"):
        for _ in range(2):
            list(loader)


@pytest.mark.parametrize("name", ["000003.bin", "000003.idx"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 60)])
def test_a_shard_that_is_gone_before(own: Path, name: str, damage: Damage) -> None:
    """A file that is missing or too short when it is first needed is named, with what its record says."""
    damage(own / name)
    loader = DataLoader(TokenDataset(own, CONTEXT), GLOBAL_BATCH, prepare=("cu_seqlens",))
    with pytest.raises(ShardChangedError, match=f"{name}: (missing|60 bytes), its record says|{name}: missing; its"):
        list(loader)


def test_an_index_cut_under_a_running_loader(own: Path) -> None:
    """An index that is cut short is an error, not the end of the process."""
    loader = DataLoader(TokenDataset(own, CONTEXT), GLOBAL_BATCH, prepare=("cu_seqlens",))
    list(loader)
    os.truncate(own / "000003.idx", 60)
    with pytest.raises(ShardChangedError, match=r"000003\.idx: cut to 60 bytes"):
        list(loader)


def test_an_index_of_another_shard(own: Path) -> None:
    """An index whose header is not what the record says is refused."""
    path = own / "000003.idx"
    data = bytearray(path.read_bytes())
    data[17] = 4  # four-byte tokens
    path.write_bytes(data)
    with pytest.raises(ShardChangedError, match="not the index of 60 documents of uint16"):
        _ = TokenDataset(own, CONTEXT).batch(np.arange(1000)).cu_seqlens


def test_states_of_others(store: Path, tmp_path: Path, shards: list[list[list[int]]]) -> None:
    """A state of another dataset, context length, seed, shuffle, packing or batch size is refused, each by its name."""
    dataset = TokenDataset(store, CONTEXT)
    state = DataLoader(dataset, GLOBAL_BATCH).state_dict()
    fewer = TokenDataset(write_store(tmp_path / "fewer", shards[:2]), CONTEXT)
    other_loaders = {
        "fingerprint: the state has .* another dataset": DataLoader(fewer, GLOBAL_BATCH),
        "fingerprint: ": DataLoader(TokenDataset(store, CONTEXT, split="1,1:0"), GLOBAL_BATCH),
        "context_length: the state has 64, this loader 32": DataLoader(dataset.with_context_length(32), GLOBAL_BATCH),
        "seed: the state has 0, this loader 1": DataLoader(dataset, GLOBAL_BATCH, seed=1),
        "shuffle: the state has full, this loader block": DataLoader(dataset, GLOBAL_BATCH, shuffle="block"),
        "global_batch_size: the state has 24, this loader 12": DataLoader(dataset, 12),
        "packing: the state has concat, this loader pad": DataLoader(
            TokenDataset(store, CONTEXT, packing="pad", cache_dir=tmp_path / "packs"), GLOBAL_BATCH
        ),
    }
    for message, loader in other_loaders.items():
        with pytest.raises(LoaderStateError, match=message):
            loader.load_state_dict(state)
        assert loader.step == 0, "a state that is refused changes nothing"
    far = DataLoader(dataset, GLOBAL_BATCH)
    far.set_epoch(1)
    with pytest.raises(LoaderStateError, match="earlier epochs have another number of steps"):
        DataLoader(dataset, GLOBAL_BATCH, steps_per_epoch=3).load_state_dict(far.state_dict())


@pytest.mark.parametrize(
    ("state", "message"),
    [({}, "missing required field"), ({"version": 2}, "missing"), ({"steps": 3}, "not the state of a loader")],
)
def test_what_is_no_state(store: Path, state: dict[str, Any], message: str) -> None:
    """Anything else is no state; nor is one of a later version."""
    loader = DataLoader(store, GLOBAL_BATCH, context_length=CONTEXT)
    with pytest.raises(LoaderStateError, match=message):
        loader.load_state_dict(state)
    with pytest.raises(LoaderStateError, match="state of version 9"):
        loader.load_state_dict({**loader.state_dict(), "version": 9})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"global_batch_size": 25, "dp_world_size": 2}, "global_batch_size 25: not a multiple of dp_world_size 2"),
        ({"global_batch_size": 0}, "global_batch_size 0"),
        ({"micro_batch_size": 5}, "micro_batch_size 5: does not divide the 24 samples"),
        ({"dp_rank": 2, "dp_world_size": 2}, "dp_rank 2 of dp_world_size 2"),
        ({"dp_rank": -1}, "dp_rank -1"),
        ({"global_batch_size": 4096}, "1029 samples do not fill a step of global_batch_size 4096"),
        (
            {"global_batch_size": 2048, "dp_world_size": 2048, "drop_last": False},
            "1029 samples for dp_world_size 2048: more ranks than samples",
        ),
        ({"shuffle": "fully"}, "shuffle 'fully': one of full, block, none"),
        ({"seed": -1}, "seed -1"),
        ({"prefetch_factor": -1}, "prefetch_factor -1"),
        ({"prepare": ("label",)}, r"prepare \['label'\]"),
        ({"skip_ranges": [(3, 3)]}, r"skip_ranges: \[3, 3\)"),
        ({"steps_per_epoch": 0}, "steps_per_epoch 0"),
        ({"packing": "fit"}, "packing 'fit': one of concat, bos_aligned, best_fit, pad"),
        ({"context_length": 0}, "context_length 0"),
        ({"context_length": None}, "a directory needs a context_length"),
    ],
)
def test_arguments_that_cannot_be(store: Path, arguments: dict[str, Any], message: str) -> None:
    """Arguments that do not fit are refused at once, with their values."""
    with pytest.raises(LoaderError, match=message):
        DataLoader(store, **{"global_batch_size": GLOBAL_BATCH, "context_length": CONTEXT, **arguments})


def test_options_that_cannot_be() -> None:
    """Options of batches are checked, too."""
    with pytest.raises(LoaderError, match="dtype 'int8'"):
        BatchOptions(dtype="int8")  # type: ignore[arg-type]
    with pytest.raises(LoaderError, match="cu_seqlens_size 1"):
        BatchOptions(cu_seqlens_size=1)


def test_directories_that_cannot_be(tmp_path: Path) -> None:
    """No such directory, one of no shards, one of no documents: each is named."""
    with pytest.raises(JobError, match="nowhere"):
        TokenDataset(tmp_path / "nowhere", CONTEXT)
    with pytest.raises(JobError, match=r"dataset\.json"):
        TokenDataset(tmp_path, CONTEXT)
    with pytest.raises(LoaderError, match="no tokens in its 0 documents"):
        TokenDataset(write_store(tmp_path / "empty", [[], []]), CONTEXT)
    with pytest.raises(JobError, match="no committed shard"):
        TokenDataset(write_store(tmp_path / "none", []), CONTEXT)
    short = TokenDataset(write_store(tmp_path / "short", [[[1, 2, 3]]]), CONTEXT)
    with pytest.raises(LoaderError, match="0 samples for dp_world_size 1"):
        DataLoader(short, 1)


def test_an_abandoned_iterator(store: Path) -> None:
    """A loader that was moved, closed or iterated anew ends its earlier iterator with an error, never with old data."""
    loader = DataLoader(store, GLOBAL_BATCH, context_length=CONTEXT)
    state = loader.state_dict()
    for move in (
        loader.close,
        lambda: iter(loader),
        lambda: loader.load_state_dict(state),
        lambda: loader.set_epoch(5),
    ):
        iterator = iter(loader)
        next(iterator)
        move()
        with pytest.raises(LoaderError, match="iterate anew"):
            next(iterator)
    with loader:
        assert next(iter(loader)).epoch == 5


def test_a_loader_that_is_let_go(store: Path) -> None:
    """A loader dropped in the middle of an epoch leaves no thread behind (the watchdog looks)."""
    iterator = iter(DataLoader(store, GLOBAL_BATCH, context_length=CONTEXT, prefetch_factor=2))
    next(iterator)
    del iterator


def test_errors_of_the_thread_come_out() -> None:
    """What is raised while making things ahead is raised where they are taken, after those before it; and again."""

    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise ShardError("no more")

    ahead = Prefetched(failing(), 8)
    assert [next(ahead), next(ahead)] == [1, 2]
    for _ in range(2):
        with pytest.raises(ShardError, match="no more"):
            next(ahead)
    ahead.close()


def test_a_fork_reads_on(store: Path) -> None:
    """A process forked while the thread is reading can read, too: no lock of the parent's holds it."""
    loader = DataLoader(store, GLOBAL_BATCH, context_length=CONTEXT, prefetch_factor=8)
    expected = loader.batch_at(7).tokens.tobytes()
    running = iter(loader)
    dataset = loader.dataset
    assert isinstance(dataset, TokenDataset)
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with dataset.reader.lock:
            held.set()
            forked.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if loader.batch_at(7).tokens.tobytes() == expected else 1)
    forked.set()
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert next(running).step == 0
    loader.close()
