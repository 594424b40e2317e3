"""An export of Parquet → a dataset on the Hub, with its card."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import msgspec
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from provision.errors import InputError
from shard.errors import JobError
from shard.export.run import EXPORT_FILE
from shard.records.frozen import unsealed

_FORMATS = ("parquet", "parquet-packed")
_CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Published:
    """A commit on the Hub."""

    url: str
    files: int
    size: int
    """Bytes."""


def publish(directory: Path, repo_id: str, *, private: bool) -> Published:
    """Upload an export to the dataset `repo_id`, which is made if need be; a card goes with it unless there is one.

    What an earlier export has brought there, and this one has not, goes in the same commit: `load_dataset` would read
    both. Other files stay. Raises InputError, each with its remedy.
    """
    facts = _facts(directory)
    files: Mapping[str, Any] = facts["files"]
    _require_whole(directory, files)
    api = huggingface_hub.HfApi()
    try:
        url = api.create_repo(repo_id, repo_type="dataset", private=private or None, exist_ok=True)
        there = set(api.list_repo_files(repo_id, repo_type="dataset"))
        # The old card may be somebody's own words.
        card = [] if _CARD in there else [_addition(_CARD, _card(facts).encode())]
        names = [EXPORT_FILE, *files]
        gone = sorted(there & (_exported_before(api, repo_id) if EXPORT_FILE in there else set()) - set(names))
        commit = api.create_commit(
            repo_id,
            [
                *card,
                *(_addition(name, directory / name) for name in names),
                *(huggingface_hub.CommitOperationDelete(name, is_folder=False) for name in gone),
            ],
            commit_message=f"{facts['format']} of {facts['source']['dataset']}, {facts['fingerprint'][:12]}",
            repo_type="dataset",
        )
    except HFValidationError as error:
        raise InputError(f"{repo_id}: write owner/name: {error}") from error
    except HfHubHTTPError as error:
        # Its first line: the client adds where a status code is explained.
        said = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{repo_id}: {api.endpoint} refuses: {said}; set HF_TOKEN to a token that may write there; a local Hub "
            "takes pushes with --writable"
        ) from error
    except (RuntimeError, OSError, ValueError) as error:  # a failed upload is a RuntimeError around what happened
        raise InputError(f"{repo_id}: cannot be pushed: {error.__cause__ or error}; push again to go on") from error
    return Published(commit.commit_url or str(url), len(names), sum(file["bytes"] for file in files.values()))


def _exported_before(api: huggingface_hub.HfApi, repo_id: str) -> set[str]:
    """The Parquet files that the export which is there lists; none where its record is not one of ours."""
    path = Path(api.hf_hub_download(repo_id, EXPORT_FILE, repo_type="dataset"))
    try:
        files: Mapping[str, Any] = msgspec.json.decode(unsealed(path.read_bytes()))["files"]
        return {name for name in files if name.endswith(".parquet")}
    except (JobError, msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return set()


def _facts(directory: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = msgspec.json.decode(unsealed((directory / EXPORT_FILE).read_bytes()))
    except OSError as error:
        raise InputError(
            f"{directory}: no {EXPORT_FILE} in it ({error.strerror}); push takes what export made"
        ) from error
    except (JobError, msgspec.DecodeError) as error:
        raise InputError(f"{directory / EXPORT_FILE}: {error}") from error
    if facts["format"] not in _FORMATS:
        raise InputError(
            f"{directory}: {facts['format']}; datasets on the Hub are Parquet: export --format {_FORMATS[0]}"
        )
    return facts


def _require_whole(directory: Path, files: Mapping[str, Any]) -> None:
    for name, file in files.items():
        try:
            size = os.stat(directory / name).st_size  # noqa: PTH116  of thousands
        except OSError as error:
            raise InputError(f"{directory / name}: {error.strerror}; export again") from error
        if size != file["bytes"]:
            raise InputError(f"{directory / name}: {size} bytes, {EXPORT_FILE} says {file['bytes']}; export again")


def _addition(name: str, content: bytes | Path) -> huggingface_hub.CommitOperationAdd:
    return huggingface_hub.CommitOperationAdd(name, content)


def _card(facts: Mapping[str, Any]) -> str:
    """What the dataset is, for people and for `load_dataset`."""
    tokenizer, source, length = facts["tokenizer"], facts["source"], facts["options"]["context_length"]
    splits = {name.partition("/")[0] for name in facts["files"] if name.endswith(".parquet")}
    listed = [{"split": split, "path": f"{split}/*.parquet"} for split in ("train", "test") if split in splits]
    data = huggingface_hub.DatasetCardData(
        configs=[{"config_name": "default", "data_files": listed}],
        tags=["tokenized", "shardfleet"],
        task_categories=["text-generation"],
    )
    rows = f"{length:,} tokens" if length else "one document"
    columns = "`input_ids`"
    if facts["format"] == "parquet-packed":
        columns = "`input_ids` (int32), `attention_mask` (int8, ones), `labels` (int64, a copy of `input_ids`)"
    lines = [
        f"# {source['dataset']}, tokenized",
        "",
        f"- Source: `{source['dataset']}` at `{source['revision']}`, column `{source['text_column']}`",
        f"- Tokenizer: `{tokenizer['name']}` ({tokenizer['kind']}, sha256 `{tokenizer['sha256']}`), "
        f"{tokenizer['vocab_size']:,} ids",
        f"- Before every document: {_said(tokenizer.get('bos_id'))}; after it: {_said(tokenizer['eod_id'])}",
        f"- Rows: {rows}; columns {columns}",
        *(
            f"- From the {split} documents: {found['documents']:,} documents, {found['tokens']:,} tokens, of which "
            f"{found['left_out']:,} fill no row"
            for split, found in facts["splits"].items()
        ),
        f"- Fingerprint: `{facts['fingerprint']}`; size and sha256 of every file are in `{EXPORT_FILE}`",
        "",
        "Made by shardfleet. The licence is that of the source.",
        "",
    ]
    return f"---\n{data.to_yaml()}\n---\n" + "\n".join(lines)


def _said(token: int | None) -> str:
    return "nothing" if token is None else f"id {token}"
