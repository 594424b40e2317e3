"""The rules of docs and design that no type checker sees: who may import whom, and what may print."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[1]

FLOORS = {
    "provision": (
        *("errors", "hostlist", "hosts", "inventory"),
        *("catalog", "tokenizer", "hubserver"),
        *("plan", "reach", "install", "prepare", "run", "finish", "dedup"),
        *("control", "cli", "__main__"),
    ),
    "shard": (
        *("errors", "processes", "runs", "overlap", "records", "batch", "split"),
        *("formats", "storage", "tokenizer", "signatures", "source", "writer", "pipeline"),
        *("alone", "concat", "sampling", "texts", "training"),
        *("dedup", "loader", "export", "verify", "imports", "host"),
        *("cli", "__main__"),
    ),
}
"""What stands directly in a package, each above all that it imports."""

SHARED = {
    "shard.errors": "*",
    "shard.verify.report": "*",
    # What hosts answer, and are asked.
    "shard.host.commits": {"Commit", "Commits"},
    "shard.host.contents": {"Contents", "UnitThere"},
    "shard.host.exporting": {"Exporting"},
    "shard.host.follow": {"Standing"},
    "shard.host.requests": {"AnyRequest", "Release", "Take", "decode_answer", "encode_request"},
    "shard.host.survey": {"Survey"},
    # Pure proof over reports.
    "shard.verify.coverage": {"report_of"},
    # Small helpers without state.
    "shard.storage.disk": {"file_sha256", "fsync_directory", "make_directory", "write_atomic"},
    "shard.storage.links": {"alias"},
    "shard.processes": {"HOST_VARIABLE", "JOB_VARIABLE", "die_with_parent"},
    # The catalog looks into the first file with the very code that will read all of them.
    "shard.source": {"files"},
    "shard.source.hub": {"HubFile"},
    "shard.source.look": {"holds_text"},
    "shard.source.spanfile": {"SpanFile"},
    # And samples it, to rank tokens.
    "shard.sampling": {"sample_ranks"},
    # What a tokenizer is: its size, its end of document.
    "shard.tokenizer.hf": {"HfReference"},
    "shard.tokenizer.ranks": {"RANK_FILES", "RankFile", "TiktokenReference", "by_sha256"},
    "shard.tokenizer.raw_bytes": {"EOD_ID", "VOCAB_SIZE"},
    "shard.tokenizer.spm": {"SentencePieceReference"},
    # Directories on this machine: verify, export, inspect, cat.
    "shard.export.options": {"ExportOptions", "require_exportable"},
    "shard.export.run": {"EXPORT_FILE", "FORMATS", "export"},
    "shard.concat": {"concatenate"},
    "shard.imports.options": {"ImportOptions"},
    "shard.imports.run": {"IMPORTS", "import_tokens"},
    "shard.dedup.run": {"at_work", "deduplicate", "open_pair"},
    # Duplicates on all hosts: keys come to the launcher, removal lists go back.
    "shard.dedup.appended": {"Holding", "identity_after", "units_after", "units_there"},
    "shard.dedup.gathered": {"Found", "Some", "UnitKeys", "find_gathered"},
    "shard.dedup.pairs": {"require_duckdb"},
    "shard.dedup.parts": {"Duplicates", "Take"},
    "shard.dedup.questions": {"KeysQuestion", "SignaturesQuestion", "keys_size"},
    "shard.dedup.sources": {"sources_of"},
    "shard.signatures.text": {"token_bytes_of"},
    "shard.formats.signatures": {"HEADER_BYTES", "signatures_size"},
    "shard.loader.bench": {"PACKINGS", "SHUFFLES", "LoaderFigures", "measure_loader"},
    "shard.storage.stored": {"Stored", "open_stored"},
    "shard.storage.summary": {"Document", "document_at", "lengths_of"},
    "shard.storage.whole": {"require_apart"},
    "shard.tokenizer.load": {"load_reference"},
    "shard.tokenizer.protocol": {"Reference"},
    "shard.verify.stores": {"verify"},
    # Text, and the training of tokenizers, on this machine as well.
    "shard.texts": {"Documents", "comes_back", "of_dataset", "of_shards", "write_texts"},
    "shard.training.recipe": {"USUAL", "Kind", "Recipe", "after"},
    "shard.training.run": {"Order", "Trained", "train_tokenizer"},
}
"""Module of shard → names that the launcher may import from it, beside all of shard/records. None runs a worker."""

DOORS = {
    "anyio": {"provision/hubserver/"},
    "awkward": {"shard/tokenizer/fast.py"},
    "cityhash": {"shard/formats/catid.py"},
    "click": {"provision/cli/", "provision/control.py", "shard/cli.py"},
    "cryptography": {"provision/reach/ssh/connect.py"},
    "duckdb": {"shard/dedup/pairs.py"},
    "fsspec": {"shard/source/files.py"},
    "gigatoken": {"shard/tokenizer/fast.py"},
    "httpx2": {"provision/catalog/hub.py", "provision/tokenizer/files.py", "shard/source/"},
    "huggingface_hub": {
        *("provision/catalog/card.py", "provision/catalog/hub.py", "provision/tokenizer/files.py"),
        *("provision/prepare/survey.py", "provision/run/push.py", "provision/finish/publish.py"),
        "shard/source/",
    },
    "numpy": {"shard/"},
    "paramiko": {"provision/reach/ssh/"},
    # rank.py sets the number of Arrow's threads.
    "pyarrow": {
        *("shard/source/", "shard/host/rank.py", "shard/export/parquet.py", "shard/imports/parquet.py"),
        *("shard/training/spool.py", "shard/texts.py"),
    },
    "requests": {"provision/tokenizer/resolve.py"},
    "rich": {
        *("provision/finish/conclude.py", "provision/run/display.py", "provision/finish/report.py"),
        *("provision/run/shows.py", "provision/run/standing.py"),
        "provision/cli/",
    },
    "stamina": {"shard/source/patience.py", "shard/host/rank.py", "provision/cli/__init__.py"},
    "sentencepiece": {"shard/tokenizer/spm.py", "shard/training/pieces.py"},
    "starlette": {"provision/hubserver/"},
    "tiktoken": {"provision/tokenizer/resolve.py", "shard/tokenizer/ranks.py"},
    "tokenizers": {"shard/tokenizer/hf.py", "shard/training/bpe.py", "shard/training/check.py"},
    "torch": {"shard/loader/torch.py"},
    "transformers": {"shard/training/check.py"},
    "uvicorn": {"provision/hubserver/"},
    "xxhash": {"shard/dedup/find.py", "shard/signatures/hashes.py", "shard/split.py"},
    "zstandard": {"shard/export/catid.py", "shard/formats/frames.py", "shard/imports/catid.py"},
    # Records, everywhere.
    "msgspec": {"provision/", "shard/"},
}
"""Third-party library → files and directories that may import it."""


def sources(package: str) -> Iterator[tuple[str, ast.Module]]:
    """(path from the repository's root, syntax tree) of every module of a package."""
    for path in sorted((_REPOSITORY / package).rglob("*.py")):
        yield path.relative_to(_REPOSITORY).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[tuple[str, str | None, int]]:
    """(module, name or None, line) of every import below a node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; packages are named in full here"
            yield from ((node.module or "", alias.name, node.lineno) for alias in node.names)


def test_worker_never_imports_launcher() -> None:
    """shard runs on hosts that know nothing of the launcher, so it never imports provision."""
    found = [
        f"{path}:{line} imports {module}"
        for path, tree in sources("shard")
        for module, _, line in imports(tree)
        if module.partition(".")[0] == "provision"
    ]
    assert found == []


@pytest.mark.parametrize("package", ["provision", "shard"])
def test_imports_go_down(package: str) -> None:
    """A file or folder of a package imports what stands below it, so that none leads back to itself."""
    floors = {name: floor for floor, name in enumerate(FLOORS[package])}
    there = {path.split("/")[1].removesuffix(".py") for path, _ in sources(package)} - {"__init__"}
    assert there == floors.keys()
    found = []
    for path, tree in sources(package):
        mine = path.split("/")[1].removesuffix(".py")
        for module, name, line in imports(tree):
            parts = (*module.split("."), name or "")
            if parts[0] == package and parts[1] in floors and parts[1] != mine and floors[parts[1]] > floors[mine]:
                found.append(f"{path}:{line} imports {module}")
    assert found == []


def test_launcher_imports_only_what_is_shared() -> None:
    """provision takes from shard the plain data types and pure helpers listed above, and nothing that works."""
    found = [
        f"{path}:{line} imports {name or 'all'} of {module}"
        for path, tree in sources("provision")
        for module, name, line in imports(tree)
        if module.partition(".")[0] == "shard"
        and not module.startswith("shard.records.")
        and not (SHARED.get(module) == "*" or (name is not None and name in SHARED.get(module, ())))
    ]
    assert found == []


def test_list_of_shared_names_is_not_longer_than_needed() -> None:
    """Every module and name on the list is imported by the launcher: a permission nobody uses is withdrawn."""
    used = {(module, name) for _, tree in sources("provision") for module, name, _ in imports(tree)}
    modules = {module for module, _ in used}
    unused = [
        f"{module}: {name}"
        for module, names in SHARED.items()
        for name in (["*"] if names == "*" else sorted(names))
        if (module not in modules if name == "*" else (module, name) not in used)
    ]
    assert unused == []


@pytest.mark.parametrize("package", ["provision", "shard"])
def test_libraries_enter_through_their_doors(package: str) -> None:
    """Each third-party library is imported by the modules named above and by no other."""
    own = {"provision", "shard"}
    found = []
    for path, tree in sources(package):
        for module, _, line in imports(tree):
            top = module.partition(".")[0]
            if top in own or top in sys.stdlib_module_names:
                continue
            if not any(path == door or (door.endswith("/") and path.startswith(door)) for door in DOORS.get(top, ())):
                found.append(f"{path}:{line} imports {top}")
    assert found == []


@pytest.mark.parametrize("package", ["provision", "shard"])
def test_nothing_prints(package: str) -> None:
    """Output goes through click, rich, logging or the outbox; nothing calls print()."""
    found = [
        f"{path}:{node.lineno}"
        for path, tree in sources(package)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert found == []


def test_imports_stand_at_the_top() -> None:
    """No import hides in a function, where it would hide a cycle.

    The exceptions: the hub server, transformers and deduplication are optional, and 'shard stop' does not wait for what
    only a rank, a verification, an export, or a question to the Hub needs.
    """
    found = [
        f"{path}: {function.name} imports {module}"
        for package in ("provision", "shard")
        for path, tree in sources(package)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for module, _, _ in imports(function)
    ]
    assert found == [
        "provision/cli/dedup.py: dedup imports provision.cli.deduprun",
        "provision/cli/dedup.py: dedup imports provision.cli.deduphere",
        "provision/cli/tools.py: serve imports provision.hubserver",
        "shard/cli.py: rank imports shard.host.rank",
        "shard/cli.py: survey_command imports shard.source.hubcheck",
        "shard/cli.py: keys_command imports shard.dedup.answers",
        "shard/cli.py: signatures_command imports shard.dedup.answers",
        "shard/cli.py: verify imports shard.verify.stores",
        "shard/cli.py: export_command imports shard.export.options",
        "shard/cli.py: export_command imports shard.host.exports",
        "shard/training/check.py: _other_reader imports transformers",
    ]


def test_modules_are_short() -> None:
    """One idea per file: none grows past 360 lines (near 250 one looks for the second idea)."""
    found = [
        f"{path.relative_to(_REPOSITORY)}: {lines} lines"
        for package in ("provision", "shard")
        for path in sorted((_REPOSITORY / package).rglob("*.py"))
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 360
    ]
    assert found == []


def test_every_module_says_what_it_is() -> None:
    """Every module begins with a docstring, except those that only start a program."""
    found = [
        path
        for package in ("provision", "shard")
        for path, tree in sources(package)
        if ast.get_docstring(tree) is None and not path.endswith("__main__.py")
    ]
    assert found == []
