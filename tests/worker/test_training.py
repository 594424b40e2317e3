"""shard/training: samples, vocabularies, and the checks that come before anything is written."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from shard.batch import TextBatch
from shard.errors import StoreError, TokenizerError
from shard.records.unit import Unit
from shard.tokenizer.checks import TRICKY
from shard.tokenizer.hf import HfReference
from shard.tokenizer.load import load_tokenizer
from shard.training.alphabet import Alphabet, alphabet_of
from shard.training.aside import aside
from shard.training.bpe import as_json, train
from shard.training.check import check, check_model
from shard.training.recipe import ROLES, USUAL, Configuration, Kind, Recipe, after, with_ids
from shard.training.run import Order, train_tokenizer
from shard.training.sample import draw
from shard.training.spool import Spool
from tests.support.batches import ids_of, text_batch_of
from tests.support.jobs import files_dataset, files_units, json_spec, model_spec, write_corpus

KINDS: tuple[Kind, ...] = ("bpe", "sentencepiece")
SIZE = 700
EMOJI = "👩‍👩‍👧‍👦 🏳️‍🌈 and 漢字かな, 한국어"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """48 documents in four files."""
    return write_corpus(tmp_path_factory.mktemp("training") / "data", documents[:48], files=4, group_rows=4)


def order(corpus: Path, target: Path, kind: Kind = "bpe", **fields: Any) -> Order:
    recipe = Recipe(kind, USUAL[kind], SIZE)
    given_ = {"recipe": recipe, "num_samples": 10_000, "seed": 42}
    return Order(dataset=files_dataset(corpus), units=files_units(corpus, parts=3), target=target, **given_ | fields)


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> tuple[Kind, Path]:
    """A kind, and a directory with a tokenizer of it; the SentencePiece one with its .model."""
    kind: Kind = request.param
    target = tmp_path_factory.mktemp(kind) / "out"
    train_tokenizer(order(corpus, target, kind, with_model=kind == "sentencepiece"), {}, lambda text: None)
    return kind, target


# What comes out


def test_what_is_written(made: tuple[Kind, Path]) -> None:
    """The files that transformers reads, as many tokens as asked for, the four special tokens first, and no more."""
    kind, directory = made
    model = {"tokenizer.model"} if kind == "sentencepiece" else set()
    names = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "training.json"}
    assert {path.name for path in directory.iterdir()} == names | model
    assert [path.name for path in directory.parent.iterdir()] == ["out"]
    tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == SIZE
    assert [tokenizer.id_to_token(i) for i in range(4)] == ["<unk>", "<s>", "</s>", "<pad>"]
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        said = json.loads((directory / name).read_bytes())
        roles = ("unk_token", "bos_token", "eos_token", "pad_token")
        assert tuple(said[role] for role in roles) == ROLES


def test_emoji_and_cjk_come_back(made: tuple[Kind, Path], documents: list[str]) -> None:
    """Characters that no training text held go by their bytes: every text comes back, and none has an <unk>."""
    reference = HfReference((made[1] / "tokenizer.json").read_bytes(), origin="made")
    for text in (EMOJI, *documents[200:240]):
        ids = reference.encode(text.encode())
        assert reference.decode(ids) == text
        assert 0 not in ids


def test_a_run_takes_it_fast(made: tuple[Kind, Path], documents: list[str]) -> None:
    """The fast engine takes what was trained, and gives the reference's ids."""
    spec = json_spec(made[1] / "tokenizer.json")
    tokenizer = load_tokenizer(spec, made[1])
    assert tokenizer.slow_because is None
    texts = [*documents[:60], EMOJI, *TRICKY]
    expected = [tokenizer.reference.encode(text.encode()) for text in texts]
    assert expected == ids_of(tokenizer.engine.encode(text_batch_of(texts)))


def test_the_model_gives_the_same_ids(made: tuple[Kind, Path], documents: list[str]) -> None:
    """sentencepiece and gigatoken read the .model, and give the ids of the tokenizer.json."""
    kind, directory = made
    if kind == "bpe":
        return
    reference = HfReference((directory / "tokenizer.json").read_bytes(), origin="made")
    spec = model_spec(directory / "tokenizer.model")
    model = load_tokenizer(spec, directory)
    assert (model.slow_because, spec.eod_id, spec.vocab_size) == (None, 2, SIZE)
    texts = [*documents[:100], EMOJI, *TRICKY]
    assert [reference.encode(text.encode()) for text in texts] == ids_of(model.engine.encode(text_batch_of(texts)))


def test_training_again_gives_the_same_bytes(made: tuple[Kind, Path], corpus: Path, tmp_path: Path) -> None:
    """The same order gives the same files, byte for byte."""
    kind, directory = made
    again = order(corpus, tmp_path / "again", kind, with_model=kind == "sentencepiece")
    train_tokenizer(again, {}, lambda text: None)
    assert contents(directory) == contents(tmp_path / "again")


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


# What text may not do


LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
SPACES = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}


@pytest.mark.parametrize(
    ("kind", "pre_tokenizer"), [("bpe", LEVEL), ("sentencepiece", SPACES), *((kind, None) for kind in KINDS)]
)
def test_text_does_not_make_special_tokens(kind: Kind, pre_tokenizer: dict[str, Any] | None) -> None:
    """However often a text says <s> or <0x0A>, the tokens of that name are not made of it, also where a pre-tokenizer
    leaves them in one piece."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    # Between other letters every time, so that the names are what is frequent.
    texts = [" ".join(f"{one}{name}{other}" for one in letters for other in letters) for name in ("<s>", "<|new|>")]
    texts += ["<0x0A> <unk>", letters * 20]
    configuration = USUAL[kind]
    if pre_tokenizer is not None:
        configuration = dataclasses.replace(configuration, normalizer=None, pre_tokenizer=pre_tokenizer)
    recipe = Recipe(kind, configuration, 310 if kind == "sentencepiece" else 280, ("<|new|>",))
    alphabet = alphabet_of([texts], str) if kind == "sentencepiece" else None
    made = HfReference(as_json(train([texts], recipe, alphabet), recipe), origin="made")
    for text in texts:
        assert not set(made.encode(text.encode())) & set(range(5))
        assert made.decode(made.encode(text.encode())) == text
    assert made.token_id("<|new|>") == 4


# Samples


def counted(batches: Sequence[TextBatch]) -> Callable[[Unit], AbstractContextManager[Iterator[TextBatch]]]:
    @contextmanager
    def open_part(unit: Unit) -> Iterator[Iterator[TextBatch]]:
        yield iter([batches[unit.ordinal]])

    return open_part


def units(count: int) -> list[Unit]:
    return [Unit(ordinal=i, path=f"{i}.parquet", size=10, content_id="x") for i in range(count)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(1, 150), st.integers(0, 3))
def test_a_sample(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], wanted: int, seed: int) -> None:
    """A sample has as many documents as were asked for, or all; each once; every fourth held out; the same again."""
    documents = [[f"{part}-{row}" for row in range(size)] for part, size in enumerate(sizes)]
    open_part = counted([text_batch_of(part) for part in documents])
    directory = tmp_path_factory.getbasetemp()
    found = []
    for _ in range(2):
        with closing(Spool(directory)) as spool:
            sample = draw(units(len(sizes)), open_part, spool, documents=wanted, seed=seed)
            texts = [text for batch in sample.texts() for text in batch]
            assert texts == [text for batch in sample.texts() for text in batch]
        found.append((texts, sample.held_out))
        assert sample.documents == len(texts)
        assert sample.text_bytes == sum(len(text.encode()) for text in texts)
    assert found[0] == found[1]
    drawn = [*texts, *sample.held_out]
    everything = [text for part in documents for text in part]
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(everything)
    assert len(texts) == wanted or len(drawn) == len(everything)
    assert len(sample.held_out) == -(-len(drawn) // 4)


def test_another_seed_draws_others(tmp_path: Path) -> None:
    """The seed decides which documents a sample has."""
    parts = [text_batch_of([f"{part} {row}" for row in range(10)]) for part in range(20)]
    drawn = []
    for seed in (0, 0, 1):
        with closing(Spool(tmp_path)) as spool:
            sample = draw(units(20), counted(parts), spool, documents=15, seed=seed)
            drawn.append([text for batch in sample.texts() for text in batch])
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_small_sample_is_spread(tmp_path: Path) -> None:
    """A sample that one part could give is drawn from 64 parts."""
    parts = [text_batch_of([f"{part} {row}" for row in range(100)]) for part in range(80)]
    with closing(Spool(tmp_path)) as spool:
        sample = draw(units(80), counted(parts), spool, documents=96, seed=0)
        texts = [text for batch in sample.texts() for text in batch] + sample.held_out
    assert len({text.split()[0] for text in texts}) == 64


def test_a_sample_takes_no_memory(tmp_path: Path) -> None:
    """However many documents are drawn and read again, no more than a batch of them is held."""
    batch = text_batch_of([f"document {number} " * 8 for number in range(500)])

    def peak(parts: int) -> int:
        tracemalloc.start()
        with closing(Spool(tmp_path)) as spool:
            sample = draw(units(parts), counted([batch] * parts), spool, documents=10**9, seed=0)
            assert sum(len(texts) for texts in sample.texts()) == sample.documents > 250 * parts
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(40) < 1.5 * peak(8)


def test_no_sample_outlives_its_training(corpus: Path, tmp_path: Path) -> None:
    """When training fails, neither text nor directory is left."""
    with pytest.raises(TokenizerError, match=r"--vocab-size 60000: this text gives \d+ tokens; take more samples"):
        train_tokenizer(order(corpus, tmp_path / "out", recipe=Recipe("bpe", USUAL["bpe"], 60_000)), {}, str)
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    """A training replaces nothing."""
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match="exists, and nothing is replaced"):
        train_tokenizer(order(corpus, tmp_path / "out"), {}, str)


def test_no_documents(tmp_path: Path) -> None:
    """A dataset without a document gives no tokenizer."""
    write_corpus(tmp_path / "data", [None, ""])
    with pytest.raises(TokenizerError, match="has no document to train on"):
        train_tokenizer(order(tmp_path / "data", tmp_path / "out"), {}, str)


def test_an_interrupt_does_not_wait() -> None:
    """Ctrl+C ends a training that is within the library, which itself hears no signal."""
    going_on, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        going_on.wait(60)

    def interrupt() -> None:
        begun.wait(60)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        aside(work)
    assert not going_on.is_set()
    going_on.set()
    assert aside(lambda: 1) == 1
    with pytest.raises(TokenizerError, match="as it was"):
        aside(lambda: (_ for _ in ()).throw(TokenizerError("as it was")))


# Alphabets


def test_the_alphabet_is_what_is_frequent() -> None:
    """Characters are taken by frequency, equals by code point, until the text is covered; a space is ▁."""
    texts = [["a b" * 900, "zyx"], ["é"]]
    assert "".join(alphabet_of(texts, str).characters) == "abxyzé▁"
    assert "".join(alphabet_of([["ab" * 10_000 + "zyx"]], str).characters) == "ab▁"
    few = alphabet_of([["ab" * 1_900 + "zy x"]], str)
    assert "".join(few.characters) == "abxy▁"
    assert few.others.findall("a zz-by") == ["zz-"]
    wide = alphabet_of([["ＡＢ"]], {"Ａ": "A", "Ｂ": "B"}.__getitem__)
    assert "".join(wide.characters) == "AB▁"
    assert wide.others.sub("", "ＡＢＣ") == "ＡＢ"


def test_nul_is_in_no_piece(documents: list[str], tmp_path: Path) -> None:
    """However often a text says NUL, it goes by its byte: SentencePiece refuses a model with it in a piece."""
    write_corpus(tmp_path / "data", [text.replace(" ", "\0", 40) for text in documents[:24]])
    train_tokenizer(order(tmp_path / "data", tmp_path / "out", "sentencepiece", with_model=True), {}, str)
    vocab = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).get_vocab()
    assert [piece for piece in vocab if "\0" in piece] == []


def test_characters_outside_the_alphabet_part_words() -> None:
    """What stood on both sides of a rare character is not taken for neighbours, and it is no token itself."""
    alphabet = Alphabet(("a", "b", "▁"), re.compile("[^ab ]+"))
    recipe = Recipe("sentencepiece", USUAL["sentencepiece"], 265)
    with pytest.raises(TokenizerError, match="this text gives 265 tokens"):  # the alphabet, a line's end, and ▁a
        train([["aéb " * 50]], dataclasses.replace(recipe, vocab_size=266), alphabet)
    model = train([["aéb " * 50]], recipe, alphabet)
    assert [*model.vocab][260:] == ["\n", "a", "b", "▁", "▁a"]


# References

LLAMA_LIKE = Configuration(
    normalizer=None,
    pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
    post_processor=USUAL["sentencepiece"].post_processor,
    decoder=USUAL["sentencepiece"].decoder,
)
T5_LIKE = Configuration(
    normalizer={"type": "NFKC"},
    pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    post_processor={
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"</s>": {"id": "</s>", "ids": [77], "tokens": ["</s>"]}},
    },
    decoder={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
)


def as_reference(configuration: Configuration) -> bytes:
    return json.dumps({part: getattr(configuration, part) for part in Configuration.__slots__}).encode()


@pytest.mark.parametrize(("configuration", "ends"), [(LLAMA_LIKE, (1, None)), (T5_LIKE, (None, 2))])
def test_after_a_reference(
    configuration: Configuration, ends: tuple[int | None, int | None], corpus: Path, tmp_path: Path
) -> None:
    """Normaliser, pre-tokenizer, post-processor and decoder are the reference's, with the ids of the new tokens; where
    the reference has no byte tokens, characters come back all the same."""
    kind, taken = after(as_reference(configuration), None, origin="reference")
    assert kind == "sentencepiece"
    trained = train_tokenizer(order(corpus, tmp_path / "out", recipe=Recipe(kind, taken, SIZE)), {}, str)
    assert trained.checked.exactly <= trained.checked.documents == 12
    written = json.loads((tmp_path / "out" / "tokenizer.json").read_bytes())
    assert (written["normalizer"], written["pre_tokenizer"]) == (configuration.normalizer, configuration.pre_tokenizer)
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    ids = tokenizer.encode("some text").ids
    assert (ids[0] if ends[0] else None, ids[-1] if ends[1] else None) == ends
    assert tokenizer.decode(tokenizer.encode("emoji 😀 漢字").ids) == "emoji 😀 漢字"


def test_after_a_byte_level_reference(small_tokenizer: Path, corpus: Path, tmp_path: Path) -> None:
    """A byte-level reference gives a byte-level tokenizer."""
    kind, taken = after(small_tokenizer.read_bytes(), None, origin="reference")
    assert kind == "bpe"
    trained = train_tokenizer(order(corpus, tmp_path / "out", recipe=Recipe(kind, taken, SIZE)), {}, str)
    assert trained.checked.slow_because is None


def test_a_reference_of_another_kind(small_tokenizer: Path) -> None:
    """--kind and reference must agree."""
    with pytest.raises(
        TokenizerError, match="mine: its configuration is for byte-level BPE; leave out --kind sentence"
    ):
        after(small_tokenizer.read_bytes(), "sentencepiece", origin="mine")
    with pytest.raises(TokenizerError, match="SentencePiece-style BPE; leave out --kind bpe"):
        after(as_reference(LLAMA_LIKE), "bpe", origin="mine")


@pytest.mark.parametrize("data", [b"", b"[]", b"[" * 100_000, b"\xff"])
def test_no_reference(data: bytes) -> None:
    """What is no tokenizer.json is refused by name."""
    with pytest.raises(TokenizerError, match=r"mine: not a tokenizer\.json"):
        after(data, None, origin="mine")


def test_a_configuration_that_nobody_reads(corpus: Path, tmp_path: Path) -> None:
    """A part that tokenizers does not know is refused before anything is read."""
    strange = Configuration({"type": "Strange"}, None, None, None)
    with pytest.raises(TokenizerError, match="none that tokenizers reads"):
        train_tokenizer(
            order(corpus, tmp_path / "out", recipe=Recipe("sentencepiece", strange, SIZE)), {}, lambda text: None
        )
    assert list(tmp_path.iterdir()) == []


def test_a_decoder_that_does_not_fit(corpus: Path, tmp_path: Path) -> None:
    """Where text does not come back from its tokens, nothing is written."""
    kind, taken = after(as_reference(Configuration(None, LLAMA_LIKE.pre_tokenizer, None, None)), None, origin="x")
    with pytest.raises(TokenizerError, match=r"gives back .* take another --reference"):
        train_tokenizer(order(corpus, tmp_path / "out", recipe=Recipe(kind, taken, SIZE)), {}, lambda text: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damaged",
    [
        "ByteLevel",
        {"type": "TemplateProcessing"},
        {"type": "TemplateProcessing", "special_tokens": {"<s>": {"ids": [1]}}},
        {"type": "Sequence", "processors": None},
        {"type": "BertProcessing", "sep": None, "cls": ["<s>", 1]},
    ],
)
def test_a_damaged_post_processor(damaged: Any) -> None:
    """One that says nothing of what its type needs is an error, not the end of the process."""
    with pytest.raises(TokenizerError, match="post-processor that is none"):
        with_ids(damaged, {"<s>": 1})


def test_ids_of_a_post_processor() -> None:
    """Every kind gets the new ids; a token that is not there, or an unknown kind, is named."""
    ids = {"<s>": 1, "</s>": 2}
    bert = {"type": "BertProcessing", "sep": ["</s>", 102], "cls": ["<s>", 101]}
    level = {"type": "ByteLevel", "trim_offsets": True}
    assert with_ids({"type": "Sequence", "processors": [bert, level]}, ids) == {
        "type": "Sequence",
        "processors": [{**bert, "sep": ["</s>", 2], "cls": ["<s>", 1]}, level],
    }
    assert with_ids(None, ids) is None
    with pytest.raises(TokenizerError, match=r"sets '\[CLS\]' beside texts.*add --special '\[CLS\]'"):
        with_ids({**bert, "cls": ["[CLS]", 101]}, ids)
    with pytest.raises(TokenizerError, match="post-processor 'New'"):
        with_ids({"type": "New"}, ids)


# Wishes that cannot be granted


@pytest.mark.parametrize(
    ("kind", "size", "specials", "message"),
    [
        ("bpe", 260, (), "--vocab-size 260: special tokens and bytes alone are 260"),
        ("sentencepiece", 261, ("xx",), "--vocab-size 261: .* alone are 261"),
        ("bpe", 1000, ("<s>",), "--special '<s>'"),
        ("bpe", 1000, ("x", "x"), "--special 'x'"),
        ("sentencepiece", 1000, ("<0x0A>",), "--special '<0x0A>'"),
        ("bpe", 1000, (" ",), "--special ' '"),
        ("bpe", 1000, ("Ġ",), "--special 'Ġ': a character of texts"),
        ("sentencepiece", 1000, ("😀",), "--special '😀': a character of texts"),
    ],
)
def test_recipes_that_are_none(kind: Kind, size: int, specials: tuple[str, ...], message: str) -> None:
    """Sizes that bytes alone exceed, and special tokens that are there already, are refused."""
    with pytest.raises(TokenizerError, match=message):
        Recipe(kind, USUAL[kind], size, specials)


@pytest.mark.parametrize(("kind", "special"), [("bpe", "Ġthe"), ("sentencepiece", "▁the")])
def test_a_special_token_that_text_might_make(kind: Kind, special: str, documents: list[str]) -> None:
    """A special token that is spelled as the pieces of a text would be what the text gives: refused."""
    texts = [documents[:40]]
    recipe = Recipe(kind, USUAL[kind], SIZE, (special,))
    alphabet = None
    if kind == "sentencepiece":
        alphabet = alphabet_of(texts, tokenizers.normalizers.Replace(" ", "▁").normalize_str)
    with pytest.raises(TokenizerError, match=f"--special '{special}': the text makes this token, too"):
        train(texts, recipe, alphabet)


@pytest.mark.parametrize(("kind", "configuration"), [("bpe", USUAL["bpe"]), ("sentencepiece", T5_LIKE)])
def test_models_that_cannot_be_written(kind: Kind, configuration: Configuration, corpus: Path, tmp_path: Path) -> None:
    """--model is refused where SentencePiece has no words for the tokenizer, before anything is read."""
    recipe = Recipe(kind, configuration, SIZE)
    with pytest.raises(TokenizerError, match=r"--model: .*[Ll]eave"):
        train_tokenizer(order(corpus / "gone", tmp_path / "out", recipe=recipe, with_model=True), {}, str)


def test_a_model_takes_protobuf() -> None:
    """Without the extra, --model is refused with what to install."""
    code = f"""
import sys
sys.modules["google.protobuf"] = None
from shard.training.pieces import require_expressible
from shard.training.recipe import USUAL, Recipe
require_expressible(Recipe("sentencepiece", USUAL["sentencepiece"], {SIZE}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True
    )
    assert "TokenizerError: --model: protobuf is missing: pip install 'shardfleet[sentencepiece]'" in done.stderr


# The check itself


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda config: config["decoder"]["decoders"].pop(1), "gives back"),
        (lambda config: config["model"].update(byte_fallback=False), "makes <unk> of"),
    ],
)
def test_what_is_wrong_is_found(
    break_it: Callable[[dict[str, Any]], object], message: str, made: tuple[Kind, Path], tmp_path: Path
) -> None:
    """A decoder that loses bytes, and a model that knows no bytes, do not pass."""
    kind, directory = made
    if kind == "bpe":
        return
    config = json.loads((directory / "tokenizer.json").read_bytes())
    break_it(config)
    data = json.dumps(config).encode()
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(TokenizerError, match=message):
        check(tmp_path, data, ["plain text"])


def test_a_directory_with_another_tokenizer_is_found(made: tuple[Kind, Path], tmp_path: Path) -> None:
    """What others read from the directory must be what was trained."""
    kind, directory = made
    data = (directory / "tokenizer.json").read_bytes()
    for name, content in contents(directory).items():
        (tmp_path / name).write_bytes(content)
    config = json.loads(data)
    del config["model"]["merges"][::2]
    (tmp_path / "tokenizer.json").write_text(json.dumps(config))
    with pytest.raises(TokenizerError, match="gives other ids than was trained"):
        check(tmp_path, data, ["plain text of the house"])
    if kind == "sentencepiece":
        with pytest.raises(TokenizerError, match=r"its \.model gives other ids"):
            check_model(tmp_path, (tmp_path / "tokenizer.json").read_bytes(), ["plain text of the house"])
