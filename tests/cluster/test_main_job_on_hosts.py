"""The main job on hosts that share nothing but a network and an installed package."""

from pathlib import Path

import pytest

from tests.support.fleet import Fleet, running_fleet
from tests.support.netns import Cluster

pytestmark = [pytest.mark.root, pytest.mark.ssh]


def test_three_hosts_write_what_one_process_does(
    host_fleet: Fleet, cluster: Cluster, hub_directory: Path, tmp_path: Path
) -> None:
    """Launch and verify over three hosts end with 0; every host has written, and together they hold the very bytes of
    one rank on this machine."""
    launched = host_fleet.launch()
    assert launched.returncode == 0, launched.stdout + launched.stderr
    verified = host_fleet.call("verify", host_fleet.run_id)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    for host in cluster.hosts.values():
        listing = host.run("find", ".").stdout
        assert list((host.home / host_fleet.base / "shards").glob("[0-9]*.json")), f"{host.name} has only\n{listing}"
        assert host.processes(f"SHARDFLEET_JOB={host_fleet.run_id}") == []

    with running_fleet(tmp_path / "local", hub_directory, {"localhost": 1}) as alone:
        assert alone.launch().returncode == 0
        assert alone.shards() == host_fleet.shards()
    assert host_fleet.unfinished() == []
