"""shard/tokenizer against tiktoken and tokenizers themselves."""

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import tiktoken
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shard.batch import TextBatch, TokenBatch
from shard.errors import TokenizerError, TokenMismatchError
from shard.records.job import TokenizerSpec
from shard.tokenizer.checks import TRICKY, SampleCheck, first_difference
from shard.tokenizer.fast import GigatokenEngine, ReferenceEngine
from shard.tokenizer.load import Tokenizer, load_reference, load_tokenizer
from shard.tokenizer.mixtures import mixtures
from shard.tokenizer.ranks import RANK_FILES, without_gaps
from shard.tokenizer.raw_bytes import ByteEngine, ByteReference
from tests.support.batches import ids_of, text_batch_of
from tests.support.jobs import BYTES_SPEC, json_spec, model_spec, rank_spec
from tests.support.text import train_small_model

SPECIAL = "a<|endoftext|>b <|pad|><|fim_prefix|> <|endofprompt|>"


@pytest.fixture(scope="module")
def r50k(rank_directory: Path) -> Tokenizer:
    return load_tokenizer(rank_spec(), rank_directory)


@pytest.fixture(scope="module")
def p50k(rank_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """p50k_base is r50k_base, an id left free, and runs of 2 to 25 spaces: the published file, byte for byte."""
    r50k_file, p50k_file = RANK_FILES["r50k_base"], RANK_FILES["p50k_base"]
    spaces = b"".join(b"%b %d\n" % (base64.b64encode(b" " * run), 50255 + run) for run in range(2, 26))
    data = (rank_directory / r50k_file.cache_name).read_bytes() + spaces
    assert hashlib.sha256(data).hexdigest() == p50k_file.sha256
    directory = tmp_path_factory.mktemp("p50k")
    (directory / p50k_file.cache_name).write_bytes(data)
    return load_tokenizer(rank_spec("p50k_base"), directory)


@pytest.fixture(scope="module")
def cl100k(cl100k_directory: Path) -> Tokenizer:
    return load_tokenizer(rank_spec("cl100k_base"), cl100k_directory)


@pytest.fixture(scope="module")
def small(small_tokenizer: Path) -> Tokenizer:
    return load_tokenizer(json_spec(small_tokenizer), small_tokenizer.parent)


@pytest.fixture(scope="module")
def model(small_model: Path) -> Tokenizer:
    return load_tokenizer(model_spec(small_model), small_model.parent)


@pytest.fixture(scope="module", params=["r50k", "cl100k", "small", "model", "bytes"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Every kind of tokenizer that has a fast engine."""
    if request.param == "bytes":
        return load_tokenizer(BYTES_SPEC, Path("nowhere"))
    found: Tokenizer = request.getfixturevalue(request.param)
    return found


def reference_ids(tokenizer: Tokenizer, documents: Sequence[str]) -> list[list[int]]:
    return [tokenizer.reference.encode(document.encode()) for document in documents]


# Engines against references


def test_real_text(tokenizer: Tokenizer, documents: list[str]) -> None:
    """The fast engine gives the reference's ids for real text, and is the fast one."""
    assert tokenizer.slow_because is None
    assert reference_ids(tokenizer, documents) == ids_of(tokenizer.engine.encode(text_batch_of(documents)))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.text(min_size=1), max_size=20))
def test_any_text(tokenizer: Tokenizer, documents: list[str]) -> None:
    """It does so for any Unicode text, and documents never run into each other."""
    assert reference_ids(tokenizer, documents) == ids_of(tokenizer.engine.encode(text_batch_of(documents)))


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from([*SPECIAL.split(), "'s", "'LL", " ", "\n", "\r", "a", "ß", "1", "\u00a0", "!", "中", "é"]))
)
def test_splits_of_patterns(tokenizer: Tokenizer, pieces: list[str]) -> None:
    """It does so where the patterns of the encodings are delicate."""
    text = "".join(pieces) + "."
    assert reference_ids(tokenizer, [text]) == ids_of(tokenizer.engine.encode(text_batch_of([text])))


def test_tiktoken_is_the_reference_of_r50k(r50k: Tokenizer, documents: list[str]) -> None:
    """r50k's ids are those of tiktoken's encode_ordinary."""
    encoding = tiktoken.get_encoding("r50k_base")
    expected = [encoding.encode_ordinary(document) for document in documents]
    assert expected == ids_of(r50k.engine.encode(text_batch_of(documents)))


@pytest.mark.parametrize("name", ["r50k", "cl100k", "small", "model"])
def test_text_of_special_tokens_stays_text(name: str, request: pytest.FixtureRequest) -> None:
    """No special id comes out of a document, whatever it says; decoding gives back what it said."""
    tokenizer: Tokenizer = request.getfixturevalue(name)
    (ids,) = ids_of(tokenizer.engine.encode(text_batch_of([SPECIAL])))
    assert tokenizer.spec.eod_id not in ids
    assert tokenizer.reference.decode(ids) == SPECIAL


@pytest.mark.parametrize("documents", [[], ["x"], ["x"] * 5000])
def test_batches_of_any_size(tokenizer: Tokenizer, documents: list[str]) -> None:
    """A batch may hold no document, one, or thousands."""
    encoded = tokenizer.engine.encode(text_batch_of(documents))
    assert (len(documents), np.uint32) == (encoded.documents, encoded.tokens.dtype)
    assert reference_ids(tokenizer, documents) == ids_of(encoded)


def test_a_batch_within_larger_buffers(r50k: Tokenizer) -> None:
    """A batch whose text is a slice of a larger array, as Arrow hands them out, is encoded by itself."""
    whole = text_batch_of(["before", "one document", "another", "after"])
    offsets = whole.offsets[1:4]
    part = TextBatch(whole.data[offsets[0] : offsets[-1]], offsets - offsets[0], 2, {})
    assert reference_ids(r50k, ["one document", "another"]) == ids_of(r50k.engine.encode(part))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "character"), [("r50k", "a"), ("cl100k", " "), ("small", "中"), ("model", "a")])
def test_one_huge_document_of_one_character(name: str, character: str, request: pytest.FixtureRequest) -> None:
    """20 MB of one character are encoded in seconds and decode to themselves."""
    tokenizer: Tokenizer = request.getfixturevalue(name)
    text = character * (20_000_000 // len(character.encode()))
    started = time.monotonic()
    encoded = tokenizer.engine.encode(text_batch_of([text]))
    seconds = time.monotonic() - started
    assert tokenizer.reference.decode(encoded.tokens.tolist()) == text
    assert seconds < 60.0, f"{seconds:.1f} s"


# Fallback


def test_without_a_fast_engine_the_reference_does_the_work(tmp_path: Path, documents: list[str]) -> None:
    """A tokenizer that gigatoken cannot take, or takes wrongly, is done by its reference, and says why."""
    words = sorted({word for document in documents[:20] for word in document.split()})
    vocabulary = {"[UNK]": 0} | {word: number for number, word in enumerate(words, 1)}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    path = tmp_path / "tokenizer.json"
    model.save(str(path))
    tokenizer = load_tokenizer(json_spec(path), tmp_path)
    assert tokenizer.slow_because
    assert "\n" not in tokenizer.slow_because
    expected = [[vocabulary.get(word, 0) for word in document.split()] for document in documents[:40]]
    assert expected == ids_of(tokenizer.engine.encode(text_batch_of(documents[:40])))


def test_template_truncation_and_padding_are_left_out(
    small_tokenizer: Path, tmp_path: Path, documents: list[str]
) -> None:
    """What a tokenizer.json would add around a text, cut off or fill up for a model's input has no place in a shard:
    the ids are those of the bare text, from the fast engine."""
    model = tokenizers.Tokenizer.from_file(str(small_tokenizer))
    model.post_processor = tokenizers.processors.TemplateProcessing(
        "<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    model.enable_truncation(16)
    model.enable_padding(pad_id=1, pad_token="<|pad|>", length=2000)
    path = tmp_path / "tokenizer.json"
    model.save(str(path))
    tokenizer = load_tokenizer(json_spec(path), tmp_path)
    bare = load_reference(json_spec(small_tokenizer), small_tokenizer.parent)
    assert tokenizer.slow_because is None
    assert [bare.encode(d.encode()) for d in documents[:50]] == ids_of(
        tokenizer.engine.encode(text_batch_of(documents[:50]))
    )


def changed(path: Path, directory: Path, **model: Any) -> Tokenizer:
    """A tokenizer.json with other words in its model."""
    config = json.loads(path.read_bytes())
    target = directory / "tokenizer.json"
    target.write_text(json.dumps({**config, "model": {**config["model"], **model}}))
    return load_tokenizer(json_spec(target), directory)


def test_dropout_is_left_out(small_tokenizer: Path, small: Tokenizer, tmp_path: Path, documents: list[str]) -> None:
    """Merges that a tokenizer.json leaves to chance are all made: a document has the same ids every time."""
    tokenizer = changed(small_tokenizer, tmp_path, dropout=0.5)
    assert tokenizer.slow_because is None
    assert reference_ids(small, documents[:20]) == reference_ids(tokenizer, documents[:20])


@pytest.mark.parametrize("kind", ["WordLevel", "WordPiece", "Unigram", "BPE"])
def test_text_of_special_tokens_in_models_of_words(kind: str, tmp_path: Path) -> None:
    """Where a model finds whole words, the text of a special token is one, and still does not become that token; its
    id decodes to it, and added tokens that are not special stay."""
    words = ["[UNK]", "</s>", *map(chr, range(33, 127)), *(f"##{chr(c)}" for c in range(33, 127))]
    vocab = {word: number for number, word in enumerate(words)}
    models = {
        "WordLevel": {"vocab": vocab, "unk_token": "[UNK]"},
        "WordPiece": {"vocab": vocab, "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
        | {"max_input_chars_per_word": 100},
        "Unigram": {"vocab": [[word, 0.0 if number < 2 else -5.0] for word, number in vocab.items()], "unk_id": 0},
        "BPE": {"vocab": vocab, "merges": [], "unk_token": "[UNK]", "ignore_merges": True},
    }
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [("[UNK]", 0, True), ("</s>", 1, True), ("<think>", len(words), False)]
    config = {
        "version": "1.0",
        "added_tokens": [{"content": text, "id": i, "special": special, **flags} for text, i, special in added],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": kind, **models[kind]},
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(config))
    tokenizer = load_tokenizer(json_spec(path), tmp_path)
    (ids,) = ids_of(tokenizer.engine.encode(text_batch_of(["a </s> b<think>"])))
    assert (vocab["a"], len(words)) == (ids[0], ids[-1])
    assert 1 not in ids
    assert "</s>" in tokenizer.reference.decode([1])


def test_a_word_that_there_is_no_token_for(tmp_path: Path) -> None:
    """A tokenizer.json that lacks its token for unknown words ends at such a word, with an error that says so."""
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[UNK]"}}')
    tokenizer = load_tokenizer(json_spec(path), tmp_path)
    with pytest.raises(TokenizerError, match=r"cannot encode 'zebra'.*Missing \[UNK\]"):
        tokenizer.engine.encode(text_batch_of(["zebra"]))


def test_mixtures() -> None:
    """Among the texts of the self-test are some with any two added tokens side by side; they are always the same."""
    texts = mixtures(["@one", "@two"])
    assert texts == mixtures(["@one", "@two"])
    assert all(any(pair in text for text in texts) for pair in ("@one@one", "@one@two", "@two@one", "@two@two"))
    assert not any("@" in text for text in mixtures([]))


def test_added_tokens_that_are_not_special_are_tokens(small_tokenizer: Path, tmp_path: Path) -> None:
    """An added token of a tokenizer.json that is not special is one id, in engine and reference alike."""
    model = tokenizers.Tokenizer.from_file(str(small_tokenizer))
    model.add_tokens(["<think>"])
    path = tmp_path / "tokenizer.json"
    model.save(str(path))
    tokenizer = load_tokenizer(json_spec(path), tmp_path)
    (ids,) = ids_of(tokenizer.engine.encode(text_batch_of(["a <think> b"])))
    assert ids == tokenizer.reference.encode(b"a <think> b")
    assert model.token_to_id("<think>") in ids


def test_an_added_token_that_the_engine_takes_otherwise(tmp_path: Path) -> None:
    """gigatoken takes a user-defined piece out of the text before its spaces are marked, sentencepiece after that: the
    self-test finds it, and the reference does the work."""
    path = tmp_path / "tokenizer.model"
    train_small_model(path, user_defined_symbols=["<think>"])
    tokenizer = load_tokenizer(model_spec(path), tmp_path)
    assert "gigatoken differs from sentencepiece" in (tokenizer.slow_because or "")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    texts = ["<think>a", "b <think> c", "d"]
    assert [processor.encode(text) for text in texts] == ids_of(tokenizer.engine.encode(text_batch_of(texts)))


@pytest.mark.parametrize("options", [{"model_type": "unigram"}, {"byte_fallback": False}])
def test_models_that_gigatoken_does_not_take(options: dict[str, Any], tmp_path: Path, documents: list[str]) -> None:
    """A unigram model, or one without byte fallback, is done by sentencepiece itself, and says why in a line."""
    path = tmp_path / "tokenizer.model"
    train_small_model(path, **options)
    tokenizer = load_tokenizer(model_spec(path), tmp_path)
    assert "gigatoken does not take it: " in (tokenizer.slow_because or "")
    assert "\n" not in (tokenizer.slow_because or ""), "no places in gigatoken's source"
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    expected = [processor.encode(document) for document in documents[:40]]
    assert expected == ids_of(tokenizer.engine.encode(text_batch_of(documents[:40])))


def test_a_model_that_normalises(tmp_path: Path, documents: list[str]) -> None:
    """gigatoken drops a joiner behind a normalised character and does not compose Hangul: the self-test finds it, and
    the ids are those of sentencepiece."""
    path = tmp_path / "tokenizer.model"
    train_small_model(path, normalization_rule_name="nmt_nfkc", remove_extra_whitespaces=True)
    tokenizer = load_tokenizer(model_spec(path), tmp_path)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    texts = [*documents[:40], "ﬁ  ２０２６ \u00a0x ", "\t\ttabs", "x²\u200dy", "\u1100\u1161", "a\u0085b"]
    assert [processor.encode(text) for text in texts] == ids_of(tokenizer.engine.encode(text_batch_of(texts)))


# Loading


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 100, b"\n\x05"])
def test_no_model(content: bytes, tmp_path: Path, small_model: Path) -> None:
    """A file that is no SentencePiece model is an error with its name."""
    (tmp_path / "tokenizer.model").write_bytes(content)
    spec = replace(model_spec(small_model), name="mine", sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(TokenizerError, match=r"mine: not a model that sentencepiece"):
        load_tokenizer(spec, tmp_path)


def test_a_missing_or_other_file_is_refused(small_tokenizer: Path, tmp_path: Path) -> None:
    """The file must be there and be the one that was planned."""
    spec = json_spec(small_tokenizer)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: No such file.*launch again"):
        load_tokenizer(spec, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: sha256 .* is not the planned"):
        load_tokenizer(spec, tmp_path)


@pytest.mark.parametrize("content", ["{}", "[]", "null", "\xff", '{"model": {}}'])
def test_no_tokenizer_json(content: str, tmp_path: Path, small_tokenizer: Path) -> None:
    """A file that is no tokenizer.json is an error with its name."""
    data = content.encode("latin-1")
    (tmp_path / "tokenizer.json").write_bytes(data)
    spec = replace(json_spec(small_tokenizer), name="mine", sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(TokenizerError, match=r"mine: not a tokenizer\.json"):
        load_tokenizer(spec, tmp_path)


def test_a_vocabulary_larger_than_planned_is_refused(small_tokenizer: Path) -> None:
    """Ids past the planned vocabulary could be cut short on disk, so they are refused before a token is written."""
    spec = replace(json_spec(small_tokenizer), vocab_size=1000)
    with pytest.raises(TokenizerError, match="ids up to 1999, planned were 1000"):
        load_tokenizer(spec, small_tokenizer.parent)


def test_a_rank_file_nobody_published(rank_directory: Path) -> None:
    """A rank file is known by its sha256."""
    spec = rank_spec()
    path = rank_directory / "mine.tiktoken"
    path.write_bytes((rank_directory / (spec.file or "")).read_bytes() + b"\n")
    try:
        other = replace(spec, file=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        with pytest.raises(TokenizerError, match="no published rank file"):
            load_tokenizer(other, rank_directory)
    finally:
        path.unlink()


@pytest.mark.parametrize("spec_name", ["r50k", "small", "model", "bytes"])
def test_the_reference_alone_decodes(spec_name: str, request: pytest.FixtureRequest) -> None:
    """load_reference gives what decodes a shard."""
    if spec_name == "bytes":
        spec, directory = BYTES_SPEC, Path("nowhere")
    elif spec_name == "r50k":
        spec, directory = rank_spec(), request.getfixturevalue("rank_directory")
    elif spec_name == "model":
        path: Path = request.getfixturevalue("small_model")
        spec, directory = model_spec(path), path.parent
    else:
        path = request.getfixturevalue("small_tokenizer")
        spec, directory = json_spec(path), path.parent
    reference = load_reference(spec, directory)
    assert reference.decode(reference.encode("naïve 中文".encode())) == "naïve 中文"


# Checks


class Wrong:
    """An engine that errs on one document."""

    name = "wrong"

    def __init__(self, engine: GigatokenEngine | ReferenceEngine | ByteEngine, wrong: bytes) -> None:
        self._engine = engine
        self._wrong = wrong

    def encode(self, batch: TextBatch) -> TokenBatch:
        encoded = self._engine.encode(batch)
        tokens = encoded.tokens.copy()
        for index in range(batch.documents):
            if bytes(batch.document(index)) == self._wrong:
                tokens[encoded.offsets[index]] ^= 1
        return TokenBatch(tokens, encoded.offsets)


class Counting:
    """A reference that keeps account of what it is asked."""

    name = "counting"

    def __init__(self) -> None:
        self.asked: list[int] = []

    def encode(self, document: bytes) -> list[int]:
        self.asked.append(len(document))
        return ByteReference().encode(document)

    def decode(self, ids: Sequence[int]) -> str:
        return ByteReference().decode(ids)


@pytest.mark.parametrize("text", TRICKY)
def test_the_self_test_finds_a_wrong_engine(text: str) -> None:
    """An engine that errs on any of the tricky strings is found, and the string named."""
    assert first_difference(ByteEngine(), ByteReference()) is None
    assert text == first_difference(Wrong(ByteEngine(), text.encode()), ByteReference())


def test_a_wrong_engine_is_found_before_commit() -> None:
    """A unit whose first document comes out wrong fails, and the message names the document by its number."""
    batch = text_batch_of(["first", "second"])
    engine = Wrong(ByteEngine(), b"first")
    with pytest.raises(TokenMismatchError, match=r"document 7 .*first"):
        SampleCheck(ByteReference()).check(batch, engine.encode(batch), first_document=7)


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from([1, 1000, 60_000, 70_000, 1_000_000]), max_size=12), max_size=8))
def test_the_sample_is_bounded(batches: list[list[int]]) -> None:
    """The first document short enough is checked, then about one every 8 MiB; none over 64 KiB."""
    reference = Counting()
    check = SampleCheck(reference)
    for lengths in batches:
        batch = text_batch_of([b"x" * length for length in lengths])
        check.check(batch, ByteEngine().encode(batch), first_document=0)
    total = sum(map(sum, batches))
    assert len(reference.asked) <= 1 + total // (8 << 20)
    assert all(length <= 64 << 10 for length in reference.asked)
    if any(length <= 64 << 10 for lengths in batches for length in lengths):
        assert reference.asked
    assert check.checked == len(reference.asked)


def test_the_sample_goes_on_through_a_unit() -> None:
    """In a long unit of short documents one is checked in every 16 MiB, across batches."""
    reference = Counting()
    check = SampleCheck(reference)
    batch = text_batch_of([b"x" * 1024] * 1024)
    for _ in range(33):
        check.check(batch, ByteEngine().encode(batch), first_document=0)
    assert len(reference.asked) == 3


def test_specs_say_their_token_type() -> None:
    """Two bytes as long as every id fits."""
    digest = "0" * 64
    small, large = (
        TokenizerSpec(name="x", kind="hf", vocab_size=size, eod_id=None, sha256=digest) for size in (65536, 65537)
    )
    assert (small.dtype, large.dtype) == ("uint16", "uint32")


def test_json_without_a_known_end_of_document(small_tokenizer: Path, tmp_path: Path) -> None:
    """A tokenizer.json without any well-known end-of-document token has none."""
    config = json.loads(small_tokenizer.read_text().replace("<|endoftext|>", "<|stop|>"))
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(config))
    assert (json_spec(small_tokenizer).eod_id, json_spec(path).eod_id) == (0, None)


def test_an_encoding_with_an_unused_id_keeps_the_fast_engine(p50k: Tokenizer, documents: list[str]) -> None:
    """p50k_base leaves an id free; it is encoded fast all the same, and as tiktoken does: text and runs of spaces."""
    assert p50k.slow_because is None
    texts = [*documents[:100], *(f"{' ' * run}x{' ' * (run // 2)}" for run in range(60))]
    encoded = p50k.engine.encode(text_batch_of([text.encode() for text in texts]))
    assert [p50k.reference.encode(text.encode()) for text in texts] == ids_of(encoded)


def test_filling_gaps_changes_no_rank() -> None:
    """Ranks stay as they are, in order; an unused id gets a pair of bytes that UTF-8 never has."""
    data = b"YQ== 0\nYg== 1\nYWI= 3\n"
    assert without_gaps(data) == b"YQ== 0\nYg== 1\n" + base64.b64encode(b"\xff\xff") + b" 2\nYWI= 3\n"
    assert without_gaps(b"YQ== 0\nYg== 1\n") == b"YQ== 0\nYg== 1\n"
