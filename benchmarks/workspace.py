"""Where a benchmark works: corpora made once and kept, jobs made anew."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import run_quietly
from tests.support.data import data_directory

_OWNER = "bench"
_TRUTH = "truth.json"


@dataclass(frozen=True)
class Truth:
    """What is in a corpus, and what its tokens must be; see truth.py."""

    documents: int
    distinct_documents: int
    words: int
    distinct_words: int
    tokens: int
    id_sum: int


@dataclass(frozen=True)
class Corpus:
    """Parquet files in a directory, which is also the repository `bench/<name>` of a Hub server."""

    directory: Path

    @property
    def files(self) -> list[str]:
        return sorted(str(path) for path in self.directory.glob("*.parquet"))

    @property
    def repo(self) -> str:
        return f"{_OWNER}/{self.directory.name}"

    @property
    def text_bytes(self) -> int:
        facts = json.loads((self.directory / "corpus.json").read_text())
        return int(facts["text_bytes"])


@dataclass(frozen=True)
class Workspace:
    """A directory on the disk that is to be measured."""

    directory: Path
    data: Path | None
    """Real documents to make corpora from; None for what this machine has."""

    @property
    def hub_root(self) -> Path:
        """What a Hub server serves."""
        return self.directory / "corpora"

    def corpus(self, megabytes: int, files: int) -> Corpus:
        """A corpus of so much text; made in another process, so that this one stays small."""
        source = real_data(self.data)
        name = "library" if source is None else hashlib.sha256(str(source.absolute()).encode()).hexdigest()[:8]
        directory = self.hub_root / _OWNER / f"c{megabytes}x{files}-{name}"
        if not (directory / "corpus.json").exists():
            shutil.rmtree(directory, ignore_errors=True)
            more = () if self.data is None else ("--data", str(self.data))
            run_quietly("-m", "benchmarks.corpus", str(directory), "--mb", str(megabytes), "--files", str(files), *more)
        return Corpus(directory)

    def nothing(self, files: int) -> Corpus:
        """Files of one short document each."""
        directory = self.hub_root / _OWNER / f"one-document-x{files}"
        if not (directory / "corpus.json").exists():
            run_quietly("-m", "benchmarks.corpus", str(directory), "--one-document", "--files", str(files))
        return Corpus(directory)

    @property
    def ranks(self) -> Path:
        """A cache directory of tiktoken with GPT-2's rank file. Raises BenchmarkError where that is not to be had."""
        return self._vocabulary("ranks")

    @property
    def tokenizer_json(self) -> Path:
        """GPT-2's tokenizer for Hugging Face's `tokenizers`. Raises BenchmarkError where it is not to be had."""
        return self._vocabulary("tokenizer.json") / "tokenizer.json"

    def truth(self, corpus: Corpus) -> Truth:
        """Counted once for a corpus, with tiktoken. Raises BenchmarkError where GPT-2's rank file is not to be had."""
        path = corpus.directory / _TRUTH
        if not path.exists():
            run_quietly("-m", "benchmarks.truth", str(corpus.directory), str(self.ranks))
        return Truth(**json.loads(path.read_text()))

    def inputs(self, corpus: Corpus, kind: str) -> list[str]:
        """The files of a corpus as `parquet`, `jsonl` (one file) or `jsonl.gz`."""
        if kind == "parquet":
            return corpus.files
        directory = self.directory / "inputs" / kind / corpus.directory.name
        if not (directory / "done").exists():
            run_quietly("-m", "benchmarks.inputs", str(corpus.directory), str(directory), kind)
            (directory / "done").touch()
        return sorted(str(path) for path in directory.glob(f"*.{kind}"))

    def scratch(self, name: str) -> Path:
        """An empty directory that is gone after the benchmark."""
        directory = self.directory / "jobs" / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        return directory

    def environment(self, peer: str) -> Path:
        """Of a contender of others, made by peers.sh."""
        return self.directory / "peers" / peer

    def job(
        self,
        corpus: Corpus,
        *,
        ranks: int,
        tokenizer: str,
        endpoint: str | None = None,
        name: str = "files",
        more: Sequence[str] = (),
    ) -> Path:
        """A job over a corpus, from its files or from a Hub server. Returns the directory above job/ and out/.

        `more` are options of jobs.py.
        """
        directory = self.directory / "jobs" / f"{corpus.directory.name}-{ranks}-{'hub' if endpoint else name}"
        shutil.rmtree(directory, ignore_errors=True)
        hub = () if endpoint is None else ("--endpoint", endpoint, "--repo", corpus.repo)
        run_quietly(
            *("-m", "benchmarks.jobs", str(directory), str(corpus.directory)),
            *("--ranks", str(ranks), "--tokenizer", tokenizer, *hub, *more),
        )
        return directory

    def _vocabulary(self, what: str) -> Path:
        directory = self.directory / "vocabulary"
        done = directory / f"{what}.done"
        if not done.exists():
            run_quietly("-m", "benchmarks.vocabulary", str(directory), what)
            done.touch()
        return directory


def real_data(data: Path | None) -> Path | None:
    """Where real documents lie in Parquet; None for those of the standard library."""
    shared = data_directory()
    return data if data is not None or shared is None else shared / "fineweb-sample"
