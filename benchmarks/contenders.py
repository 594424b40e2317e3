"""What is measured: each contender is a set of processes over a corpus, and the same over nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.measure import Command, measure
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
    output: Path | None = None
    """What they write under; emptied before every run."""
    home: Path | None = None
    """Where they may leave caches; emptied too, and not counted as output."""
    format: str | None = None
    """Of the output, as counts.py knows it."""


@dataclass(frozen=True)
class Contender:
    """A name in the table."""

    name: str
    what: str
    cores: int
    """How many it needs."""
    task: Callable[[Setting, Corpus], Task]
    kind: Literal["floor", "ours", "peer"] = "ours"
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


def host(ranks: int, *more: str, hub: bool = False) -> Callable[[Setting, Corpus], Task]:
    """A supervisor with its ranks, all on as many cores as there are ranks; `more` are options of jobs.py."""

    def task(setting: Setting, corpus: Corpus) -> Task:
        job = setting.workspace.job(
            corpus,
            ranks=ranks,
            tokenizer=setting.tokenizer,
            endpoint=setting.endpoint if hub else None,
            name="-".join(("files", *more)),
            more=more,
        )
        command = Command(("-m", "shard", "run", "--job", str(job / "job")), frozenset(setting.cores[:ranks]))
        return Task((command,), output=job / "out", format="bin")

    return task


def copy(setting: Setting, corpus: Corpus) -> Task:
    """The output of a finished run read and written once more, on one core."""
    job = setting.workspace.job(corpus, ranks=2, tokenizer=setting.tokenizer, name="copied")
    # Not run_quietly: a supervisor whose standard input is closed stops.
    run = Command(("-m", "shard", "run", "--job", str(job / "job")), frozenset(setting.cores[:2]))
    measure([run], setting.workspace.directory / "log")
    output = setting.workspace.scratch(f"copy-{corpus.directory.name}")
    command = Command(("-m", "benchmarks.rewrite", str(job / "out"), str(output)), frozenset(setting.cores[:1]))
    return Task((command,), output=output, format="bin")


CONTENDERS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender("decode", "pyarrow decodes the text column, nothing else", 1, decode(1), "floor"),
        Contender("rank1", "one rank does the whole job", 1, host(1)),
        Contender("signed", "one rank, with signatures of every document", 1, host(1, "--signatures")),
        Contender("decode2", "two processes decode, a core each", 2, decode(2), "floor", startup_files=2),
        Contender("rank2", "two ranks do the whole job on two cores", 2, host(2), startup_files=2),
        Contender("copy", "rank2's output read, written again and synced", 1, copy, "floor", startup_files=2),
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
    of: Literal["rate", "whole", "peak"] = "rate"
    """Text per second without the start-up, or with it; or memory of the largest process."""


TARGETS = (
    Target("rank1", "decode", least=0.5),
    Target("rank2", "rank1", least=1.6),
    Target("decode2", "decode"),
    Target("signed", "rank1"),
    Target("hub", "rank1", least=0.85),
    Target("memory-2gb", "memory-200mb", most=1.2, of="peak"),
)

PEAK_MOST_BYTES = 600_000_000
"""Of any rank."""

STARTUP_MOST_SECONDS = 1.5
"""Of `rank1` over a file of one document, its end included."""
