"""`--tokenizer` and `--eod`: what is fetched, what is recognised, what is refused."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import InputError
from provision.tokenizer.resolve import fetch_tokenizer
from shard.tokenizer.ranks import RANK_FILES
from tests.support.hub import RunningHub, running_hub
from tests.support.text import train_small_model

_PROGRAM = """
import json, sys
import msgspec
from provision.errors import InputError
from provision.tokenizer.resolve import fetch_tokenizer
try:
    fetched = fetch_tokenizer(sys.argv[1])
except InputError as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({"size": len(fetched.data), **msgspec.to_builtins(fetched.spec)}))
"""


def word_level(path: Path, *words: str) -> Path:
    """A tokenizer.json whose vocabulary is these words."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, words[0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return path


def test_bytes() -> None:
    """`bytes` has 257 ids, ends documents with 256, and needs no file."""
    fetched = fetch_tokenizer("bytes")
    spec = fetched.spec
    assert (spec.kind, spec.vocab_size, spec.eod_id, spec.file, spec.dtype) == ("bytes", 257, 256, None, "uint16")
    assert fetched.data == b""


def test_tiktoken_name_from_its_cache(rank_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiktoken name takes the published file, here from tiktoken's cache, as often as it is asked for; gpt2 is
    r50k_base under another name."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(rank_directory))
    for name in ("r50k_base", "gpt2"):
        fetched = fetch_tokenizer(name)
        spec = fetched.spec
        assert (spec.name, spec.kind, spec.vocab_size, spec.eod_id, spec.dtype) == (
            *(name, "tiktoken", 50257, 50256, "uint16"),
        )
        assert hashlib.sha256(fetched.data).hexdigest() == spec.sha256 == RANK_FILES[name].sha256


def test_large_vocabulary_takes_four_bytes(cl100k_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cl100k_base has more ids than two bytes hold."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cl100k_directory))
    spec = fetch_tokenizer("cl100k_base").spec
    assert (spec.vocab_size, spec.eod_id, spec.dtype) == (100277, 100257, "uint32")


@pytest.mark.parametrize("name", ["gpt2.tiktoken", "ranks", "x.json", "a b/é.txt"])
def test_rank_file_is_known_by_its_content(rank_directory: Path, tmp_path: Path, name: str) -> None:
    """A published rank file is recognised under any name."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    (rank_file,) = rank_directory.iterdir()
    path.write_bytes(rank_file.read_bytes())
    spec = fetch_tokenizer(str(path)).spec
    assert (spec.name, spec.kind, spec.eod_id) == ("r50k_base", "tiktoken", 50256)


def test_foreign_rank_file(tmp_path: Path) -> None:
    """A rank file that nobody has published is refused: it carries no pattern."""
    path = tmp_path / "mine.tiktoken"
    path.write_bytes(b"IQ== 0\nIg== 1\n")
    with pytest.raises(InputError, match=r"no published rank file \(.*r50k_base.*give its tokenizer\.json instead"):
        fetch_tokenizer(str(path))


def test_rank_file_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a way to the published file, its address is named, and what to do instead."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(InputError) as caught:
        fetch_tokenizer("o200k_base")
    assert "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken" in str(caught.value)
    assert "TIKTOKEN_CACHE_DIR" in str(caught.value)


def test_tokenizer_json(small_tokenizer: Path) -> None:
    """A tokenizer.json, or the directory that holds one, with its end-of-document token found by its name."""
    for name in (str(small_tokenizer), str(small_tokenizer.parent)):
        fetched = fetch_tokenizer(name)
        assert (fetched.spec.kind, fetched.spec.eod_id, fetched.spec.file) == ("hf", 0, "tokenizer.json")
        assert fetched.data == small_tokenizer.read_bytes()
        assert fetched.spec.sha256 == hashlib.sha256(fetched.data).hexdigest()


def test_tokenizer_json_without_a_known_end(tmp_path: Path) -> None:
    """Where no token is known to end documents the user must say which, or none."""
    path = str(word_level(tmp_path / "tokenizer.json", "a", "b", "STOP"))
    with pytest.raises(InputError, match=r"which token ends a document is not known; give its id with --eod, or"):
        fetch_tokenizer(path)
    assert fetch_tokenizer(path, eod="2").spec.eod_id == 2
    assert fetch_tokenizer(path, eod="none").spec.eod_id is None


def test_what_the_directory_says(tmp_path: Path) -> None:
    """A directory is read with what lies beside its tokenizer.json: tokenizer_config.json first, and where that is
    silent special_tokens_map.json; so is the file, named by itself."""
    word_level(tmp_path / "tokenizer.json", "a", "</s>", "STOP", "GO", "<s>")
    config, tokens = tmp_path / "tokenizer_config.json", tmp_path / "special_tokens_map.json"
    for name in (str(tmp_path), str(tmp_path / "tokenizer.json")):
        config.unlink(missing_ok=True)
        tokens.unlink(missing_ok=True)
        assert framing(name) == (1, 4)
        tokens.write_text(json.dumps({"eos_token": {"content": "STOP"}, "bos_token": "GO"}))
        assert framing(name) == (2, 3)
        config.write_text(json.dumps({"eos_token": "a", "bos_token": None}))
        assert framing(name) == (0, 3)
    config.write_text("[1]")
    with pytest.raises(InputError, match=r"its tokenizer_config\.json cannot be read"):
        fetch_tokenizer(str(tmp_path))


def framing(name: str) -> tuple[int | None, int | None]:
    """The tokenizer's own ids after and before a document."""
    spec = fetch_tokenizer(name, bos="own").spec
    return spec.eod_id, spec.bos_id


def test_beginning_of_document(small_tokenizer: Path, small_model: Path) -> None:
    """--bos is none unless asked for, alone the tokenizer's own, or an id; one without an own needs the id."""
    assert fetch_tokenizer(str(small_model)).spec.bos_id is None
    assert framing(str(small_model)) == (2, 1)
    assert fetch_tokenizer(str(small_model), bos="7").spec.bos_id == 7
    for name in ("bytes", str(small_tokenizer)):
        with pytest.raises(InputError, match=r"no token of its own that begins a document; give its id: --bos ID"):
            fetch_tokenizer(name, bos="own")
        assert fetch_tokenizer(name, bos="0").spec.bos_id == 0
    with pytest.raises(InputError, match="--bos '-1': neither own nor a token id"):
        fetch_tokenizer("bytes", bos="-1")
    with pytest.raises(InputError, match="beginning-of-document id 257 is outside the vocabulary"):
        fetch_tokenizer("bytes", bos="257")


def test_sentencepiece_model(small_model: Path, tmp_path: Path) -> None:
    """A SentencePiece .model, or a directory with one and no tokenizer.json, is taken as such, with its own end."""
    for name in (str(small_model), str(small_model.parent)):
        fetched = fetch_tokenizer(name)
        spec = fetched.spec
        assert (spec.kind, spec.vocab_size, spec.eod_id, spec.file) == ("sentencepiece", 2000, 2, "tokenizer.model")
        assert fetched.data == small_model.read_bytes()
    (tmp_path / "x.model").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"x\.model: not a model that sentencepiece"):
        fetch_tokenizer(str(tmp_path / "x.model"))


def test_directory_without_a_tokenizer(tmp_path: Path) -> None:
    """A directory that holds neither says so."""
    with pytest.raises(InputError, match=r"it has no tokenizer\.json and no tokenizer\.model"):
        fetch_tokenizer(str(tmp_path))


def test_sentencepiece_model_without_an_end(tmp_path: Path) -> None:
    """A model that has no end of sequence needs --eod."""
    path = tmp_path / "m.model"
    train_small_model(path, eos_id=-1)
    with pytest.raises(InputError, match="which token ends a document is not known"):
        fetch_tokenizer(str(path))
    assert fetch_tokenizer(str(path), eod="none").spec.eod_id is None


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"not JSON", b"\xff\xfe", b"[" * 10_000, b'{"version": "1.0", "model": {"type": "BPE"}}']
)
def test_file_that_is_no_tokenizer(tmp_path: Path, content: bytes) -> None:
    """A file that is neither rank file nor tokenizer.json is refused by name."""
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        fetch_tokenizer(str(tmp_path / "tokenizer.json"))


def test_tokenizer_without_vocabulary(tmp_path: Path) -> None:
    """A tokenizer of no words is refused by name."""
    model = {"type": "BPE", "vocab": {}, "merges": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model}))
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        fetch_tokenizer(str(tmp_path / "tokenizer.json"))


@pytest.mark.parametrize(
    "name", ["gpt3", "nowhere/tokenizer.json", "x" * 300, "~nobody-of-that-name/x", "a\nb", "$(id)"]
)
def test_unknown_name(name: str) -> None:
    """A name that means nothing lists what there is."""
    with pytest.raises(InputError) as caught:
        fetch_tokenizer(name)
    assert repr(name)[1:-1] in str(caught.value) or name in str(caught.value)


@pytest.mark.parametrize("name", ["bytes", "small"])
@pytest.mark.parametrize("eod", ["", "-1", "1.5", "1e3", "NONE", "eot", "１", "0x10", " 5", "9" * 5000, "²"])
def test_end_that_is_no_id(small_tokenizer: Path, name: str, eod: str) -> None:
    """--eod takes `none` or an id in plain digits."""
    with pytest.raises(InputError, match=r"--eod '.*': neither none nor a token id"):
        fetch_tokenizer("bytes" if name == "bytes" else str(small_tokenizer), eod=eod)


@given(st.integers(0, 10**10 - 1))
def test_end_must_be_in_the_vocabulary(eod: int) -> None:
    """An id is taken if the vocabulary has it, and refused with the range if not."""
    if eod < 257:
        assert fetch_tokenizer("bytes", eod=str(eod)).spec.eod_id == eod
    else:
        with pytest.raises(InputError, match=r"outside the vocabulary of 'bytes' \(0 to 256\)"):
            fetch_tokenizer("bytes", eod=str(eod))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Iterator[RunningHub]:
    """Models: `team/full` names STOP as its end, `team/plain` says nothing, and others are broken."""
    root = tmp_path_factory.mktemp("models")
    for name, config in (
        ("full", {"eos_token": "STOP"}),
        ("dict", {"eos_token": {"content": "STOP", "special": True}}),
        ("unsaid", {"eos_token": None}),
        ("list", [1]),
    ):
        word_level(root / "team" / name / "tokenizer.json", "a", "</s>", "STOP")
        (root / "team" / name / "tokenizer_config.json").write_text(json.dumps(config))
    word_level(root / "team" / "plain" / "tokenizer.json", "a", "</s>", "STOP")
    word_level(root / "team" / "private" / "tokenizer.json", "a", "</s>")
    (root / "team" / "private" / ".hub.json").write_text('{"private": true, "tokens": ["hf_t"]}')
    (root / "team" / "model").mkdir()
    (root / "team" / "model" / "tokenizer.model").write_bytes(small_model.read_bytes())
    (root / "team" / "empty").mkdir()
    (root / "team" / "empty" / "README.md").write_text("nothing")
    with running_hub(root) as running:
        yield running


def ask(hub: RunningHub, name: str, home: Path, **environment: str) -> dict[str, Any]:
    """What is fetched, in a process of its own: huggingface_hub reads its environment on import."""
    given_ = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HOME": str(home), "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, name],
        env={"PATH": os.environ["PATH"], **given_, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("name", "eod"), [("full", 2), ("dict", 2), ("unsaid", 1), ("plain", 1), ("full@main", 2)])
def test_model_on_the_hub(hub: RunningHub, tmp_path: Path, name: str, eod: int) -> None:
    """hf:owner/name takes the repository's tokenizer.json, and the end that its tokenizer_config.json names."""
    found = ask(hub, f"hf:team/{name}", tmp_path)
    assert (found["kind"], found["vocab_size"], found["eod_id"]) == ("hf", 3, eod)


def test_sentencepiece_model_on_the_hub(hub: RunningHub, tmp_path: Path) -> None:
    """A repository with a SentencePiece model and no tokenizer.json gives the model."""
    found = ask(hub, "hf:team/model", tmp_path)
    assert (found["kind"], found["file"], found["eod_id"]) == ("sentencepiece", "tokenizer.model", 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:team/empty", "hf:team/empty: that repository has no tokenizer.json"),
        ("hf:team/absent", "hf:team/absent: tokenizer.json cannot be fetched: no such model on http://127.0.0.1:"),
        ("hf:team/private", "hf:team/private: tokenizer.json cannot be fetched: no such model on http://127.0.0.1:"),
        ("hf:team/full@v9", "hf:team/full@v9: tokenizer.json cannot be fetched: no such branch, tag or commit on http"),
        ("hf:a/b/c", "hf:a/b/c: write hf:owner/name"),
        ("hf:", "hf:: write hf:owner/name"),
        ("hf:team/list", "hf:team/list: its tokenizer_config.json cannot be read"),
    ],
)
def test_model_that_cannot_be_had(hub: RunningHub, tmp_path: Path, name: str, message: str) -> None:
    """A repository that is missing, private, or without a readable tokenizer is refused by name."""
    assert message in ask(hub, name, tmp_path)["error"]


def test_hub_out_of_reach(hub: RunningHub, tmp_path: Path) -> None:
    """A Hub that is not asked is not mistaken for one that has no such file."""
    found = ask(hub, "hf:team/full", tmp_path, HF_HUB_OFFLINE="1")
    assert "tokenizer.json cannot be fetched" in found["error"]


def test_end_is_not_guessed_when_its_file_is_out_of_reach(hub: RunningHub, tmp_path: Path) -> None:
    """When tokenizer_config.json cannot be had although it may exist, no other end is taken in its place."""
    fault = {"kind": "status", "where": "resolve", "path": "*tokenizer_config.json", "status": 403, "times": None}
    hub.arm(fault)
    try:
        found = ask(hub, "hf:team/full", tmp_path)
    finally:
        hub.clear()
    assert "tokenizer_config.json cannot be fetched" in found["error"]
