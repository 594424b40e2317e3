"""A run whose launcher has no room for another file, or another byte: it is stopped all the same."""

import pytest

from tests.support.disks import fill, small_disk
from tests.support.fleet import Fleet, count

pytestmark = pytest.mark.root


@pytest.mark.parametrize("by", ["ctrl-c", "abort"])
def test_stopped_without_room_for_a_file(by: str, bare_fleet: Fleet) -> None:
    """Ctrl+C and `abort` stop the hosts and show it where not even an empty file can be made beside the plan; what
    could not be made is said."""
    fleet = bare_fleet
    with small_disk(fleet.directory / "runs", "1m,nr_inodes=60") as disk:
        fleet.hold_after(2)
        running = fleet.start("--plain")
        running.wait_for(lambda events: count(events, "unit_done") >= 1)
        (run,) = disk.iterdir()
        fill(disk, 0, "files")
        if by == "abort":
            aborted = fleet.call("abort", str(run))
            assert aborted.returncode == 0, aborted.stderr
            assert "no process is left on 1 host" in aborted.stdout
            assert f"{run}/aborted: No space left on device" in aborted.stderr
            # It was not told why its hosts went quiet.
            assert running.wait(20) == 1, running.text
        else:
            running.interrupt()
            assert running.wait(20) == 130, running.text
            assert f"{run}/stopping: No space left on device" in running.text
        assert "Traceback" not in running.text
        fleet.wait_until_quiet(5.0)
