"""The loaders that are measured side by side. Their scripts are in loaders/."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.loaderdata import Data
from benchmarks.measure import ROOT, Command

_SCRIPTS = Path(__file__).with_name("loaders")


@dataclass(frozen=True)
class Reader:
    """A loader."""

    name: str
    what: str
    script: str
    format: str | None
    """That it reads, as export calls it; None for the shards themselves."""
    environment: str | None
    """As benchmarks/peers.sh calls it; None for this interpreter's."""
    order: str
    """How it shuffles."""
    packages: tuple[str, ...] = ()
    """Whose versions are told."""
    resumes: bool = True
    own: bool = False
    options: tuple[str, ...] = ()
    """Of its script, beyond the common ones."""

    def python(self, data: Data) -> Path:
        if self.environment is None:
            return Path(sys.executable)
        return data.workspace.environment(self.environment) / "bin" / "python"

    def source(self, data: Data) -> Path:
        return data.shards() if self.format is None else data.export(self.format)

    def scratch(self, data: Data) -> Path:
        directory = data.directory / f"scratch-{self.name}-{data.context_length}"
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    @property
    def versions(self) -> str:
        """As pinned in the environment's list."""
        if self.environment is None:
            return ""
        lists = (_SCRIPTS.with_name(kind) / f"{self.environment}.txt" for kind in ("peers", "loaders"))
        found = next(path for path in lists if path.exists())
        pins = dict(line.split("==") for line in found.read_text().split() if "==" in line)
        return ", ".join(f"{package} {pins[package]}" for package in self.packages)

    def command(self, data: Data, source: Path, batch_size: int, cores: frozenset[int], *limit: object) -> Command:
        """One process, which prints its answer."""
        scratch = self.scratch(data)
        variables = {
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "PATH": f"{self.python(data).parent}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": str(len(cores)),
        }
        if self.own:
            variables["PYTHONPATH"] = str(ROOT)
        arguments = ("--data", source, "--context-length", data.context_length, "--batch-size", batch_size)
        return Command(
            (str(_SCRIPTS / self.script), *map(str, (*arguments, "--scratch", scratch, *limit)), *self.options),
            cores,
            python=str(self.python(data)),
            environment=variables,
            directory=scratch,
        )


FULL = "full"

READERS: Mapping[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader(
            "memmap",
            "numpy alone: one map of all tokens, windows gathered into int64",
            "memmap_loader.py",
            "nanogpt",
            None,
            FULL,
            resumes=False,
        ),
        Reader(
            "ours",
            "TokenDataset and DataLoader: full shuffle, concat; input_ids and labels as int64",
            "own_loader.py",
            None,
            None,
            FULL,
            own=True,
        ),
        Reader(
            "ours-documents",
            "the same, with labels masked at boundaries, cu_seqlens, max_seqlen and position_ids",
            "own_loader.py",
            None,
            None,
            FULL,
            own=True,
            options=("--documents",),
        ),
        Reader(
            "catid",
            "its DataLoader: rows of whole documents, padded",
            "catid_loader.py",
            "catid",
            "catid",
            "spans",
            ("catid-dataloader",),
        ),
        Reader(
            "litdata",
            "StreamingDataLoader over TokensLoader",
            "litdata_loader.py",
            "litdata",
            "litdata",
            "in chunks",
            ("litdata", "torch"),
        ),
        Reader(
            "datatrove",
            "DatatroveFolderDataset under torch's DataLoader, shuffled as nanotron does",
            "datatrove_loader.py",
            "datatrove",
            "loader-datatrove",
            FULL,
            ("datatrove", "torch"),
        ),
        Reader(
            "megatron",
            "GPTDataset under torch's DataLoader, indices cached",
            "megatron_loader.py",
            "megatron",
            "megatron-classic",
            FULL,
            ("megatron-core", "torch"),
        ),
        Reader(
            "olmo",
            "OLMo-core's NumpyFSLDataset and NumpyDataLoader",
            "olmo_loader.py",
            "olmo",
            "loader-olmo",
            FULL,
            ("ai2-olmo-core", "torch"),
        ),
        Reader(
            "mds",
            "MosaicML StreamingDataset and StreamingDataLoader, shuffled by py1e",
            "mds_loader.py",
            "mds",
            "loader-mds",
            "in blocks",
            ("mosaicml-streaming", "torch"),
        ),
    )
}
