"""Inputs besides Parquet from the real Hub server, over loopback: streamed, downloaded, in parts and in groups."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import pytest

from provision.catalog.hub import hub_catalog
from provision.catalog.types import DatasetSpec
from provision.errors import CatalogError
from provision.plan.units import units_of
from shard.errors import SourceReadError
from shard.records.inputs import Input
from shard.records.job import Dataset
from shard.records.options import Options
from shard.records.unit import Unit
from shard.source.download import Scratch
from shard.source.intake import Intake
from shard.source.opened import open_unit
from tests.support.batches import documents_of
from tests.support.hub import RunningHub, running_hub
from tests.support.inputs import FORMATS, json_lines, named
from tests.support.jobs import QUICK
from tests.support.text import real_documents

DOWNLOAD = Options(fetch="download", retry_seconds=60.0, stall_seconds=10.0)
IMPATIENT = Options(retry_seconds=1.0, stall_seconds=0.7)


@dataclass(frozen=True)
class Served:
    """A server with one repository for each format."""

    hub: RunningHub
    folder: Path

    def listed(self, repo: str, form: Input | None = None, unit_bytes: int = 1 << 30) -> tuple[Dataset, list[Unit]]:
        """As the launcher plans it."""
        catalog = hub_catalog(DatasetSpec(name=f"team/{repo}", input=form or Input()))
        return catalog.dataset, list(units_of(catalog.files, unit_bytes, catalog.dataset.input))

    def resolves(self, repo: str) -> int:
        paths = self.hub.stats()["paths"]
        return sum(counts["resolve"] for path, counts in paths.items() if path.startswith(f"team/{repo}/"))


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return [" ".join(document.split()) for document in real_documents(120)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("served")
    for name, (write, _) in FORMATS.items():
        folder = root / "team" / name.replace(" ", "-")
        folder.mkdir(parents=True)
        write(folder, documents)
    with running_hub(root) as hub:
        yield Served(hub, root / "team")


@pytest.fixture
def served(running: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    # What huggingface_hub has read from the environment on import, as if it had been this.
    endpoint = running.hub.endpoint
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    yield running
    running.hub.clear()


def read(dataset: Dataset, units: list[Unit], scratch: Path, options: Options = QUICK) -> list[str]:
    """As a rank does: one unit after another, the next one opened ahead."""
    found: list[str] = []
    kept, locations = Scratch(scratch), dict[str, str]()
    with closing(Intake(options)) as intake:
        for unit, then in zip(units, [*units[1:], None], strict=True):
            with open_unit(dataset, unit, options, kept, locations, intake, then) as opened:
                found += [bytes(document).decode() for batch in opened.texts for document in documents_of(batch)]
    kept.clear()
    return found


@pytest.mark.parametrize("options", [QUICK, DOWNLOAD], ids=["stream", "download"])
@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format(name: str, options: Options, served: Served, documents: list[str], tmp_path: Path) -> None:
    """The documents are the same, streamed or downloaded; streaming leaves nothing on the disk."""
    dataset, units = served.listed(name.replace(" ", "-"), FORMATS[name][1])
    assert read(dataset, units, tmp_path / "scratch", options) == documents
    assert not (tmp_path / "scratch").exists()


def test_parts_cost_one_resolve(served: Served, documents: list[str], tmp_path: Path) -> None:
    """A file of lines in several units is resolved once by the launcher and once by a rank, and read once."""
    folder = served.folder / "large"
    folder.mkdir()
    # Over 10 MB, and so not served by the Hub itself, as small files are.
    (folder / "a.jsonl").write_bytes(json_lines(documents * 50))
    dataset, units = served.listed("large", unit_bytes=3_000_000)
    before = served.resolves("large")
    assert len(units) > 3
    assert read(dataset, units, tmp_path) == documents * 50
    assert served.resolves("large") == before + 1
    counts = served.hub.stats()["paths"]["team/large/a.jsonl"]
    # Besides, the launcher's look, and what each part reads past its end.
    assert counts["cdn_bytes"] < units[0].size + (256 << 10) + len(units) * (66 << 10)


def test_a_group_survives_faults(served: Served, documents: list[str], tmp_path: Path) -> None:
    """Small files are fetched many at once, and what fails in passing is fetched again."""
    dataset, units = served.listed("files")
    assert len(units) == 1
    # Files this small are served by the Hub itself, under the address that is resolved.
    faults = [{"kind": "status", "status": 503, "times": 3}, {"kind": "cut", "after": 100, "times": 2}]
    served.hub.arm(*({"where": "resolve", **fault} for fault in faults))
    assert read(dataset, units, tmp_path) == documents
    assert served.hub.stats()["faults_left"] == 0


def test_a_group_without_one_of_its_files(served: Served, documents: list[str], tmp_path: Path) -> None:
    """A file that cannot be had fails its unit, by name, and soon."""
    dataset, units = served.listed("files")
    name = named(documents)[60][0]
    served.hub.arm({"kind": "status", "where": "resolve", "times": None, "path": f"team/files/{name}"})
    with pytest.raises(SourceReadError, match=rf"{name}: given up"):
        read(dataset, units, tmp_path, IMPATIENT)


def test_look_over_the_hub(served: Served) -> None:
    """The launcher reads the beginning of the first file with the reader of all, and refuses a wrong column."""
    with pytest.raises(CatalogError, match="no 'body' in its first lines; its names are id, text, url"):
        hub_catalog(DatasetSpec(name="team/jsonl.zst", text_column="body"))
    with pytest.raises(CatalogError, match="its columns are id, text"):
        hub_catalog(DatasetSpec(name="team/feather", text_column="body"))
