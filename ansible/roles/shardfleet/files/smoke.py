"""Runs on the host in the installed venv: does here, in small, what a rank will do, and prints what it did.

It makes a tokenizer of 256 tokens, lets the fast engine and both references encode a sentence, writes a Parquet file,
turns it into a shard with its index and records, verifies that, and removes it all. Nothing comes from the network.

Arguments: the directory to work in, and the version that must be found, or nothing for any.
"""

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import tiktoken
from tokenizers import Tokenizer, models, pre_tokenizers

import provision  # noqa: F401  the launcher's half, which is not used here, must import all the same
from shard.pipeline import Counters, Workplace, write_unit
from shard.records.job import FORMAT_VERSION, Dataset, Holdout, Job, TokenizerSpec, identity_of
from shard.records.options import Options
from shard.records.unit import Unit
from shard.source.download import Scratch
from shard.source.files import content_id, filesystem
from shard.storage.store import open_store, scratch_of
from shard.tokenizer.load import load_tokenizer
from shard.verify.stores import verify

SENTENCE = "Sharding is easy: naïve tokens, 日本語 and all. 🙂"


def require(condition, problem):
    """End with one line that says what is wrong."""
    if not condition:
        sys.exit(problem)


def byte_level_tokenizer():
    """A tokenizer.json with a token for each byte and no merges."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made.to_str().encode()


def job_in(directory, data):
    """One unit: a Parquet file of one sentence."""
    pq.write_table(pa.table({"text": [SENTENCE]}), directory / "sentence.parquet")
    fs, base = filesystem(str(directory))
    info = fs.info(f"{base}/sentence.parquet")
    identity = content_id(fs, f"{base}/sentence.parquet", info)
    units = (Unit(ordinal=0, path="sentence.parquet", size=info["size"], content_id=identity),)
    dataset = Dataset(kind="files", name="smoke", root=str(directory), revision="0" * 40, text_column="text")
    digest = hashlib.sha256(data).hexdigest()
    spec = TokenizerSpec(name="smoke", kind="hf", vocab_size=256, eod_id=None, sha256=digest, file="tokenizer.json")
    holdout = Holdout(rate=0.0)
    return Job(
        version=FORMAT_VERSION,
        run_id="smoke-test",
        host="smoke-test",
        first_rank=0,
        ranks=1,
        world_size=1,
        output_dir=str(directory / "dataset_shard"),
        holdout_dir=str(directory / "holdout_shard"),
        dataset=dataset,
        tokenizer=spec,
        holdout=holdout,
        identity=identity_of(dataset, spec, holdout, units),
        options=Options(),
        units=units,
    )


def write_shard(directory):
    """Tokenize the sentence into a shard and verify it; returns how many tokens it has."""
    data = byte_level_tokenizer()
    (directory / "tokenizer.json").write_bytes(data)
    job = job_in(directory, data)
    tokenizer = load_tokenizer(job.tokenizer, directory)
    require(tokenizer.slow_because is None, f"the fast tokenizer cannot be used: {tokenizer.slow_because}")
    with open_store(job) as directories:
        place = Workplace(
            job=job,
            rank=0,
            tokenizer=tokenizer,
            directories=directories,
            scratch=Scratch(scratch_of(job, directories)),
            locations={},
            counters=Counters(),
        )
        records = write_unit(place, job.units[0]).commit()
        written = {path.name for path in directories["train"].glob("0*")}
        require(written == {"000000.bin", "000000.idx", "000000.json"}, f"the store wrote {sorted(written)}")
        report = verify(list(directories.values()))
    require(report.ok, f"the shard does not verify: {report}")
    return records["train"].tokens


found = version("shardfleet")
# The venv in use is a link to versions/<version>.
promised = {Path(sys.prefix).resolve().name, sys.argv[2] or found}
if promised != {found}:
    sys.exit(f"{sys.prefix} imports shardfleet {found}, but {' and '.join(sorted(promised - {found}))} was expected")
bytewise = tiktoken.Encoding(
    "smoke", pat_str=".+", mergeable_ranks={bytes([i]): i for i in range(256)}, special_tokens={}
)
require(bytewise.decode(bytewise.encode(SENTENCE)) == SENTENCE, "tiktoken does not give back the sentence it encoded")
with TemporaryDirectory(prefix=".smoke-test-", dir=sys.argv[1]) as scratch:
    tokens = write_shard(Path(scratch))
require(tokens == len(SENTENCE.encode()), f"the shard has {tokens} tokens, not one for each byte of the sentence")
sys.stdout.write(f"shardfleet {found}: wrote, verified and removed a shard of {tokens} tokens")
