"""The contenders of others: what they run, and what the ratio to them is to be. Their scripts are in peers/."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders import Contender, Setting, Target, Task
from benchmarks.measure import Command
from benchmarks.workspace import Corpus

_DIRECTORY = Path(__file__).with_name("peers")
_WORKERS = 2
TOKENIZER = "r50k_base"
"""All of them run with GPT-2's vocabulary."""


@dataclass(frozen=True)
class Peer:
    """A contender of others."""

    name: str
    what: str
    script: str
    reads: str
    """`parquet`, `jsonl` or `jsonl.gz`: what is not Parquet is made beforehand and not measured."""
    format: str
    """Of its output, as counts.py knows it."""
    whole: float
    """The least that rank2's rate is to be of its rate, start-up and all."""
    warm: float
    """The same with both start-ups taken off."""
    packages: tuple[str, ...]
    """Whose versions are told."""
    uncounted: str
    """What it is spared, and what else to know beside its figures."""

    @property
    def versions(self) -> str:
        """As pinned in its list."""
        pins = dict(line.split("==") for line in (_DIRECTORY / f"{self.name}.txt").read_text().split() if "==" in line)
        return ", ".join(f"{package} {pins[package]}" for package in self.packages)

    def task(self, setting: Setting, corpus: Corpus) -> Task:
        """One process of its environment, with children of its own, on the same two cores as rank2."""
        workspace = setting.workspace
        environment = workspace.environment(self.name)
        scratch = workspace.scratch(f"{self.name}-{corpus.directory.name}")
        output, home = scratch / "out", scratch / "home"
        arguments = ["--workers", str(_WORKERS), "--output", str(output)]
        arguments += ["--tokenizer", str(workspace.tokenizer_json)]
        variables = {
            "HOME": str(home),
            "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "TMPDIR": str(home),
            "TIKTOKEN_CACHE_DIR": str(workspace.ranks),
            "HF_HUB_OFFLINE": "1",
            # litdata writes its chunks there before it moves them to their place
            "DATA_OPTIMIZER_CACHE_FOLDER": str(home / "chunks"),
            "DATA_OPTIMIZER_DATA_CACHE_FOLDER": str(home / "data"),
        }
        command = Command(
            (str(_DIRECTORY / self.script), *arguments, *workspace.inputs(corpus, self.reads)),
            frozenset(setting.cores[:_WORKERS]),
            python=str(environment / "bin" / "python"),
            environment=variables,
            directory=scratch,
        )
        return Task((command,), output=output, home=home, format=self.format)

    @property
    def contender(self) -> Contender:
        return Contender(self.name, self.what, _WORKERS, self.task, "peer", startup_files=_WORKERS)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"versions": self.versions}

    @property
    def targets(self) -> tuple[Target, Target]:
        return (
            Target("rank2", self.name, least=self.whole, of="whole"),
            Target("rank2", self.name, least=self.warm),
        )


PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "megatron-gigatoken",
            "gigatoken over JSON lines, one awkward array, Megatron's builder",
            "megatron_gigatoken.py",
            "jsonl",
            "bin",
            6,
            2.5,
            ("megatron-core", "gigatoken", "awkward", "torch"),
            "its JSON lines are made for it; it holds the whole file in memory; its start-up is imports",
        ),
        Peer(
            "litdata",
            "optimize() over Parquet files with tiktoken, TokensLoader",
            "litdata_optimize.py",
            "parquet",
            "litdata",
            12,
            12,
            ("litdata", "tiktoken", "torch"),
            "",
        ),
        Peer(
            "nanogpt",
            "datasets.map with tiktoken, then one memmap",
            "nanogpt_prepare.py",
            "parquet",
            "bin",
            20,
            20,
            ("datasets", "tiktoken"),
            "its output has the cache of datasets with it",
        ),
        Peer(
            "catid",
            "reader, two tokenizers, queues of documents, DataPreparation",
            "catid_workers.py",
            "parquet",
            "catid",
            40,
            40,
            ("catid-dataloader", "tiktoken"),
            "its download stage is left out; it can lose documents and can hang",
        ),
        Peer(
            "megatron-classic",
            "a pool with a Hugging Face tokenizer over JSON lines, Megatron's builder",
            "megatron_classic.py",
            "jsonl",
            "bin",
            40,
            40,
            ("megatron-core", "tokenizers", "torch"),
            "its JSON lines are made for it",
        ),
        Peer(
            "datatrove",
            "ParquetReader and DocumentTokenizer under the local executor",
            "datatrove_tokens.py",
            "parquet",
            "ds",
            40,
            40,
            ("datatrove", "tokenizers"),
            "it does not shuffle, as it would by default",
        ),
        Peer(
            "dolma",
            "its command line `dolma tokens`",
            "dolma_tokens.py",
            "jsonl.gz",
            "npy",
            40,
            40,
            ("dolma", "tokenizers"),
            "its gzipped JSON lines are made for it; it shuffles within files",
        ),
    )
}
