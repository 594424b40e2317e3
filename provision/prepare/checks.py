"""What is looked at on one host before a run: each check with its remedy (pure)."""

from collections.abc import Collection
from typing import Literal

import msgspec

from provision.plan.estimates import room_needed
from provision.plan.plan import HostPlan, Plan
from provision.prepare.survey import Answer, Silence
from shard.host.survey import Survey

_CLOCK_NOTE_SECONDS = 5.0
"""From here on times in logs of two hosts are hard to compare."""
_CLOCK_FAILED_SECONDS = 300.0
"""From here on certificates and signed requests may be refused."""
_SPACE_FAILED = 0.8
"""Of the estimated need: with less it is not the estimate that is wrong."""
_RANK_FILES = 64
"""Libraries, logs, two units' shards under temporary names."""
_SUPERVISOR_FILES_PER_RANK = 8


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at on one host."""

    what: str
    """Heading of its column."""
    level: Literal["ok", "note", "failed"]
    shown: str
    """A few letters for a table."""
    text: str = ""
    """What is not as it should be, and what to do; without the host's name."""


_CONNECTED = ("SSH", "host key", "sign in", "Python", "version")
"""In the order in which they are found out: behind the first that fails nothing is known."""
COLUMNS = (*_CONNECTED, "shards", "disk GB", "Hub", "clock", "files", "runs", "cores")


def checks_of(
    plan: Plan, host: HostPlan, answer: Answer | Silence, done: Collection[int], *, heed_space: bool
) -> tuple[Check, ...]:
    """Everything that can be said of a host; units in `done` are committed somewhere.

    Without `heed_space`, too little of it is no more than worth a note.
    """
    if isinstance(answer, Silence):
        return _unconnected(host, answer)
    survey = answer.survey
    way = "here" if host.host.is_local else "ok"
    shown = {"Python": survey.python, "version": survey.version}
    return (
        *(_ok(what, shown.get(what, way)) for what in _CONNECTED),
        _shards(plan, host, survey),
        _disk(plan, host, survey, done, heed_space=heed_space),
        _hub(plan, survey),
        _clock(answer.ahead),
        _files(plan, host, survey),
        _runs(plan, host, survey),
        _cores(host, survey),
    )


def _unconnected(host: HostPlan, silence: Silence) -> tuple[Check, ...]:
    before = _CONNECTED[: _CONNECTED.index(silence.at)]
    text = silence.reason.removeprefix(f"{host.name}: ")
    return (*(_ok(what, "ok") for what in before), Check(what=silence.at, level="failed", shown="no", text=text))


def _shards(plan: Plan, host: HostPlan, survey: Survey) -> Check:
    what = "shards"
    if survey.problem:
        return Check(what=what, level="failed", shown="no", text=survey.problem)
    ours = (*plan.earlier, plan.identity)
    if survey.identity is not None and survey.identity not in ours and not plan.overwrite:
        differing = "; ".join(plan.identity.differing(survey.identity))
        other = "Choose another --output-dir, or replace those shards with --overwrite"
        if plan.leftovers is not None:
            other = "Choose another --to, or remove that directory and the one of its holdout"
        return Check(
            what=what,
            level="failed",
            shown="others",
            text=f"{host.output_dir} holds shards of another run. Differing: {differing}. {other}",
        )
    own = survey.committed if survey.identity in ours else []
    return _ok(what, str(sum(end - start for start, end in own)))


def _disk(plan: Plan, host: HostPlan, survey: Survey, done: Collection[int], *, heed_space: bool) -> Check:
    room = room_needed(plan, host, done)
    output = room.train + room.scratch + (room.holdout if survey.same_disk else 0)
    places = [(host.output_dir, output, survey.output_free)]
    if not survey.same_disk:
        places.append((host.holdout_dir, room.holdout, survey.holdout_free))
    short = [(directory, need, free) for directory, need, free in places if need > free]
    shown = f"{_gigabytes(output)}/{_gigabytes(survey.output_free)}"
    if not short:
        return _ok("disk GB", shown)
    said = " and ".join(
        f"about {_size(need)} needed in {directory}, {_size(free)} free" for directory, need, free in short
    )
    if heed_space and any(free < _SPACE_FAILED * need for _, need, free in short):
        return Check(
            what="disk GB",
            level="failed",
            shown=shown,
            text=f"{said}; make space, choose another directory, or, where the estimate is wrong for this dataset, "
            "go on with --skip-space-check",
        )
    text = f"{said}: should it run full, that host stops, and goes on after space is made and the run launched again"
    return Check(what="disk GB", level="note", shown=shown, text=text)


def _hub(plan: Plan, survey: Survey) -> Check:
    what, answer = "Hub", survey.hub
    if answer is None:
        return _ok(what, "–")
    where = f"{plan.dataset.endpoint} from there"
    if answer.outcome == "admitted":
        return _ok(what, "ok")
    if answer.outcome == "busy":
        text = f"{where}: {answer.detail}; ranks wait for it, a request for up to --retry-seconds"
        return Check(what=what, level="note", shown="busy", text=text)
    if answer.outcome == "refused":
        text = f"{where} refuses {plan.dataset.name}: {answer.detail}; set HF_TOKEN to a token that may read it"
        return Check(what=what, level="failed", shown="refused", text=text)
    text = (
        f"{where}: {answer.detail}; check that host's network, proxy variables and certificates, or serve the dataset "
        "where it can be reached with 'shardfleet hub serve' and HF_ENDPOINT"
    )
    return Check(what=what, level="failed", shown="no", text=text)


def _clock(ahead: tuple[float, float]) -> Check:
    least, most = ahead
    off = max(0.0, least, -most)
    if off < _CLOCK_NOTE_SECONDS:
        return _ok("clock", f"{off:.0f} s")
    way = "ahead of" if least > 0 else "behind"
    shown = f"{off:.0f} s" if off < 1e5 else f"{off / 86400:.0f} d"
    if off < _CLOCK_FAILED_SECONDS:
        text = f"its clock is {shown} {way} this machine's: times in its logs are, too"
        return Check(what="clock", level="note", shown=shown, text=text)
    text = f"its clock is {shown} {way} this machine's, which breaks TLS and signed requests; set it, as by NTP"
    return Check(what="clock", level="failed", shown=shown, text=text)


def _files(plan: Plan, host: HostPlan, survey: Survey) -> Check:
    # Each process has a limit of its own: a rank's requests, the supervisor's links to its ranks.
    need = max(_RANK_FILES + 2 * plan.options.spans_in_flight, 64 + _SUPERVISOR_FILES_PER_RANK * host.ranks)
    soft, hard = survey.open_files, survey.open_files_hard
    shown = "any" if soft is None else str(soft)
    if soft is None or soft >= need:
        return _ok("files", shown)
    allowed = "any number" if hard is None else str(hard)
    raised = "" if hard is None or hard >= need else ", and the hard one first (/etc/security/limits.conf)"
    return Check(
        what="files",
        level="failed",
        shown=shown,
        text=f"a process may open {soft} files ({allowed} at most), {need} are needed for {host.ranks} ranks with "
        f"{plan.options.spans_in_flight} spans in flight; raise the limit, as with 'ulimit -n {need}' in the shell's "
        f"start-up file{raised}",
    )


def _runs(plan: Plan, host: HostPlan, survey: Survey) -> Check:
    what = "runs"
    others = [run for run in survey.runs if run.run_id != plan.run_id]
    ours = sum(run.processes for run in survey.runs if run.run_id == plan.run_id)
    shown = str(len(survey.runs)) if survey.runs else "none"
    if writers := [run.run_id for run in others if run.writes_here]:
        return Check(
            what=what,
            level="failed",
            shown=shown,
            text=f"run {', '.join(writers)} is writing in {host.output_dir} or {host.holdout_dir}; wait for it, stop "
            f"it with 'shardfleet abort {writers[0]}' where it was launched, or choose other directories",
        )
    said = []
    if working := [run for run in others if run.supervised]:
        said.append(f"also at work: {', '.join(f'run {run.run_id}' for run in working)}")
    if orphans := [run for run in others if not run.supervised]:
        names = ", ".join(f"{run.processes} of run {run.run_id}" for run in orphans)
        said.append(
            f"left-over processes: {names}; 'shardfleet abort {orphans[0].run_id}' ends them, where it was launched"
        )
    if ours:
        said.append(f"{ours} processes of this run are there; what an earlier start left is ended first")
    return Check(what=what, level="note", shown=shown, text="; ".join(said)) if said else _ok(what, shown)


def _cores(host: HostPlan, survey: Survey) -> Check:
    shown = str(survey.cores)
    if host.ranks <= survey.cores:
        return _ok("cores", shown)
    text = f"{host.ranks} ranks on {survey.cores} cores: more than one rank a core gives no more speed"
    return Check(what="cores", level="note", shown=shown, text=text)


def _ok(what: str, shown: str) -> Check:
    return Check(what=what, level="ok", shown=shown)


def _size(size: int) -> str:
    for scale, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size / 1e3:.0f} kB"


def _gigabytes(size: int) -> str:
    """As short as a column wants it."""
    return f"{size / 1e9:.1f}" if size < 1e10 else f"{size / 1e9:.0f}"
