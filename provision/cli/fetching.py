"""The options that say how source files are brought."""

import click

from provision.cli.values import Seconds, Size

FETCH_OPTIONS = (
    click.option(
        "--fetch",
        type=click.Choice(["stream", "download"]),
        default="stream",
        show_default=True,
        help="From the Hub: read only the text column over the network, or download whole files and check sha256.",
    ),
    click.option(
        "--spans-in-flight",
        type=click.IntRange(1, 64),
        default=16,
        show_default=True,
        metavar="N",
        help="Range requests that each rank keeps under way at most; it uses as many as bring something.",
    ),
    click.option(
        "--max-bandwidth",
        type=Size(),
        metavar="RATE",
        help="What each host takes in at most, all its ranks together, in bytes a second: 20M is 160 Mbit/s.",
    ),
    click.option(
        "--attempts",
        type=click.IntRange(min=1),
        default=3,
        show_default=True,
        metavar="N",
        help="Tries of one unit before it is put aside and named.",
    ),
    click.option(
        "--retry-seconds",
        type=Seconds(min=0, min_open=True),
        default=900.0,
        show_default=True,
        metavar="SECONDS",
        help="How long one request to the Hub is tried again, with growing waits.",
    ),
    click.option(
        "--stall-seconds",
        type=Seconds(min=0, min_open=True),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="A connection that brings nothing for so long is given up and tried again.",
    ),
)
