"""The options that say what is done when something fails, is slow, or is lost."""

import click

from provision.cli.values import Seconds

FAILURE_OPTIONS = (
    click.option(
        "--grace",
        "grace_seconds",
        type=Seconds(min=0),
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help="When stopping: time between SIGTERM and SIGKILL.",
    ),
    click.option(
        "--on-disconnect",
        type=click.Choice(["stop", "continue"]),
        default="stop",
        show_default=True,
        help="What a host does when it has lost the launcher.",
    ),
    click.option(
        "--detach",
        "detached",
        is_flag=True,
        help="Start the hosts and leave them to work by themselves: no lease, nothing moves between hosts.",
    ),
    click.option(
        "--on-host-failure",
        type=click.Choice(["reassign", "wait", "abort"]),
        default="reassign",
        show_default=True,
        help="When a host is lost or gives up: others do its units, it is waited for, or the run stops.",
    ),
    click.option(
        "--rebalance/--no-rebalance",
        default=True,
        show_default=True,
        help="Move units that nobody has begun from hosts that are behind to hosts that are done.",
    ),
    click.option(
        "--lost-after",
        "lost_seconds",
        type=Seconds(min=5),
        default=45.0,
        show_default=True,
        metavar="SECONDS",
        help="A host that has said nothing for so long, and cannot be reached, is lost.",
    ),
    click.option(
        "--skip-unready",
        is_flag=True,
        help="Go on without hosts that fail a check; the others do what these have not done.",
    ),
    click.option(
        "--skip-space-check",
        is_flag=True,
        help="Start also where, by the estimate, a disk is too small.",
    ),
    click.option(
        "--lost",
        multiple=True,
        metavar="HOST",
        help="This host will not return: what it has done is done again by others. May be given several times.",
    ),
    click.option(
        "--lease",
        "lease_seconds",
        type=Seconds(min=4),
        default=900.0,
        show_default=True,
        metavar="SECONDS",
        help="A host reached over SSH takes the launcher for lost after so long without a sign.",
    ),
)
