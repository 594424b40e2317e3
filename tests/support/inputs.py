"""The same documents in every format that is read."""

import gzip
import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import zstandard

from provision.catalog.files import files_catalog
from provision.catalog.types import DatasetSpec
from provision.plan.units import units_of
from shard.records.inputs import Input
from shard.records.job import Job
from tests.support.jobs import make_job

PER_LINE = Input(document_per_line=True)


def json_lines(documents: Sequence[object], column: str = "text") -> bytes:
    return b"".join(msgspec.json.encode({"id": n, column: d, "url": "u"}) + b"\n" for n, d in enumerate(documents))


def text_lines(documents: Sequence[str]) -> bytes:
    return b"".join(document.encode() + b"\n" for document in documents)


def tar_of(members: Sequence[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def named(documents: Sequence[str]) -> list[tuple[str, bytes]]:
    return [(f"d/{number:06d}.txt", document.encode()) for number, document in enumerate(documents)]


def table_of(documents: Sequence[str]) -> pa.Table:
    return pa.table({"id": list(range(len(documents))), "text": pa.array(documents, pa.string())})


def arrow_stream(documents: Sequence[str], rows: int = 50) -> bytes:
    sink = io.BytesIO()
    table = table_of(documents)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue()


def _one(name: str, encode: Callable[[Sequence[str]], bytes]) -> Callable[[Path, Sequence[str]], None]:
    def write(directory: Path, documents: Sequence[str]) -> None:
        (directory / name).write_bytes(encode(documents))

    return write


def _parquet(directory: Path, documents: Sequence[str]) -> None:
    pq.write_table(table_of(documents), directory / "a.parquet", row_group_size=50)


def _feather(directory: Path, documents: Sequence[str]) -> None:
    pyarrow.feather.write_feather(table_of(documents), str(directory / "a.feather"), chunksize=70)


def _files(directory: Path, documents: Sequence[str]) -> None:
    for name, data in named(documents):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(data)


FORMATS: dict[str, tuple[Callable[[Path, Sequence[str]], None], Input]] = {
    "parquet": (_parquet, Input()),
    "jsonl": (_one("a.jsonl", json_lines), Input()),
    "json.gz": (_one("a.json.gz", lambda d: gzip.compress(json_lines(d))), Input()),
    "jsonl.zst": (_one("a.jsonl.zst", lambda d: zstandard.compress(json_lines(d))), Input()),
    "forced": (_one("a.data", json_lines), Input(format="jsonl")),
    "lines": (_one("a.txt", text_lines), PER_LINE),
    "lines.zst": (_one("a.txt.zst", lambda d: zstandard.compress(text_lines(d))), PER_LINE),
    "files": (_files, Input()),
    "tar": (_one("a.tar", lambda d: tar_of(named(d))), Input()),
    "tgz": (_one("a.tgz", lambda d: gzip.compress(tar_of(named(d)))), Input()),
    "tar of lines": (_one("a.tar", lambda d: tar_of([("a.txt", text_lines(d))])), PER_LINE),
    "arrow stream": (_one("data-00000-of-00001.arrow", arrow_stream), Input()),
    "feather": (_feather, Input()),
}
"""Name → what writes documents without line ends into a directory, and how that is to be read."""


def planned_job(
    root: Path | str,
    output: Path,
    form: Input | None = None,
    *,
    unit_bytes: int = 1 << 30,
    column: str = "text",
    **wishes: Any,
) -> Job:
    """A job over a directory or URL as the launcher plans it: listed, looked into, cut into units."""
    catalog = files_catalog(DatasetSpec(name=str(root), text_column=column, input=form or Input()))
    units = units_of(catalog.files, unit_bytes, catalog.dataset.input)
    return make_job(catalog.dataset, output, units=units, **wishes)
