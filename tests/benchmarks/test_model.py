"""benchmarks/prediction.py, benchmarks/model.py, benchmarks/datasets.py"""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.datasets import DATASETS, Dataset
from benchmarks.model import HOSTS
from benchmarks.prediction import Costs, Host, Site, predict, text_rate

_ROOT = Path(__file__).resolve().parents[2]

COSTS = Costs(
    decode=2e-9,
    encode=2e-9,
    rest=1e-9,
    fetch=1e-9,
    further_core=0.8,
    start_seconds=1.0,
    output_bytes_per_token=2,
    index_bytes_per_document=20,
    holdout_rate=0.001,
    link_share=0.9,
    launcher_events=0.0,
)
DATA = Dataset(
    name="round",
    tokens=1e12,
    documents=1e9,
    text_bytes=4e12,
    column_bytes=2.5e12,
    parquet_bytes=2.7e12,
    files=1000,
    sources=("made up",),
)
HOST = Host(cores=64, ranks=8, link_bits=1e9, disk_write_bytes=2e9)


def test_link_bound_time_is_bytes_over_payload_rate() -> None:
    """On slow links a run takes as long as its share of the column takes at the payload's rate."""
    told = predict(DATA, HOST, 4, COSTS)
    assert told.bottleneck == "link"
    assert told.seconds["link"] == pytest.approx(2.5e12 / 4 * 8 / 0.9e9)
    assert told.total_seconds == pytest.approx(told.seconds["link"] + 1.0)
    assert told.fetched_bytes == 2.5e12 / 4


def test_disk_of_a_host_holds_tokens_ends_and_index() -> None:
    """A host's disk takes two bytes a token, an end-of-document token and 20 bytes of index a document; 0.1 % of it is
    holdout."""
    told = predict(DATA, HOST, 4, COSTS)
    assert told.train_bytes + told.holdout_bytes == pytest.approx((2 * (1e12 + 1e9) + 20 * 1e9) / 4)
    assert told.holdout_bytes / told.train_bytes == pytest.approx(0.001 / 0.999)


def test_one_rank_on_one_core_pays_for_every_stage() -> None:
    """With one core the stages' costs add up; from local files nothing is fetched."""
    alone = replace(HOST, cores=1, ranks=1)
    assert text_rate(alone, COSTS, remote=False, column_share=0.6) == pytest.approx(1 / 5e-9)
    assert text_rate(alone, COSTS, remote=True, column_share=0.5) == pytest.approx(1 / 5.5e-9)


def test_one_rank_is_not_faster_than_its_slowest_stage() -> None:
    """However many cores there are, a rank keeps no more of them busy than its slowest stage lets it."""
    one = replace(HOST, cores=64, ranks=1)
    linear = replace(COSTS, further_core=1.0)
    assert text_rate(one, linear, remote=False, column_share=0.6) == pytest.approx(1 / 2e-9)


def test_more_ranks_than_cores_are_no_faster() -> None:
    """A host never works faster than its cores, each further one adding less than the first."""
    full = text_rate(replace(HOST, cores=4, ranks=32), COSTS, remote=False, column_share=0.6)
    assert full == pytest.approx((1 + 3 * 0.8) / 5e-9)


@pytest.mark.parametrize(
    ("host", "site", "bottleneck"),
    [
        (HOST, Site(), "link"),
        (replace(HOST, link_bits=400e9, cores=2), Site(), "cores"),
        (replace(HOST, link_bits=400e9, disk_write_bytes=1e8), Site(), "disk"),
        (replace(HOST, link_bits=400e9, cores=4096, ranks=4096), Site(resolves_per_second=0.1), "Hub resolves"),
        (HOST, Site(uplink_bits=1e9), "uplink"),
    ],
)
def test_the_slowest_resource_is_named(host: Host, site: Site, bottleneck: str) -> None:
    """The bottleneck is the resource that alone would take longest."""
    assert predict(DATA, host, 4, COSTS, site).bottleneck == bottleneck


def test_more_hosts_take_less_time_until_they_share_what_is_slow() -> None:
    """Twice the hosts take half the time where each waits for itself, and as long where all wait for one uplink."""
    four, eight = (predict(DATA, HOST, hosts, COSTS) for hosts in (4, 8))
    assert eight.seconds["link"] == four.seconds["link"] / 2
    shared = Site(uplink_bits=1e9)
    four, eight = (predict(DATA, HOST, hosts, COSTS, shared) for hosts in (4, 8))
    assert eight.total_seconds == four.total_seconds


def test_local_files_wait_for_no_link() -> None:
    """What is not fetched has no link, no uplink and no Hub to wait for."""
    assert predict(DATA, HOST, 1, COSTS, remote=False).seconds.keys() == {"cores", "disk", "launcher"}


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_sizes_of_datasets_agree_with_each_other(dataset: Dataset) -> None:
    """English has 3.5 to 5.5 bytes a token and compresses to half or more; every number has a source."""
    assert 3.5 < dataset.text_bytes / dataset.tokens < 5.5
    assert 0.5 < dataset.column_bytes / dataset.text_bytes < 0.75
    assert dataset.column_bytes < dataset.parquet_bytes
    assert 200 < dataset.tokens / dataset.documents < 2000
    assert dataset.sources


def test_command_answers_for_a_cluster_of_ones_own() -> None:
    """`--hosts`, `--link`, `--cores` and `--uplink` replace the typical machines; `--json` holds what the table has."""
    command = [sys.executable, "benchmarks/model.py", "--json", "--dataset", "fineweb-edu", "--hosts", "2"]
    said = subprocess.run([*command, "--link", "2", "--cores", "32"], cwd=_ROOT, capture_output=True, check=True)
    (row,) = json.loads(said.stdout)["predictions"]
    told = predict(DATASETS["fineweb-edu"], replace(next(iter(HOSTS.values())), link_bits=2e9, cores=32), 2)
    assert math.isclose(row["total_seconds"], told.total_seconds)
    assert (row["bottleneck"], row["hosts"]) == (told.bottleneck, 2)
