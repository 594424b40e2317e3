"""`shardfleet tokenizer train`, by the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from provision.cli import cli
from provision.errors import InputError
from provision.tokenizer.resolve import fetch_tokenizer, fetch_tokenizer_json
from shard.errors import TokenizerError
from shard.records.job import Holdout
from shard.verify.stores import verify
from tests.support.hub import running_hub
from tests.support.jobs import make_job, write_corpus
from tests.support.worker import write_all

SHARDFLEET = str(Path(sys.executable).parent / "shardfleet")
EMOJI = "emoji 👩‍👩‍👧‍👦 🏳️‍🌈, 漢字かな, 한국어"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    return write_corpus(tmp_path_factory.mktemp("hub") / "team" / "texts", documents[:40], files=2)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["tokenizer", "train", *map(str, arguments)], catch_exceptions=False)


def test_from_dataset_to_decoded_shard(corpus: Path, tmp_path: Path, documents: list[str]) -> None:
    """One command trains a tokenizer, and what it wrote does a job as it is: --tokenizer DIR, framed by its own tokens,
    verified, decoded, emoji and all."""
    out = tmp_path / "mine"
    wishes = ("--kind", "sentencepiece", "--model", "--vocab-size", 700, "--special", "<|user|>", "--num-samples", "1k")
    done = invoke("--dataset", corpus, "--out", out, *wishes)
    assert done.exit_code == 0
    assert "sentencepiece of 700 tokens, trained on 30 documents" in done.stdout
    assert "10 of 10 held-out documents come back from their tokens, 10 of them to the last character" in done.stdout
    assert "tokenizer.model gives the same ids" in done.stdout
    assert "no more than these documents: 1,000 were asked for" in done.stderr
    fetched = fetch_tokenizer(str(out), bos="own")
    assert (fetched.spec.kind, fetched.spec.eod_id, fetched.spec.bos_id, fetched.spec.vocab_size) == ("hf", 2, 1, 700)
    assert fetch_tokenizer(str(out / "tokenizer.model"), bos="own").spec.eod_id == 2
    texts = [EMOJI, *documents[60:70]]
    job = make_job(write_corpus(tmp_path / "in", texts), tmp_path, tokenizer=fetched.spec, holdout=Holdout(rate=0.0))
    write_all(job, out)
    assert verify([Path(job.output_dir)]).ok
    decoded = CliRunner().invoke(cli, ["cat", job.output_dir, "--document", "0"], catch_exceptions=False)
    assert decoded.stdout == f"{EMOJI}\n"
    tokens = CliRunner().invoke(cli, ["cat", job.output_dir, "--document", "0", "--tokens"], catch_exceptions=False)
    ids = [int(token) for token in tokens.stdout.split()]
    assert (ids[0], ids[-1], 0 in ids) == (1, 2, False)


def test_dataset_and_reference_on_the_hub(corpus: Path, tmp_path: Path, small_tokenizer: Path) -> None:
    """Dataset and reference may be on the Hub; the reference by its bare name, as the seed's script takes it."""
    reference = corpus.parents[1] / "team" / "reference"
    reference.mkdir(exist_ok=True)
    config = json.loads(small_tokenizer.read_bytes())
    config["pre_tokenizer"]["add_prefix_space"] = True
    (reference / "tokenizer.json").write_text(json.dumps(config))
    command = [SHARDFLEET, "tokenizer", "train", "--dataset", "team/texts", "--reference", "team/reference"]
    with running_hub(corpus.parents[1]) as hub:
        done = subprocess.run(
            [*command, "--vocab-size", "500", "--num-samples", "20", "--out", "made"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_ENDPOINT": hub.endpoint, "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "made" / "tokenizer.json").read_bytes())
    assert written["pre_tokenizer"]["add_prefix_space"] is True
    facts = json.loads((tmp_path / "made" / "training.json").read_bytes())
    assert (facts["dataset"], facts["documents"], facts["kind"]) == ("team/texts", 20, "bpe")


def test_reference_in_a_directory(small_tokenizer: Path, small_model: Path, tmp_path: Path) -> None:
    """A reference is a tokenizer.json or a directory with one; a .model and an encoding are none, and say so."""
    for name in (small_tokenizer, small_tokenizer.parent):
        assert fetch_tokenizer_json(str(name)) == small_tokenizer.read_bytes()
    for name in (small_model, small_model.parent):
        with pytest.raises(InputError, match=r"has no tokenizer\.json, which is what holds a configuration"):
            fetch_tokenizer_json(str(name))
    with pytest.raises(
        InputError, match="--reference gpt2: ranks alone, and no configuration; name a model of the Hub"
    ):
        fetch_tokenizer_json("gpt2")


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (("--special", "<s>"), "--special '<s>'"),
        (("--vocab-size", "260"), "--vocab-size 260"),
        (("--vocab-size", "50000"), "take more samples"),
        (("--model",), "--model: SentencePiece has no byte-level BPE"),
    ],
)
def test_wishes_that_cannot_be_granted(wishes: tuple[str, ...], message: str, corpus: Path, tmp_path: Path) -> None:
    """Each is one message, and nothing is written."""
    with pytest.raises(TokenizerError, match=message):
        invoke("--dataset", corpus, "--out", tmp_path / "out", *wishes)
    assert list(tmp_path.iterdir()) == []
