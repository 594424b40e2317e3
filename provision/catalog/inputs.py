"""Which of the listed files are the dataset, and how they are read (pure)."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from provision.errors import CatalogError
from shard.records.inputs import BY_SUFFIX, Format, Input, kind_of

_SHOWN = 8
_NO_DATA = ("README", "LICENSE", "LICENCE", "NOTICE", "CITATION")
_SAVED = ("dataset_info.json", "state.json")
_CACHES = ("cache-", "indices", "tmp")
"""Arrow files that `datasets` leaves beside the data: results of map() and of select()."""
_SHARD = re.compile(r"\d{6,}\.idx")
_TEXTS: tuple[Format, ...] = ("text", "tar")


@dataclass(frozen=True, slots=True)
class Readable:
    """The files that are taken."""

    paths: list[str]
    form: Input
    """As asked for, without what the suffixes say anyhow."""
    notes: tuple[str, ...] = ()


def readable(
    chosen: Sequence[str], listed: Collection[str], form: Input, *, included: bool, where: str, chosen_by: str
) -> Readable:
    """The files to read among those `chosen` from all that are `listed`.

    By suffix; where there is Parquet, only that. A forced format takes every file that was `included` by the user, else
    those whose suffix says so, or if there are none, those whose suffix says nothing. Raises CatalogError when there is
    nothing to read, saying what there is instead.
    """
    shards = _shards(listed)
    candidates = [
        path
        for path in chosen
        if path.endswith(".parquet") or not (_is_no_data(path) or path.rpartition("/")[0] in shards)
    ]
    kinds = {path: kind.format for path in candidates if (kind := kind_of(path, BY_SUFFIX)) is not None}
    if form.format is not None:
        taken = _forced(candidates, kinds, form, included=included)
    elif "parquet" in kinds.values():
        taken = [path for path in candidates if kinds.get(path) == "parquet"]
    else:
        taken = _without_caches([path for path in candidates if path in kinds], listed)
    if not taken:
        raise CatalogError(_nothing(chosen, form, where=where, chosen_by=chosen_by))
    form = _needed(form, taken)
    formats = Counter(kind.format for path in taken if (kind := kind_of(path, form)) is not None)
    notes = [*_notes(taken, candidates, kinds, formats), *_documentation_note(chosen, formats)]
    if shards:
        notes.append(f"not read, as they hold shards: {', '.join(sorted(shards)[:_SHOWN])}")
    return Readable(taken, form, tuple(notes))


def require_used(asked: Input, used: Input, *, where: str) -> None:
    """Raise CatalogError for an option of plain text where there is none."""
    for option in ("document_per_line", "drop_empty_lines"):
        if getattr(asked, option) and not getattr(used, option):
            raise CatalogError(f"{where}: --{option.replace('_', '-')} is for plain text, and there is none")


def _forced(candidates: Sequence[str], kinds: dict[str, Format], form: Input, *, included: bool) -> list[str]:
    possible = [path for path in candidates if kind_of(path, form) is not None]
    if included:
        return possible
    fitting = [path for path in possible if kinds.get(path) == form.format]
    return fitting or [path for path in possible if path not in kinds]


def _needed(form: Input, taken: Sequence[str]) -> Input:
    """Without what makes no difference: the same files read in the same way have one fingerprint."""
    # Of an archive, it also says which members are taken.
    if form.format != "tar" and all(kind_of(path, BY_SUFFIX) == kind_of(path, form) for path in taken):
        form = replace(form, format=None)
    text = any((kind := kind_of(path, form)) is not None and kind.format in _TEXTS for path in taken)
    return form if text else Input(format=form.format)


def _without_caches(paths: Sequence[str], listed: Collection[str]) -> list[str]:
    """Of a folder that `datasets` wrote, the data alone."""
    saved = {path.rpartition("/")[0] for path in listed if path.rpartition("/")[2] in _SAVED}
    return [
        path
        for path in paths
        if not (
            path.endswith(".arrow") and path.rpartition("/")[0] in saved and path.rpartition("/")[2].startswith(_CACHES)
        )
    ]


def _shards(listed: Collection[str]) -> set[str]:
    """Folders that hold what a run has written, whose records would pass for JSON lines: an output directory within
    the dataset must not make it another one."""
    made = {path.rpartition("/")[0] for path in listed if _SHARD.fullmatch(path.rpartition("/")[2])}
    return {folder for folder in made if f"{folder}/dataset.json".lstrip("/") in listed}


def _notes(
    taken: Sequence[str], candidates: Sequence[str], kinds: dict[str, Format], formats: Counter[Format]
) -> list[str]:
    notes: list[str] = []
    if len(formats) > 1:
        notes.append(f"read by suffix: {', '.join(f'{count} as {name}' for name, count in sorted(formats.items()))}")
    left = set(candidates) - set(taken)
    if other := _suffixes([path for path in left if path in kinds]):
        notes.append(f"not read: {other}; choose them with --include, or with --input-format")
    if unknown := _suffixes([path for path in left if path not in kinds]):
        notes.append(f"not read, of kinds that are not known: {unknown}; --input-format says what they are")
    return notes


def _nothing(chosen: Sequence[str], form: Input, *, where: str, chosen_by: str) -> str:
    kind = "file to be read" if form.format is None else f"file to be read as {form.format}"
    if not chosen:
        return f"{where}: no file{chosen_by}"
    # Where files were chosen, --include is what is to be looked at again.
    remedy = "; --input-format says how to read files of other names" if form.format is None and not chosen_by else ""
    return f"{where}: no {kind}{chosen_by}; there are {_suffixes(chosen)}{remedy}"


def _suffixes(paths: Collection[str]) -> str:
    """`3 .md, 1 .csv`: the most frequent first."""
    names = (path.rpartition("/")[2] for path in paths)
    counts = Counter(f".{name.rpartition('.')[2]}" if "." in name else name for name in names)
    shown = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {suffix}" for suffix, count in shown[:_SHOWN]) + (", …" if len(shown) > _SHOWN else "")


def _documentation_note(chosen: Sequence[str], formats: Collection[Format]) -> Iterator[str]:
    """A text of such a name may well be one of the documents, so that it is left out is said."""
    named = {path: kind_of(path, BY_SUFFIX) for path in chosen if _is_documentation(path)}
    texts = [path for path, kind in named.items() if kind is not None and kind.format in formats]
    if texts:
        shown = ", ".join(texts[:_SHOWN]) + (", …" if len(texts) > _SHOWN else "")
        yield f"not read, as the name is that of documentation: {shown}; rename what is data"


def _is_no_data(path: str) -> bool:
    """Hidden files, and those that tell about data."""
    name = path.rpartition("/")[2]
    about = name in ("dataset_infos.json", "dataset_dict.json", *_SAVED)
    return about or "/." in f"/{path}" or _is_documentation(path)


def _is_documentation(path: str) -> bool:
    return path.rpartition("/")[2].partition(".")[0].upper() in _NO_DATA
