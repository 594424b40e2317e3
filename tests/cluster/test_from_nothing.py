"""From hosts that have nothing to shards that are verified, with the commands a user types."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fleet import DATASET, Fleet
from tests.support.hub import running_hub
from tests.support.jobs import write_sample
from tests.support.netns import Cluster
from tests.support.netns_fleet import cluster_fleet

pytestmark = [pytest.mark.root, pytest.mark.ssh, pytest.mark.slow]

SECONDS = 600.0


def provision(fleet: Fleet, cluster: Cluster, *args: str) -> "subprocess.CompletedProcess[str]":
    words = ("--ssh-config", str(cluster.ssh_config), "--python", sys.executable)
    return fleet.call("provision", *words, *args, timeout=SECONDS)


def test_provision_launch_verify(tmp_path: Path, cluster: Cluster, small_tokenizer: Path) -> None:
    """Three empty homes: provision, launch and verify all end with 0, and a second provision changes nothing."""
    write_sample(tmp_path / "hub" / DATASET)
    ranks = dict.fromkeys(cluster.names, 2)
    with (
        running_hub(tmp_path / "hub", host=cluster.hub_address) as hub,
        cluster_fleet(tmp_path / "fleet", cluster, hub, ranks, "--tokenizer", str(small_tokenizer)) as fleet,
    ):
        assert all(not any(home.iterdir()) for home in cluster.homes.values())
        # The launcher's cache of wheels is not the user's; what pip has is.
        cache = subprocess.run(
            [sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=True
        )
        fleet.environment |= {"PIP_CACHE_DIR": cache.stdout.strip(), "NO_COLOR": "1"}
        first = provision(fleet, cluster)
        assert first.returncode == 0, first.stdout + first.stderr
        second = provision(fleet, cluster)
        assert second.returncode == 0, second.stdout + second.stderr
        assert second.stdout.count("changed=0 ") == len(ranks), second.stdout

        # As installed: without --remote-python.
        launched = fleet.launch("--remote-python", "~/.shardfleet/venv/bin/python", timeout=SECONDS)
        assert launched.returncode == 0, launched.stdout + launched.stderr
        verified = fleet.call("verify", fleet.run_id)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert "verified: complete" in verified.stdout
        assert all(list((home / fleet.base / "shards").glob("*.bin")) for home in cluster.homes.values())
