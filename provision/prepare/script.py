"""Plan → text of run_all_hosts.sh (pure). The script is the run: `launch` only writes and starts it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from provision import __version__
from provision.hosts import Host
from provision.plan.plan import HostPlan, Plan
from provision.prepare import scripttext
from provision.reach.pdsh import pdsh_argv, pdsh_command, supervisor_command


def render_script(plan: Plan, *, run_dir: Path, python: str) -> str:
    """The whole script. `run_dir` is absolute; `python` is this machine's interpreter that has shardfleet."""
    local = [host for host in plan.present if host.host.is_local]
    remote = [host for host in plan.present if not host.host.is_local]
    detached = plan.policy.detached
    what = scripttext.DETACHED if detached else scripttext.ATTACHED
    parts = [
        scripttext.HEAD.format(
            version=__version__,
            dataset=_comment(plan.dataset.name),
            revision=_comment(plan.dataset.revision[:12]),
            run_id=plan.run_id,
            units=len(plan.units),
            gigabytes=plan.bytes / 1e9,
            hosts=len(plan.present),
            ranks=plan.world_size,
            output_dir=_comment(plan.present[0].output_dir),
            holdout_dir=_comment(plan.present[0].holdout_dir),
            what=what.format(run_id=plan.run_id),
            overwrite=scripttext.OVERWRITE if plan.overwrite else "",
            run_dir=shlex.quote(str(run_dir)),
            python=shlex.quote(python),
            names=shlex.quote(" ".join(host.name for host in plan.present)),
            token=scripttext.HAND_OVER if plan.hub_datasets else "",
        )
    ]
    start = ""
    if remote:
        command = pdsh_command(plan, plan.remote_python)
        parts.append(scripttext.REMOTE.format(pdsh=_lines(pdsh_argv(_hosts(remote), command, local=False))))
        start += "  start_remote\n"
    if local:
        command = pdsh_command(plan, plan.local_python)
        parts.append(scripttext.LOCAL.format(pdsh=_lines(pdsh_argv(_hosts(local), command, local=True))))
        start += "  start_local\n" if remote else scripttext.START_LOCAL
    if local and not remote:
        commands = shlex.join(supervisor_command(plan, plan.local_python, host.name) for host in local)
        parts.append(scripttext.LOCAL_WITHOUT_PDSH.format(commands=commands))
    lease = bool(remote) and plan.options.lease_seconds is not None
    parts.append(scripttext.BEGIN.format(run_id=plan.run_id, require_pdsh=scripttext.REQUIRE_PDSH if remote else ""))
    watcher = "started ." if detached else "watch . --parent $$"
    parts.append(scripttext.RUN.format(watcher=watcher, start=start, lease=scripttext.LEASE if lease else ""))
    parts += [scripttext.SETTLE_IF_STOPPED if detached else scripttext.SETTLE, scripttext.END]
    return "".join(parts)


def _hosts(plans: Sequence[HostPlan]) -> list[Host]:
    return [host.host for host in plans]


def _lines(argv: Sequence[str]) -> str:
    """A long command over two lines: everything quoted once, the host list and the command at the end."""
    cut = argv.index("-w")
    return f"{shlex.join(argv[:cut])} \\\n    {shlex.join(argv[cut:])}"


def _comment(text: str) -> str:
    """Text that cannot leave the comment it stands in."""
    return "".join(character if character.isprintable() else "?" for character in text)
