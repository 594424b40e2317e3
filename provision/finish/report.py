"""How a run ended and what a plan says, as tables and sentences (drawn by display)."""

from collections.abc import Sequence

from msgspec import UNSET
from rich.console import Group, RenderableType
from rich.text import Text

from provision.plan.estimates import (
    LINK_BYTES_PER_SECOND,
    RANK_BYTES_PER_SECOND,
    disk_needed,
    seconds_needed,
    tokens_per_byte,
)
from provision.plan.hostjob import job_of
from provision.plan.plan import Plan
from provision.plan.rundir import RunDirectory
from provision.prepare.checks import COLUMNS
from provision.prepare.preflight import Checks
from provision.prepare.survey import Answer, Surveys
from provision.reach.settle import Answers
from provision.run.display import clock, human, rows_table, short_revision
from provision.run.monitor import ClusterState
from shard.verify.report import Report

_FINDINGS_SHOWN = 50
_MARKS = {"ok": "", "note": " !", "failed": " ✗"}


def summary(
    run: RunDirectory,
    state: ClusterState,
    answers: Answers,
    code: int,
    *,
    notes: Sequence[str] = (),
    reason: str = "",
) -> RenderableType:
    """The last words of a run; `notes` are what else is to be known, `reason` why the launcher stopped it by itself."""
    totals = state.totals
    lines = [
        f"{len(state.committed)} of {len(state.plan.units)} units committed: "
        f"{totals.documents:,} documents, {totals.tokens:,} tokens in train; "
        f"{totals.holdout_documents:,} documents, {totals.holdout_tokens:,} tokens in holdout; "
        f"{totals.dropped:,} rows dropped"
    ]
    for ordinal, (host, why) in sorted(state.quarantined.items()):
        lines.append(f"given up: unit {ordinal} ({state.plan.unit(ordinal).path}) on {host}: {why}")
    lines += [f"{host.name}: {host.phase}{_because(host.reason)}" for host in state.unfinished()]
    for name, commands in answers.left.items():
        lines.append(f"{name}: still running: {'; '.join(commands)}")
    lines += [f"not shown to be quiet: {why}" for why in answers.silent.values()]
    lines += notes
    if answers.silent and not answers.left and state.complete:
        lines.append(_done_without(state.plan, answers))
    if reason:
        lines.append(f"stopped: {reason}")
    missing = {unit.ordinal for unit in state.plan.units} - state.committed.keys()
    again = f"{state.plan.command} again to continue"
    if missing and missing <= state.quarantined.keys():
        again = f"when the files that were given up are mended, {again}"
    lines.append(_ending(code, answers, run, again))
    return Text("\n".join(lines))


def plan_table(plan: Plan, surveys: Surveys) -> RenderableType:
    """What would be done, and whether there is room for it."""
    units = {unit.ordinal: unit for unit in plan.units}
    rows = []
    for host in plan.hosts:
        size = sum(units[ordinal].bytes for ordinal in host.units)
        rows.append(
            [
                host.name,
                f"{host.first_rank}–{host.first_rank + host.ranks - 1}",
                str(len(host.units)),
                f"{size / 1e9:.2f} GB",
                human(size * tokens_per_byte(plan)),
                f"{disk_needed(plan, size) / 1e9:.2f} GB",
                _free(surveys.get(host.name)),
                clock(seconds_needed(plan, size, host.ranks)),
            ]
        )
    shared = sum(unit.members is not UNSET for unit in plan.units)
    largest = max((unit.size for unit in plan.units if unit.members is UNSET), default=0)
    split = sum(unit.parts > 1 for unit in plan.units)
    few = plan.world_size > 1 and len(plan.units) < 3 * plan.world_size
    rule = (
        f"Files over {plan.unit_bytes / 2**20:g} MiB are cut into equal byte ranges of row groups or lines: {split} of "
        f"{len(plan.units)} units are such parts (largest file {largest / 1e6:.1f} MB)."
        + (f" {shared} units are of several small files each." if shared else "")
        + (" There are few units for so many ranks: a smaller --unit-size balances better." if few else "")
    )
    assumed = (
        f"Estimates: {tokens_per_byte(plan):.2g} tokens per source byte, {RANK_BYTES_PER_SECOND / 1e6:.0f} MB/s of "
        f"source per rank, {LINK_BYTES_PER_SECOND / 1e6:.0f} MB/s per host's link."
    )
    columns = ("host", "ranks", "units", "source", "tokens ~", "disk ~", "free", "time ~")
    title = f"{plan.dataset.name} at {short_revision(plan.dataset.revision)} → run {plan.run_id}"
    return Group(rows_table(title, columns, rows), Text(rule), Text(assumed))


def verification(
    report: Report, problems: Sequence[str], *, of_run: bool, warnings: Sequence[str] = ()
) -> RenderableType:
    """What a verification found."""
    coverage = report.coverage
    checked = sum(directory.bytes_checked for directory in report.directories)
    lines = [
        f"{directory.directory}: {len(directory.units)} shards" + (", not read" if directory.basis != "bytes" else "")
        for directory in report.directories
    ]
    lines += [f"{finding.severity}: {finding}" for finding in report.findings[:_FINDINGS_SHOWN]]
    if len(report.findings) > _FINDINGS_SHOWN:
        lines.append(f"… and {len(report.findings) - _FINDINGS_SHOWN} more; --json has all")
    lines += [f"warning: {warning}" for warning in warnings]
    lines += [f"error: {problem}" for problem in problems]
    lines.append(
        f"{checked / 1e6:,.1f} MB read. Every row exactly once: {coverage.proven} of {coverage.units} units, "
        f"{coverage.rows:,} rows = {coverage.documents:,} train + {coverage.holdout_documents:,} holdout "
        f"+ {coverage.dropped:,} dropped"
    )
    good = report.ok and not problems
    if good and coverage.complete:
        lines.append("verified: complete" + (", by bytes and ledger" if warnings else ""))
    elif good and not of_run:
        lines.append("verified: what is here is right; other units are on other hosts, or still to do")
    else:
        lines.append("NOT verified")
    return Text("\n".join(lines))


def checks_table(plan: Plan, checks: Checks) -> RenderableType:
    """What was looked at on each host: a mark of its own for what to note and what failed."""
    rows = []
    for host in plan.hosts:
        found = {check.what: check for check in checks[host.name]}
        cells = [f"{found[what].shown}{_MARKS[found[what].level]}" if what in found else "" for what in COLUMNS]
        rows.append([host.name, *cells])
    table = rows_table("before the start", ("host", *(what.replace(" ", "\n") for what in COLUMNS)), rows)
    # A dozen columns: on a terminal of 80 there is no room for rules between them.
    table.box, table.padding, table.pad_edge = None, (0, 1, 0, 0), False
    return table


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _free(answer: object) -> str:
    return f"{answer.survey.output_free / 1e9:.1f} GB" if isinstance(answer, Answer) else "unknown"


def _done_without(plan: Plan, answers: Answers) -> str:
    """All is done, and there are hosts of which nobody knows what they do."""
    options = [job_of(plan, host).options for host in plan.hosts if host.name in answers.silent]
    leases = [one.lease_seconds for one in options if one.lease_seconds is not None and one.on_disconnect == "stop"]
    ends = f"stops itself when its lease of {max(leases):g} s runs out" if leases else "may go on until it is stopped"
    return (
        f"every unit is committed without the word of {', '.join(sorted(answers.silent))}, which {ends}; "
        f"{plan.command} again once it can be reached, and it drops what others have done"
    )


def _ending(code: int, answers: Answers, run: RunDirectory, again: str) -> str:
    if code == 3:
        return f"NOT shown to be quiet: {', '.join(answers.unproven)}. Try 'shardfleet abort {run.path} --now'"
    endings = {
        0: "complete; no process of the run is left on any host",
        1: f"something is missing: logs are in {run.path} and on the hosts; {again}",
        130: f"stopped; no process of the run is left on any host. {again[0].upper()}{again[1:]}",
    }
    return endings[code]
