"""TokenizerSpec and its file → engine and reference, tested against each other."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from shard.errors import TokenizerError
from shard.records.job import TokenizerSpec
from shard.tokenizer.checks import first_difference
from shard.tokenizer.fast import GigatokenEngine, ReferenceEngine, as_tokenizer_json
from shard.tokenizer.hf import HfReference
from shard.tokenizer.protocol import Engine, Reference
from shard.tokenizer.ranks import RankFile, TiktokenReference, by_sha256
from shard.tokenizer.raw_bytes import ByteEngine, ByteReference
from shard.tokenizer.spm import SentencePieceReference
from shard.tokenizer.textonly import without_special_tokens


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A loaded tokenizer."""

    spec: TokenizerSpec
    engine: Engine
    reference: Reference
    slow_because: str | None = None
    """Why the engine is the reference in a loop; None when it is the fast one."""


def load_tokenizer(spec: TokenizerSpec, directory: Path) -> Tokenizer:
    """Load `spec` from `directory/spec.file`.

    Raises TokenizerError when the file is missing, is another file, or cannot be loaded.
    """
    if spec.kind == "bytes":
        return Tokenizer(spec, ByteEngine(), ByteReference())
    data = _checked_file(spec, directory)
    if spec.kind == "tiktoken":
        rank_file = by_sha256(spec.sha256)
        if rank_file is None:
            raise TokenizerError(f"{spec.name}: no published rank file has sha256 {spec.sha256}")
        tiktoken = TiktokenReference(rank_file, directory)
        _require_vocabulary(spec, tiktoken.vocab_size)
        return _with_fast_engine(spec, tiktoken, data, rank_file)
    model = _model_reference(spec, data)
    _require_vocabulary(spec, model.vocab_size)
    return _with_fast_engine(spec, model, data, None)


def load_reference(spec: TokenizerSpec, directory: Path) -> Reference:
    """The reference alone, for decoding."""
    if spec.kind == "bytes":
        return ByteReference()
    data = _checked_file(spec, directory)
    rank_file = by_sha256(spec.sha256)
    if spec.kind == "tiktoken" and rank_file is not None:
        return TiktokenReference(rank_file, directory)
    return _model_reference(spec, data)


def _model_reference(spec: TokenizerSpec, data: bytes) -> HfReference | SentencePieceReference:
    if spec.kind == "sentencepiece":
        return SentencePieceReference(data, origin=spec.name)
    return HfReference(data, origin=spec.name)


def _with_fast_engine(spec: TokenizerSpec, reference: Reference, data: bytes, rank_file: RankFile | None) -> Tokenizer:
    try:
        added: tuple[str, ...] = ()
        if rank_file is not None:
            engine = GigatokenEngine.from_ranks(data, rank_file.pretokenizer)
        else:
            config = json.loads(as_tokenizer_json(data) if spec.kind == "sentencepiece" else data)
            added = tuple(token["content"] for token in config.get("added_tokens") or ())
            bare = json.dumps(without_special_tokens(config), ensure_ascii=False)
            engine = GigatokenEngine.from_tokenizer_json(bare.encode())
        difference = first_difference(engine, reference, added)
    except Exception as error:  # noqa: BLE001  whatever the fast engine cannot take, the reference can
        # Its first line: behind it come places in gigatoken's own source.
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Tokenizer(spec, ReferenceEngine(reference), reference, f"gigatoken does not take it: {first}")
    if difference is not None:
        reason = f"gigatoken differs from {reference.name} on {difference[:40]!r}"
        return Tokenizer(spec, ReferenceEngine(reference), reference, reason)
    return Tokenizer(spec, engine, reference)


def _require_vocabulary(spec: TokenizerSpec, vocab_size: int) -> None:
    # The token type on disk follows from it: an id past it would be cut short without a word.
    if vocab_size > spec.vocab_size:
        raise TokenizerError(f"{spec.name}: has ids up to {vocab_size - 1}, planned were {spec.vocab_size}; plan again")


def _checked_file(spec: TokenizerSpec, directory: Path) -> bytes:
    path = directory / (spec.file or "")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror}; launch again to send the tokenizer anew") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != spec.sha256:
        raise TokenizerError(f"{path}: sha256 {digest} is not the planned {spec.sha256}; launch again to send it anew")
    return data
