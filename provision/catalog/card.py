"""The `configs` of a dataset card: which files make up a configuration (pure).

Source: https://huggingface.co/docs/hub/datasets-manual-configuration
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import huggingface_hub

from provision.errors import CatalogError

_TRAIN = "train"


@dataclass(frozen=True, slots=True)
class CardConfig:
    """One configuration, with the globs of its training split."""

    name: str
    globs: tuple[str, ...]
    is_default: bool
    notes: tuple[str, ...] = ()
    splits: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Every split that it names, with its globs; none where it names no files."""

    def of_split(self, split: str, *, where: str) -> "CardConfig":
        """With the globs of another split. Raises CatalogError, listing the names, when there is none of this name."""
        globs = dict(self.splits)
        if split not in globs:
            raise CatalogError(f"{where}: configuration {self.name} has no split {split!r}; it has {', '.join(globs)}")
        return replace(self, globs=globs[split], notes=(f"configuration {self.name}, split {split}",))


def configs_of(card: huggingface_hub.DatasetCard) -> tuple[CardConfig, ...]:
    """The configurations that a card lists with their files; others say nothing about files.

    Raises TypeError when something else stands where a name or a pattern belongs.
    """
    data: dict[str, Any] = card.data.to_dict()  # type: ignore[no-untyped-call]
    listed = data.get("configs")
    if not isinstance(listed, list):
        return ()
    return tuple(_config(entry) for entry in listed if isinstance(entry, dict) and "config_name" in entry)


def chosen_config(configs: Iterable[CardConfig], name: str | None, *, where: str) -> CardConfig | None:
    """The configuration of this name, or the default one; None when the card lists none and none is asked for.

    Raises CatalogError, listing the names, when there is no such configuration or the choice is the user's.
    """
    by_name = {config.name: config for config in configs}
    names = ", ".join(sorted(by_name))
    if name is not None:
        if name not in by_name:
            have = f"it has {names}" if names else "its card lists none; choose files with --include"
            raise CatalogError(f"{where}: no configuration {name!r}; {have}")
        return by_name[name]
    default = next((config for config in by_name.values() if config.is_default or config.name == "default"), None)
    if default is None and len(by_name) > 1:
        raise CatalogError(f"{where}: choose one of its configurations with --config: {names}")
    return default or next(iter(by_name.values()), None)


def _config(entry: dict[str, object]) -> CardConfig:
    name = _text(entry["config_name"])
    base = _text(entry.get("data_dir") or "").strip("/")
    files = entry.get("data_files")
    splits: dict[str, list[str]] = {}
    for item in files if isinstance(files, list) else [files]:
        if isinstance(item, dict):
            paths = item.get("path")
            splits.setdefault(_text(item.get("split", _TRAIN)), []).extend(_strings(paths))
        elif item is not None:
            splits.setdefault(_TRAIN, []).extend(_strings(item))
    prefix = f"{base}/" if base else ""
    found = {split: tuple(f"{prefix}{glob.removeprefix('./')}" for glob in paths) for split, paths in splits.items()}
    # A card may split otherwise than into train and the rest; then all of it is training data.
    chosen = {_TRAIN: found[_TRAIN]} if _TRAIN in found else found
    left_out = sorted(found.keys() - chosen.keys())
    notes = (f"configuration {name}, split train; left out: {', '.join(left_out)}",) if left_out else ()
    return CardConfig(
        name=name,
        globs=tuple(glob for globs in chosen.values() for glob in globs) or (f"{prefix}**",),
        is_default=bool(entry.get("default")),
        notes=notes,
        splits=tuple(found.items()),
    )


def _strings(value: object) -> list[str]:
    return [_text(item) for item in value] if isinstance(value, list) else [_text(value)]


def _text(value: object) -> str:
    # Not str() of anything: YAML's aliases make a small list of lists that is gigabytes when spelled out.
    if isinstance(value, dict | list):
        raise TypeError(f"a {type(value).__name__} where a name or a pattern belongs")
    return str(value)
