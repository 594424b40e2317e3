"""How a run ended and what a plan says, as tables and sentences (drawn by display)."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from provision.display import clock, human, rows_table
from provision.monitor import ClusterState
from provision.plan import Plan
from provision.rundir import RunDirectory
from provision.settle import Answers
from provision.survey import Surveys
from shard.host.survey import Survey
from shard.verify.report import Report

_FINDINGS_SHOWN = 50
_TOKENS_PER_SOURCE_BYTE = 0.36
"""FineWeb's snappy Parquet under a 50 k vocabulary; a denser or larger one gives fewer."""
_DOCUMENT_BYTES = 2700
"""Source bytes per document there: what the 20 bytes of index per document cost."""
_RANK_BYTES_PER_SECOND = 90e6
_LINK_BYTES_PER_SECOND = 110e6


def summary(run: RunDirectory, state: ClusterState, answers: Answers, code: int) -> RenderableType:
    """The last words of a run."""
    totals = state.totals
    lines = [
        f"{len(state.committed)} of {len(state.plan.units)} units committed: "
        f"{totals.documents:,} documents, {totals.tokens:,} tokens in train; "
        f"{totals.holdout_documents:,} documents, {totals.holdout_tokens:,} tokens in holdout; "
        f"{totals.dropped:,} rows dropped"
    ]
    for ordinal, (host, reason) in sorted(state.quarantined.items()):
        lines.append(f"given up: unit {ordinal} ({state.plan.units[ordinal].path}) on {host}: {reason}")
    lines += [f"{host.name}: {host.phase}{_because(host.reason)}" for host in state.unfinished()]
    for name, commands in answers.left.items():
        lines.append(f"{name}: still running: {'; '.join(commands)}")
    lines += [f"not shown to be quiet: {reason}" for reason in answers.silent.values()]
    lines.append(_ending(code, answers, run))
    return Text("\n".join(lines))


def plan_table(plan: Plan, surveys: Surveys) -> RenderableType:
    """What would be done, and whether there is room for it."""
    units = {unit.ordinal: unit for unit in plan.units}
    rows = []
    for host in plan.hosts:
        size = sum(units[ordinal].bytes for ordinal in host.units)
        seconds = size / min(_LINK_BYTES_PER_SECOND, host.ranks * _RANK_BYTES_PER_SECOND)
        rows.append(
            [
                host.name,
                f"{host.first_rank}–{host.first_rank + host.ranks - 1}",
                str(len(host.units)),
                f"{size / 1e9:.2f} GB",
                human(size * _TOKENS_PER_SOURCE_BYTE),
                f"{disk_needed(plan, size) / 1e9:.2f} GB",
                _free(surveys.get(host.name)),
                clock(seconds),
            ]
        )
    largest = max((unit.size for unit in plan.units), default=0)
    split = sum(unit.parts > 1 for unit in plan.units)
    few = len(plan.units) < 3 * plan.world_size
    rule = (
        f"Files over {plan.unit_bytes / 2**20:g} MiB are cut into equal byte ranges of row groups: {split} of "
        f"{len(plan.units)} units are such parts (largest file {largest / 1e6:.1f} MB)."
        + (" There are few units for so many ranks: a smaller --unit-size balances better." if few else "")
    )
    assumed = (
        f"Estimates: {_TOKENS_PER_SOURCE_BYTE} tokens per source byte, {_RANK_BYTES_PER_SECOND / 1e6:.0f} MB/s of "
        f"source per rank, {_LINK_BYTES_PER_SECOND / 1e6:.0f} MB/s per host's link."
    )
    columns = ("host", "ranks", "units", "source", "tokens ~", "disk ~", "free", "time ~")
    title = f"{plan.dataset.name} at {plan.dataset.revision[:12]} → run {plan.run_id}"
    return Group(rows_table(title, columns, rows), Text(rule), Text(assumed))


def verification(report: Report, problems: Sequence[str], *, of_run: bool) -> RenderableType:
    """What a verification found."""
    coverage = report.coverage
    checked = sum(directory.bytes_checked for directory in report.directories)
    lines = [f"{directory.directory}: {len(directory.units)} shards" for directory in report.directories]
    lines += [f"{finding.severity}: {finding}" for finding in report.findings[:_FINDINGS_SHOWN]]
    if len(report.findings) > _FINDINGS_SHOWN:
        lines.append(f"… and {len(report.findings) - _FINDINGS_SHOWN} more; --json has all")
    lines += [f"error: {problem}" for problem in problems]
    lines.append(
        f"{checked / 1e6:,.1f} MB read. Every row exactly once: {coverage.proven} of {coverage.units} units, "
        f"{coverage.rows:,} rows = {coverage.documents:,} train + {coverage.holdout_documents:,} holdout "
        f"+ {coverage.dropped:,} dropped"
    )
    good = report.ok and not problems
    if good and coverage.complete:
        lines.append("verified: complete")
    elif good and not of_run:
        lines.append("verified: what is here is right; other units are on other hosts, or still to do")
    else:
        lines.append("NOT verified")
    return Text("\n".join(lines))


def disk_needed(plan: Plan, source_bytes: int) -> int:
    """Estimated bytes of shards for so many bytes of source."""
    width = 2 if plan.tokenizer.dtype == "uint16" else 4
    tokens_per_byte = 1.6 if plan.tokenizer.kind == "bytes" else _TOKENS_PER_SOURCE_BYTE
    return int(source_bytes * (tokens_per_byte * width + 20 / _DOCUMENT_BYTES))


def short_of_space(plan: Plan, surveys: Surveys, done: Iterable[int]) -> list[str]:
    """One line per host whose disk, by the estimate, will not hold its share."""
    finished = set(done)
    found = []
    for host in plan.hosts:
        answer = surveys.get(host.name)
        if not isinstance(answer, Survey):
            continue
        pending = sum(plan.units[ordinal].bytes for ordinal in host.units if ordinal not in finished)
        needed = disk_needed(plan, pending)
        held_out = int(needed * plan.holdout.rate)
        rooms = [(host.output_dir, needed, answer.output_free)]
        if not answer.same_disk:
            rooms.append((host.holdout_dir, held_out, answer.holdout_free))
        found += [
            f"{host.name}: about {size / 1e9:.1f} GB needed in {directory}, {free / 1e9:.1f} GB free: "
            "should it run full, that host stops, and goes on after space is made and the run launched again"
            for directory, size, free in rooms
            if size > free
        ]
    return found


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _free(answer: object) -> str:
    return f"{answer.output_free / 1e9:.1f} GB" if isinstance(answer, Survey) else "unknown"


def _ending(code: int, answers: Answers, run: RunDirectory) -> str:
    if code == 3:
        return f"NOT shown to be quiet: {', '.join(answers.unproven)}. Try 'shardfleet abort {run.path} --now'"
    endings = {
        0: "complete; no process of the run is left on any host",
        1: f"something is missing: logs are in {run.path} and on the hosts; launch again to continue",
        130: "stopped; no process of the run is left on any host. Launch again to continue",
    }
    return endings[code]
