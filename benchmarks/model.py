"""How long a cluster takes for a dataset, how much disk, and what it waits for: a model, and its check.

python benchmarks/model.py [--dataset NAME] [--hosts N] [--host NAME] [--link GBIT] [--cores N] [--ranks N] [--json]
python benchmarks/model.py --check [--json]        # small real runs on this machine, predicted and measured
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.datasets import DATASETS, Dataset
from benchmarks.prediction import Costs, Host, Site, predict

HOSTS: Mapping[str, Host] = {
    "1 Gbit/s, 16 cores": Host(cores=16, ranks=4, link_bits=1e9, disk_write_bytes=0.5e9),
    "10 Gbit/s, 64 cores": Host(cores=64, ranks=8, link_bits=10e9, disk_write_bytes=2e9),
    "25 Gbit/s, 128 cores": Host(cores=128, ranks=8, link_bits=25e9, disk_write_bytes=3e9),
}
"""Typical machines: a workstation, and nodes of eight GPUs with NVMe. Disks are assumptions."""

CLUSTERS = (4, 16, 128)


def costs_of(path: Path) -> Costs:
    """Costs as `--check --json` or a hand wrote them: an object with fields of Costs."""
    known = json.loads(path.read_text())
    return Costs(**known.get("costs", known))


def hours(seconds: float) -> str:
    """Shortly: minutes below two hours."""
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def rows(
    datasets: Iterable[Dataset], hosts: Mapping[str, Host], clusters: Iterable[int], costs: Costs, site: Site
) -> list[dict[str, object]]:
    """Predictions of all combinations, as plain facts."""
    counts = list(clusters)
    found: list[dict[str, object]] = []
    for dataset in datasets:
        for name, host in hosts.items():
            for count in counts:
                told = predict(dataset, host, count, costs, site)
                found.append(
                    {"dataset": dataset.name, "host": name, "hosts": count, "bottleneck": told.bottleneck}
                    | {"total_seconds": told.total_seconds}
                    | asdict(told)
                )
    return found


def table(found: list[dict[str, object]]) -> Table:
    shown = Table(title="Predicted; the hosts' links, disks and the Hub deliver what they promise")
    for column in (
        "dataset",
        "each host",
        "hosts",
        "time",
        "waits for",
        "cores alone",
        "disk a host",
        "fetched a host",
    ):
        shown.add_column(column, justify="left" if column in {"dataset", "each host", "waits for"} else "right")
    for row in found:
        seconds, disk = row["seconds"], float(row["train_bytes"]) + float(row["holdout_bytes"])
        shown.add_row(
            str(row["dataset"]),
            str(row["host"]),
            str(row["hosts"]),
            hours(float(row["total_seconds"])),
            str(row["bottleneck"]),
            hours(seconds["cores"]),
            f"{disk / 1e9:,.0f} GB",
            f"{float(row['fetched_bytes']) / 1e9:,.0f} GB",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", action="append", choices=[*DATASETS], help="repeatable; default the large three")
    parser.add_argument("--host", action="append", choices=[*HOSTS], help="repeatable; default all")
    parser.add_argument("--hosts", type=int, action="append", help="repeatable; default 4, 16 and 128")
    parser.add_argument("--cores", type=int, help="of each host, in place of what --host has")
    parser.add_argument("--ranks", type=int, help="of each host")
    parser.add_argument("--link", type=float, metavar="GBIT", help="Gbit/s of each host")
    parser.add_argument("--disk", type=float, metavar="MB", help="MB/s that each host can write")
    parser.add_argument("--uplink", type=float, metavar="GBIT", help="Gbit/s of the whole site (default: no limit)")
    parser.add_argument("--resolves", type=float, default=3000, help="that the Hub allows in 5 minutes (default 3000)")
    parser.add_argument("--costs", type=Path, help="JSON with measured costs")
    parser.add_argument("--check", action="store_true", help="run small jobs here, and compare them with the model")
    parser.add_argument("--rounds", type=int, default=5, help="of --check (default 5)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = Console()
    if options.check:
        # Here: it needs the tests' tools, and the model by itself needs none.
        from benchmarks.check import check

        sys.exit(check(console, as_json=options.json, rounds=options.rounds))
    given = {
        "cores": options.cores,
        "ranks": options.ranks,
        "link_bits": options.link and options.link * 1e9,
        "disk_write_bytes": options.disk and options.disk * 1e6,
    }
    given = {field: value for field, value in given.items() if value is not None}
    hosts = {name: HOSTS[name] for name in options.host or HOSTS}
    if given:
        base = replace(next(iter(hosts.values())), **given)
        hosts = {f"{base.link_bits / 1e9:g} Gbit/s, {base.cores} cores": base}
    costs = costs_of(options.costs) if options.costs else Costs()
    site = Site(
        uplink_bits=options.uplink * 1e9 if options.uplink else math.inf, resolves_per_second=options.resolves / 300
    )
    names = options.dataset or [name for name in DATASETS if name != "fineweb-edu-1.5T"]
    found = rows((DATASETS[name] for name in names), hosts, options.hosts or CLUSTERS, costs, site)
    if options.json:
        print(json.dumps({"costs": asdict(costs), "predictions": found}, indent=1))
    else:
        console.print(table(found))


if __name__ == "__main__":
    main()
