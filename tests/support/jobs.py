"""Jobs over real files, as the launcher would plan them, for tests of the worker."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi, RepoFile

from shard.records.compression import RANKS_FILE, Compression
from shard.records.job import FORMAT_VERSION, Dataset, Holdout, Job, TokenizerSpec, identity_of
from shard.records.options import Options
from shard.records.shards import ShardRecord
from shard.records.unit import Unit
from shard.sampling import sample_ranks
from shard.source.files import content_id, filesystem
from shard.tokenizer.hf import HfReference
from shard.tokenizer.ranks import RANK_FILES
from shard.tokenizer.spm import SentencePieceReference
from tests.support.data import data_directory
from tests.support.text import real_documents

BYTES_SPEC = TokenizerSpec(
    name="bytes", kind="bytes", vocab_size=257, eod_id=256, sha256=hashlib.sha256(b"").hexdigest()
)

RUN_ID = f"test-run-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
"""Its own in every process that runs tests at the same time: a supervisor ends what else carries its run's cookie."""

QUICK = Options(progress_seconds=0.2, retry_seconds=60.0, stall_seconds=10.0, grace_seconds=1.0)
"""Options of a test that does not want to wait."""


def rank_spec(encoding: str = "r50k_base") -> TokenizerSpec:
    """The spec of a tiktoken encoding, as the launcher fills it in."""
    sizes = {"gpt2": 50257, "r50k_base": 50257, "p50k_base": 50281, "cl100k_base": 100277, "o200k_base": 200019}
    eods = {"gpt2": 50256, "r50k_base": 50256, "p50k_base": 50256, "cl100k_base": 100257, "o200k_base": 199999}
    file = RANK_FILES[encoding]
    return TokenizerSpec(
        name=encoding,
        kind="tiktoken",
        vocab_size=sizes[encoding],
        eod_id=eods[encoding],
        sha256=file.sha256,
        file=file.cache_name,
    )


def json_spec(path: Path) -> TokenizerSpec:
    """The spec of a `tokenizer.json`."""
    return _file_spec(path, "hf", HfReference)


def model_spec(path: Path) -> TokenizerSpec:
    """The spec of a SentencePiece `.model`."""
    return _file_spec(path, "sentencepiece", SentencePieceReference)


def _file_spec(
    path: Path, kind: Literal["hf", "sentencepiece"], load: type[HfReference | SentencePieceReference]
) -> TokenizerSpec:
    data = path.read_bytes()
    reference = load(data, origin=str(path))
    return TokenizerSpec(
        name=path.stem,
        kind=kind,
        vocab_size=reference.vocab_size,
        eod_id=reference.eod_id(),
        sha256=hashlib.sha256(data).hexdigest(),
        file=path.name,
    )


def write_corpus(
    directory: Path, documents: Sequence[str | None], *, files: int = 1, group_rows: int = 50, **options: Any
) -> Path:
    """Spread documents evenly over Parquet files `part-0.parquet` … with columns `id` and `text`."""
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        first, last = len(documents) * number // files, len(documents) * (number + 1) // files
        table = pa.table({"id": pa.array(range(first, last), pa.int64()), "text": list(documents[first:last])})
        table = table.set_column(1, "text", table["text"].cast(pa.string()))
        pq.write_table(table, directory / f"part-{number}.parquet", row_group_size=group_rows, **options)
    return directory


def write_sample(directory: Path) -> None:
    """A dataset as a Hub has it: ten files of FineWeb where the shared test data is, else texts of the standard
    library."""
    shared = data_directory()
    if shared is not None:
        shutil.copytree(shared / "fineweb-sample", directory)
    else:
        write_web_corpus(directory / "data", real_documents(1200), files=10)


def write_web_corpus(directory: Path, documents: Sequence[str], *, files: int) -> None:
    """Documents in files like FineWeb's: columns `text`, `id` and `url`, all strings, 50 rows a group."""
    directory.mkdir(parents=True)
    for number in range(files):
        texts = documents[number::files]
        urls = [f"https://example.org/{number}/{row}" for row in range(len(texts))]
        table = pa.table({"text": texts, "id": [str(row) for row in range(len(texts))], "url": urls})
        pq.write_table(table, directory / f"train-{number:05d}.parquet", row_group_size=50)


def files_dataset(root: Path | str, *, text_column: str = "text") -> Dataset:
    """A directory or fsspec URL as a dataset."""
    return Dataset(kind="files", name=str(root), root=str(root), revision="0" * 40, text_column=text_column)


def files_units(root: Path | str, *, parts: int = 1) -> tuple[Unit, ...]:
    """Every Parquet file under a directory or fsspec URL, each cut into `parts`."""
    fs, base = filesystem(str(root))
    found = sorted(path for path in fs.find(base) if path.endswith(".parquet"))
    infos = {path: fs.info(path) for path in found}
    return _cut(
        [(path[len(base) :].lstrip("/"), infos[path]["size"], content_id(fs, path, infos[path])) for path in found],
        parts,
    )


def hub_dataset(endpoint: str, repo: str, *, token: str | bool = False, text_column: str = "text") -> Dataset:
    """A repository on a Hub at its present commit."""
    sha = HfApi(endpoint=endpoint, token=token).dataset_info(repo).sha
    assert sha is not None
    return Dataset(kind="hub", name=repo, root=repo, revision=sha, text_column=text_column, endpoint=endpoint)


def hub_units(dataset: Dataset, *, parts: int = 1, token: str | bool = False) -> tuple[Unit, ...]:
    """Every Parquet file of a repository, each cut into `parts`."""
    api = HfApi(endpoint=dataset.endpoint, token=token)
    tree = api.list_repo_tree(dataset.root, repo_type="dataset", revision=dataset.revision, recursive=True)
    found = sorted((item for item in tree if isinstance(item, RepoFile)), key=lambda item: item.path)
    return _cut(
        [
            (item.path, item.size, f"sha256:{item.lfs.sha256}")
            for item in found
            if item.lfs is not None and item.path.endswith(".parquet")
        ],
        parts,
    )


def make_job(
    dataset: Dataset | Path | str,
    output: Path,
    *,
    units: Iterable[Unit] | None = None,
    parts: int = 1,
    tokenizer: TokenizerSpec = BYTES_SPEC,
    holdout: Holdout | None = None,
    options: Options = QUICK,
    run_id: str = RUN_ID,
    host: str = "localhost",
    ranks: int = 1,
    overwrite: bool = False,
    compression: Compression | None = None,
) -> Job:
    """One host's job over all of a dataset (a directory of Parquet files will do), writing under `output`."""
    if not isinstance(dataset, Dataset):
        dataset = files_dataset(dataset)
    if units is None:
        make_units = (
            hub_units(dataset, parts=parts) if dataset.kind == "hub" else files_units(dataset.root, parts=parts)
        )
    else:
        make_units = tuple(units)
    holdout = holdout or Holdout(rate=0.1)
    return Job(
        version=FORMAT_VERSION,
        run_id=run_id,
        host=host,
        first_rank=0,
        ranks=ranks,
        world_size=ranks,
        output_dir=str(output / "train"),
        holdout_dir=str(output / "holdout"),
        dataset=dataset,
        tokenizer=tokenizer,
        holdout=holdout,
        identity=identity_of(dataset, tokenizer, holdout, make_units, compression),
        options=options,
        units=make_units,
        overwrite=overwrite,
    )


def compressed_job(
    dataset: Path, output: Path, tokenizer_directory: Path, *, level: int = 3, frame_tokens: int = 4096, **wishes: Any
) -> Job:
    """The same for compressed shards. Their rank table is made from a sample, and put into `tokenizer_directory`."""
    spec: TokenizerSpec = wishes.get("tokenizer", BYTES_SPEC)
    files = [(unit.path, unit.size, unit.content_id) for unit in files_units(dataset)]
    ranks = sample_ranks(files_dataset(dataset), files, spec, tokenizer_directory, {})
    tokenizer_directory.mkdir(parents=True, exist_ok=True)
    (tokenizer_directory / RANKS_FILE).write_bytes(ranks)
    digest = hashlib.sha256(ranks).hexdigest()
    compression = Compression(level=level, frame_tokens=frame_tokens, ranks_sha256=digest)
    return make_job(dataset, output, compression=compression, **wishes)


def appending(base: Job, corpus: Path) -> Job:
    """The job that appends a corpus to what another has made."""
    job = make_job(corpus, Path(base.output_dir).parent, holdout=base.holdout, ranks=base.ranks)
    units = tuple(msgspec.structs.replace(unit, ordinal=base.identity.units + unit.ordinal) for unit in job.units)
    identity = identity_of(job.dataset, job.tokenizer, job.holdout, units, base=base.identity)
    return msgspec.structs.replace(job, units=units, identity=identity, earlier=(*base.earlier, base.identity))


def write_job(job: Job, base: Path, tokenizer_directory: Path | None = None) -> Path:
    """Lay a job out as the launcher does on a host: `<base>/runs/<run id>/<host>/`. Returns that directory."""
    directory = base / "runs" / job.run_id / job.host
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "job.json").write_bytes(msgspec.json.encode(job))
    if tokenizer_directory is not None:
        shutil.copytree(tokenizer_directory, directory / "tokenizer", dirs_exist_ok=True)
        if job.identity.compression is not None:
            shutil.copy(tokenizer_directory / RANKS_FILE, directory)
    return directory


def _cut(files: Sequence[tuple[str, int, str]], parts: int) -> tuple[Unit, ...]:
    return tuple(
        Unit(ordinal=number * parts + part, path=path, size=size, content_id=content, part=part, parts=parts)
        for number, (path, size, content) in enumerate(files)
        for part in range(parts)
    )


def unsigned(directory: Path, stem: str, record: ShardRecord) -> str:
    """For complete_unit, where no signatures are asked for."""
    raise AssertionError(f"{directory / stem} of {record.source.path}: nobody asked for signatures")
