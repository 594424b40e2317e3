"""What is concluded from measurements."""

from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.contenders import CONTENDERS, Task
from benchmarks.counts import Count
from benchmarks.measure import Usage
from benchmarks.measured import Measured
from benchmarks.others import PEERS

_TEXT = 1_000_000_000


def _usage(seconds: float) -> Usage:
    return Usage(seconds=seconds, cpu_seconds=seconds, peak_bytes=10**8, tree_bytes=2 * 10**8)


def _measured(name: str, runs: dict[int, float], *, startup: float = 1.0) -> Measured:
    contender = CONTENDERS.get(name) or PEERS[name].contender
    one = Measured(contender, _TEXT, Task(()), Task(()), Count(2, 3, 4))
    one.runs = {number: _usage(seconds) for number, seconds in runs.items()}
    one.startups = {number: _usage(startup) for number in runs}
    one.counts = dict.fromkeys(runs, Count(2, 3, 4))
    return one


def _verdict(measured: dict[str, Measured], **wanted: object) -> dict[str, object]:
    (found,) = [one for one in report.verdicts(measured) if wanted.items() <= one.items()]
    return found


def test_ratios_are_of_the_same_rounds() -> None:
    """A contender that missed a round, or took fewer, is compared in the rounds that it has."""
    measured = {
        "rank2": _measured("rank2", {0: 3.0, 1: 5.0, 2: 3.0}),
        "litdata": _measured("litdata", {1: 41.0}),
    }
    assert _verdict(measured, below="litdata", of="rate")["ratios"] == [pytest.approx(10.0)]
    assert _verdict(measured, below="litdata", of="whole")["ratios"] == [pytest.approx(8.2)]


def test_peers_are_judged_with_and_without_start_up() -> None:
    """Megatron's gigatoken style has a limit of its own for each."""
    measured = {
        "rank2": _measured("rank2", {0: 3.0}, startup=1.0),
        "megatron-gigatoken": _measured("megatron-gigatoken", {0: 15.0}, startup=11.0),
    }
    whole = _verdict(measured, below="megatron-gigatoken", of="whole")
    warm = _verdict(measured, below="megatron-gigatoken", of="rate")
    assert (whole["median"], whole["least"], whole["met"]) == (pytest.approx(5.0), 6, False)
    assert (warm["median"], warm["least"], warm["met"]) == (pytest.approx(2.0), 2.5, False)


def test_a_verdict_tells_memory_and_exactness() -> None:
    """Beside each ratio: the memory of the whole tree, and what was lost in which of the runs."""
    catid = _measured("catid", {0: 100.0, 1: 100.0})
    catid.counts[1] = Count(1, 3, 4)
    catid.failures.append("hung (no processor time used for 30 s) in round 3")
    measured = {"rank2": _measured("rank2", {0: 3.0, 1: 3.0}), "catid": catid}
    said = report.verdict_said(_verdict(measured, below="catid", of="whole"), measured)
    assert "catid: 200 MB, 1 of 2 runs not exact: 1 documents lost; hung" in said
    assert PEERS["catid"].uncounted in said


def test_a_run_no_longer_than_the_start_up_gives_no_rate() -> None:
    """Nothing is divided by what a disturbance has left."""
    one = _measured("rank1", {0: 0.9, 1: 3.0})
    assert one.rates == {1: pytest.approx(_TEXT / 2)}
    short = {"rank1": _measured("rank1", {0: 0.9}), "decode": _measured("decode", {0: 3.0})}
    assert [verdict for verdict in report.verdicts(short) if verdict.get("below") == "decode"] == []
    assert report.output_lines(short)[0] == "rank1: exact; 1 runs no longer than the start-up give no rate without it"


def test_what_never_finished_is_reported_and_not_judged() -> None:
    """A contender without a run has a line that says why, no rate and no verdict."""
    hung = _measured("catid", {})
    hung.failures.append("hung (not done after 60 s) in round 1")
    measured = {"rank2": _measured("rank2", {0: 3.0}), "catid": hung}
    assert [verdict for verdict in report.verdicts(measured) if verdict.get("below") == "catid"] == []
    assert any(line.startswith("catid: hung (not done") for line in report.output_lines(measured))
    assert report.speed_table(measured).row_count == 1


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_has_its_script_and_exact_versions(name: str) -> None:
    """What peers.sh installs is pinned to the last package, and what is told of it is among that."""
    peer = PEERS[name]
    directory = Path(report.__file__).with_name("peers")
    assert (directory / peer.script).is_file()
    lines = (directory / f"{name}.txt").read_text().splitlines()
    assert all(line.count("==") == 1 for line in lines)
    assert all(package in peer.versions for package in peer.packages)
