"""Inputs besides Parquet through launcher, script, ssh and supervisors."""

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from tests.support.fleet import Fleet
from tests.support.inputs import json_lines, named, tar_of
from tests.support.oracle import bytes_encode, expected, written

pytestmark = pytest.mark.ssh


def test_several_datasets_on_two_hosts(pair_fleet: Fleet, documents: list[str], tmp_path: Path) -> None:
    """JSON lines in parts, compressed ones, an archive and small files, as two named datasets over two hosts: every
    document once, coverage proven by the hosts, records that name the dataset."""
    web, books = tmp_path / "web", tmp_path / "books"
    (books / "d").mkdir(parents=True)
    web.mkdir()
    (web / "a.jsonl").write_bytes(json_lines(documents[:100]))
    (web / "b.jsonl.zst").write_bytes(zstandard.compress(json_lines(documents[100:200])))
    (books / "a.tar.gz").write_bytes(gzip.compress(tar_of(named(documents[200:300]))))
    for name, data in named(documents[300:400]):
        (books / name).write_bytes(data)
    datasets = ("--dataset", f"web={web}", "--dataset", f"books={books}")
    done = pair_fleet.launch(*datasets, "--unit-size", "100k", "--holdout-rate", "5%")
    assert done.returncode == 0, done.stderr
    assert "read by suffix" in done.stdout + done.stderr
    directories = [home / pair_fleet.mark / "shards" for home in pair_fleet.homes.values()]
    found = written(directories)
    wanted = expected(documents, bytes_encode, eod=256, rate="5%")["train"]
    assert sorted(found) == sorted(wanted)
    sources = [
        json.loads(path.read_bytes())["source"] for directory in directories for path in directory.glob("0*.json")
    ]
    assert {source["path"].partition("/")[0] for source in sources} == {"web", "books"}
    assert sum("lines" in source for source in sources) > 1
    run = next((pair_fleet.directory / "runs").iterdir())
    verified = pair_fleet.call("verify", str(run))
    assert verified.returncode == 0, verified.stdout
    assert "400 rows" in verified.stdout


def test_broken_line_is_named(pair_fleet: Fleet, documents: list[str], tmp_path: Path) -> None:
    """A unit with a line that is no JSON is given up; the launcher names unit, file and line, and all else is done."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(json_lines(documents[:20]))
    (tmp_path / "in" / "b.jsonl").write_bytes(json_lines(documents[:20]) + b'{"text": "cut')
    done = pair_fleet.launch("--dataset", str(tmp_path / "in"), "--json")
    assert done.returncode == 1
    assert "b.jsonl: line 21" in done.stdout + done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["event"], last["documents"] + last["holdout_documents"]) == ("run_done", 20)
