"""Plans without a dataset behind them, for tests of what is made from a plan."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provision.catalog.types import SourceFile
from provision.hosts import Host
from provision.plan.assign import assigned
from provision.plan.plan import Plan, Policy, make_plan
from shard.records.job import Dataset, Holdout
from shard.records.options import Options
from tests.support.jobs import BYTES_SPEC

MIB = 1 << 20


def source_files(*sizes: int) -> list[SourceFile]:
    """Files of these sizes, in order of their names."""
    return [
        SourceFile(path=f"data/{number:06d}.parquet", size=size, content_id=f"sha256:{number:064x}")
        for number, size in enumerate(sizes)
    ]


def dataset(name: str = "owner/name", **fields: Any) -> Dataset:
    given = {"kind": "hub", "root": name, "revision": "a" * 40, "text_column": "text", "endpoint": "http://hub.test"}
    return Dataset(name=name, **{**given, **fields})


def plan_of(
    hosts: Sequence[Host] = (Host(name="alpha", ranks=2), Host(name="beta", ranks=2)),
    *,
    files: Sequence[SourceFile] | None = None,
    name: str = "owner/name",
    committed: dict[str, list[int]] | None = None,
    **fields: Any,
) -> Plan:
    """A plan with its units given to hosts."""
    given: dict[str, Any] = {
        "dataset": dataset(name),
        "files": source_files(*[10 * MIB] * 6) if files is None else files,
        "tokenizer": BYTES_SPEC,
        "holdout": Holdout(),
        "options": Options(),
        "policy": Policy(),
        "output_dir": "~/dataset_shard",
        "holdout_dir": "~/holdout_shard",
        "unit_bytes": 256 * MIB,
        "remote_python": "~/.shardfleet/venv/bin/python",
        "local_python": "/usr/bin/python3",
        "overwrite": False,
    }
    return assigned(make_plan(hosts=hosts, **{**given, **fields}), committed or {})


def tree_of(directory: Path) -> dict[str, bytes]:
    """Every file below a directory with its bytes, by relative path."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
