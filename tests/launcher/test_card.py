"""provision/catalog/card.py: the files that a dataset card lists (the whole way is in test_catalog)."""

from typing import Any

import huggingface_hub
import pytest
import yaml

from provision.catalog.card import CardConfig, chosen_config, configs_of
from provision.errors import CatalogError


def card_of(configs: Any) -> huggingface_hub.DatasetCard:
    return huggingface_hub.DatasetCard(f"---\n{yaml.safe_dump({'configs': configs})}---\n")


def config(name: str, *, default: bool = False) -> CardConfig:
    return CardConfig(name=name, globs=(f"{name}/*",), is_default=default)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"data_files": "a.parquet"}, ("a.parquet",)),
        ({"data_files": ["a", "./b"]}, ("a", "b")),
        ({"data_files": {"split": "train", "path": "a"}}, ("a",)),
        ({"data_files": [{"split": "train", "path": ["a", "b"]}, {"split": "test", "path": "c"}]}, ("a", "b")),
        ({"data_files": [{"split": "x", "path": "a"}, {"split": "y", "path": "b"}]}, ("a", "b")),
        ({"data_files": [{"path": "a"}]}, ("a",)),
        ({"data_dir": "d"}, ("d/**",)),
        ({"data_dir": "/d/", "data_files": "a/*"}, ("d/a/*",)),
        ({}, ("**",)),
    ],
)
def test_files_of_a_configuration(files: dict[str, Any], expected: tuple[str, ...]) -> None:
    """data_files as a string, a list, or by split, below data_dir; the training split, or all where there is none."""
    (found,) = configs_of(card_of([{"config_name": "c", **files}]))
    assert found.globs == expected


def test_real_card_of_fineweb_edu() -> None:
    """The shape of FineWeb-Edu's own card: a default of many directories, and samples beside it."""
    configs = configs_of(
        card_of(
            [
                {"config_name": "default", "data_files": [{"split": "train", "path": "data/*/*"}]},
                {"config_name": "sample-10BT", "data_files": [{"split": "train", "path": "sample/10BT/*"}]},
            ]
        )
    )
    chosen = [chosen_config(configs, name, where="x") for name in (None, "sample-10BT")]
    assert [found.globs for found in chosen if found is not None] == [("data/*/*",), ("sample/10BT/*",)]


@pytest.mark.parametrize(
    ("configs", "asked", "expected"),
    [
        ([], None, None),
        (["a"], None, "a"),
        (["a", "default"], None, "default"),
        (["a", "*b"], None, "b"),
        (["a", "*b"], "a", "a"),
    ],
)
def test_choice(configs: list[str], asked: str | None, expected: str | None) -> None:
    """The one asked for, else the one marked or named default, else the only one."""
    listed = [config(name.removeprefix("*"), default=name.startswith("*")) for name in configs]
    found = chosen_config(listed, asked, where="x")
    assert (found.name if found is not None else None) == expected


@pytest.mark.parametrize(
    ("configs", "asked", "message"),
    [
        (["b", "a"], None, "x: choose one of its configurations with --config: a, b"),
        (["b", "a"], "c", "x: no configuration 'c'; it has a, b"),
        ([], "c", "x: no configuration 'c'; its card lists none; choose files with --include"),
    ],
)
def test_no_choice(configs: list[str], asked: str | None, message: str) -> None:
    """What cannot be chosen is refused with the names there are."""
    with pytest.raises(CatalogError) as caught:
        chosen_config([config(name) for name in configs], asked, where="x")
    assert str(caught.value) == message
