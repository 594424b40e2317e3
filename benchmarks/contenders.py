"""What is measured: each contender is a set of processes over a corpus, and the same over nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Command
from benchmarks.workspace import Corpus, Workspace

FILES = 16
"""Units of a corpus: enough that two ranks end at about the same time."""


@dataclass(frozen=True)
class Setting:
    """What all contenders share."""

    workspace: Workspace
    cores: tuple[int, ...]
    megabytes: int
    tokenizer: str
    endpoint: str | None
    """Of the Hub server, where one runs."""


@dataclass(frozen=True)
class Task:
    """Processes to run once."""

    commands: tuple[Command, ...]
    jobs: tuple[Path, ...] = ()
    """Directories of jobs; their `out` is removed before every run."""


@dataclass(frozen=True)
class Contender:
    """A name in the table."""

    name: str
    what: str
    cores: int
    """How many it needs."""
    task: Callable[[Setting, Corpus], Task]
    hub: bool = False
    """Whether it needs the Hub server, which has the second core."""
    megabytes: int | None = None
    """Of text; None for the size that was asked for."""
    files: int = FILES
    rounds: int | None = None
    """None for as many as were asked for."""
    startup_files: int = field(default=1)
    """Files of the corpus with nothing in it: one a process."""

    def corpus(self, setting: Setting) -> Corpus:
        return setting.workspace.corpus(self.megabytes or setting.megabytes, self.files)


def decode(processes: int) -> Callable[[Setting, Corpus], Task]:
    """pyarrow alone, so many processes with a share of the files each."""

    def task(setting: Setting, corpus: Corpus) -> Task:
        return Task(
            tuple(
                Command(("-m", "benchmarks.decode", *corpus.files[i::processes]), frozenset({setting.cores[i]}))
                for i in range(processes)
            )
        )

    return task


def host(ranks: int, *, hub: bool = False) -> Callable[[Setting, Corpus], Task]:
    """A supervisor with its ranks, all on as many cores as there are ranks."""

    def task(setting: Setting, corpus: Corpus) -> Task:
        job = setting.workspace.job(
            corpus, ranks=ranks, tokenizer=setting.tokenizer, endpoint=setting.endpoint if hub else None
        )
        command = Command(("-m", "shard", "run", "--job", str(job / "job")), frozenset(setting.cores[:ranks]))
        return Task((command,), (job,))

    return task


CONTENDERS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender("decode", "pyarrow decodes the text column, nothing else", 1, decode(1)),
        Contender("rank1", "one rank does the whole job", 1, host(1)),
        Contender("decode2", "two processes decode, a core each", 2, decode(2), startup_files=2),
        Contender("rank2", "two ranks do the whole job on two cores", 2, host(2), startup_files=2),
        Contender("hub", "one rank, corpus from the local Hub server", 2, host(1, hub=True), hub=True),
        Contender("memory-200mb", "one rank, one file of 0.2 GB", 1, host(1), megabytes=200, files=1, rounds=1),
        Contender("memory-2gb", "one rank, one file of 2 GB", 1, host(1), megabytes=2000, files=1, rounds=1),
        Contender(
            "memory-hub",
            "the same from the Hub server",
            2,
            host(1, hub=True),
            hub=True,
            megabytes=2000,
            files=1,
            rounds=1,
        ),
    )
}


@dataclass(frozen=True)
class Target:
    """A ratio of two contenders that is to be reached."""

    above: str
    below: str
    least: float | None = None
    """None: printed for comparison only."""
    most: float | None = None
    of: str = "rate"
    """`rate` (text per second, start-up taken off) or `peak` (memory)."""


TARGETS = (
    Target("rank1", "decode", least=0.35),
    Target("rank2", "rank1", least=1.5),
    Target("decode2", "decode"),
    Target("hub", "rank1", least=0.85),
    Target("memory-2gb", "memory-200mb", most=1.2, of="peak"),
)

PEAK_MOST_BYTES = 700_000_000
"""Of any rank."""
