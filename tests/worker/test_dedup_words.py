"""shard/dedup on batches: words, normal form and signatures against plain restatements; text back from tokens."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from shard.errors import TokenizerError
from shard.formats.payload import payload_of
from shard.records.dedup import Scheme, Settings
from shard.signatures.hashes import exact_keys, word_hashes
from shard.signatures.minhash import band_keys, has_signature, signatures_of
from shard.signatures.text import token_bytes_of
from shard.signatures.words import Words, words_of
from shard.tokenizer.checks import TRICKY
from shard.tokenizer.hf import HfReference
from shard.tokenizer.protocol import Reference
from shard.tokenizer.ranks import RANK_FILES, TiktokenReference
from shard.tokenizer.raw_bytes import ByteReference
from shard.tokenizer.spm import SentencePieceReference
from tests.support.batches import documents_of, text_batch_of, token_batch_of
from tests.support.text import train_small_model

SETTINGS = Settings()
WORD = re.compile("[\u3000-\u9fff]|[^\x00-\x20\u3000-\u9fff]+")
texts = st.lists(st.text(st.sampled_from("aZ é\n\x00\t日本、\u00a0👍0"), max_size=80), max_size=8)


def normal(text: str) -> str:
    """The rule of docs/dedup.md, restated."""
    lowered = "".join(character.lower() if "A" <= character <= "Z" else character for character in text)
    return " ".join(word for word in re.split("[\x00-\x20]+", lowered) if word)


def spelled(words: Words) -> list[list[str]]:
    """The words of every document."""
    found = [bytes(words.data[a : a + n]).decode() for a, n in zip(words.starts, words.lengths, strict=True)]
    return [found[a:b] for a, b in zip(words.first[:-1], words.first[1:], strict=True)]


@given(texts)
def test_words_and_normal_form(documents: list[str]) -> None:
    """Words and normal form of every document of a batch are what the rule says, whatever stands beside it."""
    words = words_of(text_batch_of(documents))
    assert [bytes(words.text(index)).decode() for index in range(len(documents))] == list(map(normal, documents))
    assert spelled(words) == [WORD.findall(normal(document)) for document in documents]


def test_exact_keys_are_xxh3(documents: list[str]) -> None:
    """A key is the xxh3-128 of the normal form."""
    keys = exact_keys(words_of(text_batch_of(documents[:20])))
    expected = [xxhash.xxh3_128_intdigest(normal(text).encode()) for text in documents[:20]]
    assert [(int(high) << 64) | int(low) for low, high in keys.tolist()] == expected


def test_word_hashes_go_by_bytes_alone() -> None:
    """Equal words have equal hashes wherever they lie in a batch, different ones others; long ones too."""
    distinct = [*{f"{'x' * length}{tail}" for length in range(1, 140) for tail in ("", "a", "b", "é")}]
    one = word_hashes(words_of(text_batch_of([" ".join(distinct)])))
    other = word_hashes(words_of(text_batch_of(["shift", *distinct])))[1:]
    assert np.array_equal(one, other)
    assert len(set(one.tolist())) == len(distinct)


def test_signatures_do_not_depend_on_the_batch(documents: list[str]) -> None:
    """A document has one signature, by itself and among others, where blocks are cut, and behind ones without words."""
    chosen = [*documents[:30], "", "four words of it", " ".join(documents[30:80]), "\n", documents[80]]
    together = signatures_of(words_of(text_batch_of(chosen)), SETTINGS.scheme)
    alone = np.concatenate([signatures_of(words_of(text_batch_of([document])), SETTINGS.scheme) for document in chosen])
    assert np.array_equal(together, alone)
    able = has_signature(band_keys(together, SETTINGS), SETTINGS)
    assert able.tolist() == [len(normal(document).split()) >= 5 for document in chosen]


def test_signatures_restated(documents: list[str]) -> None:
    """Value i is the least of a_i·g + b_i mod 2^32 over the grams of a document; order and repetition do not count."""
    words = words_of(text_batch_of(documents[:1]))
    hashes = word_hashes(words).tolist()
    once = signatures_of(words_of(text_batch_of([documents[0], f"{documents[0]} {documents[0]}"])), Scheme(ngram=1))
    assert np.array_equal(once[0], once[1])

    def mixed(value: int) -> int:
        for factor in (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93):
            value = ((value ^ (value >> 32)) * factor) % (1 << 64)
        return value ^ (value >> 32)

    drawn = np.frombuffer(hashlib.shake_256(b"shardfleet minhash 42").digest(8 * 64), dtype="<u4").tolist()
    grams = []
    for start in range(len(hashes) - 4):
        value = 0
        for one in hashes[start : start + 5]:
            value = (value * 0x9E3779B97F4A7C15 + one) % (1 << 64)
        grams.append(mixed(value) >> 32)
    expected = [min(((drawn[2 * i] | 1) * gram + drawn[2 * i + 1]) % (1 << 32) for gram in grams) for i in range(64)]
    assert signatures_of(words_of(text_batch_of(documents[:1])), SETTINGS.scheme)[0].tolist() == expected


def test_scheme_is_pinned() -> None:
    """What version 1 of the scheme makes of a text never changes: signatures of last year meet those of today."""
    batch = text_batch_of(["The quick brown fox jumps over the lazy dog and, 日本語、runs Away"])
    signature = signatures_of(words_of(batch), SETTINGS.scheme)
    assert (SETTINGS.scheme.name, SETTINGS.scheme.version) == ("words-affine32", 1)
    assert xxhash.xxh3_64_hexdigest(signature.tobytes()) == "2d72291fbd2b6efd"
    assert xxhash.xxh3_64_hexdigest(band_keys(signature, SETTINGS).tobytes()) == "b739595154856d84"


def test_curve() -> None:
    """Probabilities are those of the textbook, and of the table for this problem's usual settings."""
    assert Settings(bands=4, rows=15).compared(0.85) == pytest.approx(0.31, abs=0.005)
    assert SETTINGS.compared(0.85) == pytest.approx(1 - (1 - 0.85**8) ** 8)
    assert Settings(scheme=Scheme(num_perm=2), bands=1, rows=2, threshold=0.5).passed(0.3) == pytest.approx(1 - 0.7**2)
    assert Settings(scheme=Scheme(num_perm=100), bands=1, rows=1).least_equal == 85


def test_text_comes_back(rank_directory: Path, small_tokenizer: Path, small_model: Path, documents: list[str]) -> None:
    """Text from tokens is the text, to the byte, for tokenizers of every kind, frames left out."""
    references: list[Reference] = [
        ByteReference(),
        TiktokenReference(RANK_FILES["r50k_base"], rank_directory),
        HfReference(small_tokenizer.read_bytes(), origin="small"),
        SentencePieceReference(small_model.read_bytes(), origin="small"),
    ]
    chosen: list[str] = [*(text for text in TRICKY if "\u2581" not in text), "", *documents[:20]]
    for reference in references:
        tokens = token_batch_of([reference.encode(text.encode()) for text in chosen])
        for eod_id, bos_id in ((256, None), (None, None), (256, 0)):
            frame = (int(bos_id is not None), int(eod_id is not None))
            table = token_bytes_of(reference, 50257, frame)
            payload = payload_of(tokens, "uint16", eod_id, bos_id)
            back = [text for batch in table.texts(payload) for text in documents_of(batch)]
            # SentencePiece sets a space before every text that is not empty.
            extra = b" " if isinstance(reference, SentencePieceReference) else b""
            assert back == [extra + text.encode() if text else b"" for text in chosen]


def test_what_changes_text_is_refused(tmp_path: Path) -> None:
    """A tokenizer that normalises more than deduplication does loses the text, and is refused with an example."""
    train_small_model(tmp_path / "nfkc.model", vocab_size=600, normalization_rule_name="nmt_nfkc")
    reference = SentencePieceReference((tmp_path / "nfkc.model").read_bytes(), origin="nfkc")
    with pytest.raises(TokenizerError, match="cannot be had back"):
        token_bytes_of(reference, reference.vocab_size, (0, 0))


def with_token(path: Path, text: str, token: int, **flags: bool) -> HfReference:
    """A tokenizer.json with one added token more."""
    config = json.loads(path.read_bytes())
    usual = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    config["added_tokens"].append({"id": token, "content": text, **usual, **flags})
    return HfReference(json.dumps(config).encode(), origin="more")


def test_added_tokens_are_the_text_that_they_stand_for(small_tokenizer: Path) -> None:
    """A special token that merges make, too, keeps its text, as `!` where that is for padding; others of the vocabulary
    have none, whatever characters they have; one that swallows spaces is refused."""
    model = json.loads(small_tokenizer.read_bytes())["model"]["vocab"]
    size = max(model.values()) + 1
    for text, token in (("!", model["!"]), ("<sep>", size)):
        made = with_token(small_tokenizer, text, token, special=True)
        ids = made.encode(f"a {text} b".encode())
        table = token_bytes_of(made, size + 1, (0, 0))
        (back,) = table.texts(payload_of(token_batch_of([ids]), "uint16", None))
        assert documents_of(back) == [f"a {text} b".encode()]
        assert made.token_bytes()[token] == (b"!" if text == "!" else b"")
    config = json.loads(small_tokenizer.read_bytes())
    config["model"]["vocab"]["｜▁｜"] = size
    assert HfReference(json.dumps(config).encode(), origin="more").token_bytes()[size] == b""
    for side in ("lstrip", "rstrip"):
        with pytest.raises(TokenizerError, match="its token '<sep>' takes the spaces beside it"):
            token_bytes_of(with_token(small_tokenizer, "<sep>", size, **{side: True}), size + 1, (0, 0))
