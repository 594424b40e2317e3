"""The example trains, is killed, and goes on with another world size on the same loss curve."""

import re
import subprocess
from pathlib import Path

from shard.records.job import Holdout, Job
from tests.loader.torch_python import ROOT, environment, torch_python
from tests.support.jobs import BYTES_SPEC, make_job, write_corpus
from tests.support.worker import write_all


def written(directory: Path, documents: list[str]) -> Job:
    """The job that has written these as byte tokens, all for train."""
    corpus = write_corpus(directory / "corpus", documents, files=2)
    job = make_job(corpus, directory, tokenizer=BYTES_SPEC, holdout=Holdout(rate=0.0))
    write_all(job, directory)
    return job


def test_killed_and_resumed_on_another_world_size(tmp_path: Path, documents: list[str]) -> None:
    """Two processes killed by SIGKILL and gone on with by one have the losses of two that were not, within 1e-4."""
    python = torch_python()
    job = written(tmp_path, documents[:100])
    done = subprocess.run(
        [ROOT / "examples/resume_demo.sh", job.output_dir],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(PYTHON=python, STEPS="20"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 steps without, 20 with the kill" in done.stdout
    losses = re.search(r"loss ([\d.]+) to ([\d.]+)", done.stdout)
    assert losses is not None
    # It has learned something: a guess among 257 ids costs 5.55.
    assert float(losses[2]) < float(losses[1]) - 0.5


def test_nanogpt_reads_the_directory(tmp_path: Path, documents: list[str]) -> None:
    """Its get_batch gives crops of the payloads, the labels one token on."""
    python = torch_python()
    job = written(tmp_path, documents[:20])
    program = (
        "import sys; from get_batch import Shards\n"
        "x, y = Shards(sys.argv[1], 16).get_batch(50)\n"
        "assert x.shape == y.shape == (50, 16) and (x[:, 1:] == y[:, :-1]).all()\n"
        "print(' '.join(map(str, x.flatten().tolist())))"
    )
    done = subprocess.run(
        [python, "-c", program, job.output_dir],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(PYTHONPATH=str(ROOT / "examples/nanogpt")),
    )
    assert done.returncode == 0, done.stderr
    crops = [int(token) for token in done.stdout.split()]
    payloads = [path.read_bytes() for path in sorted(Path(job.output_dir).glob("*.bin"))]
    for start in range(0, len(crops), 16):
        crop = b"".join(token.to_bytes(2, "little") for token in crops[start : start + 16])
        assert any(crop in payload for payload in payloads)
