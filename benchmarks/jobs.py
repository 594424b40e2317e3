"""A job over a corpus, as the launcher would lay it out on a host.

python -m benchmarks.jobs DIRECTORY CORPUS --ranks 1 [--endpoint URL --repo owner/name]
"""

import argparse
import os
from pathlib import Path
from typing import Any

from shard.records.compression import Compression
from shard.records.dedup import Scheme
from shard.records.job import Holdout, TokenizerSpec
from shard.records.options import Options
from shard.tokenizer.ranks import RANK_FILES
from tests.support.jobs import BYTES_SPEC, compressed_job, hub_dataset, json_spec, make_job, rank_spec, write_job
from tests.support.text import UnavailableError, rank_file, train_small_tokenizer


def write_benchmark_job(
    directory: Path,
    corpus: Path,
    *,
    ranks: int,
    tokenizer: str,
    endpoint: str | None,
    repo: str | None,
    compress: bool,
    sign: bool,
) -> None:
    """Write `<directory>/job/job.json` and its tokenizer; shards go to `<directory>/out`."""
    spec, tokenizer_directory = _tokenizer(tokenizer, directory / "vocabulary")
    wishes: dict[str, Any] = {
        "tokenizer": spec,
        "holdout": Holdout(),
        "options": Options(signatures=Scheme() if sign else None),
        "run_id": f"benchmark-{os.getpid()}",  # its own: a supervisor ends what else carries the cookie of its run
        "ranks": ranks,
    }
    out = directory / "out"
    if compress:
        defaults = Compression()
        job = compressed_job(
            *(corpus, out, tokenizer_directory), level=defaults.level, frame_tokens=defaults.frame_tokens, **wishes
        )
    else:
        job = make_job(hub_dataset(endpoint, repo) if endpoint and repo else corpus, out, **wishes)
    write_job(job, directory, tokenizer_directory)
    (directory / "job").unlink(missing_ok=True)
    (directory / "job").symlink_to(directory / "runs" / job.run_id / job.host)


def _tokenizer(name: str, directory: Path) -> tuple[TokenizerSpec, Path]:
    """The spec of r50k_base, or of what stands in for it, and a directory with its file."""
    directory.mkdir(parents=True, exist_ok=True)
    if name == "bytes":
        return BYTES_SPEC, directory
    try:
        data = rank_file(name)
    except UnavailableError as error:
        print(f"{error}; a small BPE stands in")
        train_small_tokenizer(directory / "tokenizer.json")
        return json_spec(directory / "tokenizer.json"), directory
    (directory / RANK_FILES[name].cache_name).write_bytes(data)
    return rank_spec(name), directory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--tokenizer", default="r50k_base", choices=[*RANK_FILES, "bytes"])
    parser.add_argument("--endpoint", help="read the corpus from a Hub server there")
    parser.add_argument("--repo", help="owner/name of the corpus on that server")
    parser.add_argument("--compress", action="store_true", help="as `launch --compress`")
    parser.add_argument("--signatures", action="store_true", help="as `launch --signatures`")
    options = parser.parse_args()
    write_benchmark_job(
        options.directory.absolute(),
        options.corpus.absolute(),
        ranks=options.ranks,
        tokenizer=options.tokenizer,
        endpoint=options.endpoint,
        repo=options.repo,
        compress=options.compress,
        sign=options.signatures,
    )


if __name__ == "__main__":
    main()
