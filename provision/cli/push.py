"""push: an export as a dataset on the Hub."""

from pathlib import Path

import click

from provision.finish.publish import publish


@click.command(short_help="Upload an export of Parquet as a dataset with a card.")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--repo", "repo_id", required=True, metavar="OWNER/NAME", help="Dataset on the Hub; made if need be.")
@click.option("--private", is_flag=True, help="Make it a private one, where it is made.")
def push(directory: Path, repo_id: str, private: bool) -> None:
    """Upload DIRECTORY, which export has made as parquet or parquet-packed, as a dataset with a card.

    HF_TOKEN, or the token of `hf auth login`, says who pushes. What is there already is not sent again.
    """
    done = publish(directory, repo_id, private=private)
    click.echo(f"{repo_id}: {done.files} files, {done.size / 1e6:,.1f} MB; {done.url}")
