"""What a supervisor reads is validated before use: a job.json that says something hostile is refused, nothing done."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shard.errors import JobError
from shard.records.frozen import read_record
from shard.records.job import Job
from tests.security.corpus import Case, raw_cases
from tests.support.jobs import make_job, write_corpus, write_job
from tests.support.plans import tree_of

REPOSITORY = Path(__file__).resolve().parents[2]
JOBS = raw_cases("jobs")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    base = tmp_path_factory.mktemp("job")
    return make_job(write_corpus(base / "data", ["one", "two"]), base / "out")


def changed(job: Job, case: Case, canary: Path) -> str:
    """The job as JSON, with the field that the case names set to what it says, however impossible."""
    field, _, value = case.filled(canary).partition(" = ")
    fields = json.loads(msgspec.json.encode(job))
    *way, last = field.split(".")
    holder: Any = fields
    for step in way:
        holder = holder[int(step)] if step.isdigit() else holder[step]
    holder[last] = "HERE"
    return json.dumps(fields).replace('"HERE"', value)


def run(job_directory: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "shard", *command, "--job", str(job_directory)],
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.parametrize("case", JOBS, ids=lambda case: case.place)
def test_field_that_is_refused(job: Job, tmp_path: Path, case: Case) -> None:
    """Every case of cases/jobs.txt is refused with the exit code of bad input; the message names file and value."""
    path = tmp_path / "job.json"
    path.write_text(changed(job, case, tmp_path / "canary"))
    with pytest.raises(JobError) as caught:
        read_record(path, Job)
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(str(path))
    assert case.missing_from(str(caught.value), tmp_path / "canary") == [], str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"job"',
        b"\xff\xfe\x00",
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
        b"!!python/object/apply:os.system ['touch canary']",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"9" * 1_000_000,
        b"x" * 10_000_000,
    ],
    ids=[
        "empty",
        "half",
        "null",
        "list",
        "text",
        "bytes",
        "pickle",
        "yaml",
        "nested",
        "nested more",
        "digits",
        "large",
    ],
)
def test_content_that_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever is no job, pickles and YAML with tags included, is refused by name."""
    path = tmp_path / "job.json"
    path.write_bytes(content)
    with pytest.raises(JobError) as caught:
        read_record(path, Job)
    assert (str(caught.value).startswith(str(path)), caught.value.exit_code) == (True, 2)


@pytest.mark.parametrize("field", ["output_dir", "tokenizer.file", "units.0.path", "run_id"])
@pytest.mark.parametrize("command", ["run", "verify"])
def test_supervisor_touches_nothing(job: Job, tmp_path: Path, command: str, field: str) -> None:
    """With such a job the real command exits 2 with one line, and no file is made, changed or removed."""
    directory = write_job(job, tmp_path)
    case = next(case for case in JOBS if case.text.startswith(f"{field} = "))
    (directory / "job.json").write_text(changed(job, case, tmp_path / "canary"))
    before = tree_of(tmp_path)
    planned = ("--output-dir", job.output_dir, "--holdout-dir", job.holdout_dir) if command == "verify" else ()
    done = run(directory, command, *planned)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"shard: {directory / 'job.json'}: not a Job record: ")
    assert len(done.stderr.splitlines()) == 1
    assert tree_of(tmp_path) == before
    assert not Path(job.output_dir).exists()


def test_sound_job_is_taken(job: Job, tmp_path: Path) -> None:
    """The job that the cases change is read as it is: what they are refused for is the change."""
    path = tmp_path / "job.json"
    path.write_bytes(msgspec.json.encode(job))
    assert read_record(path, Job) == job
    assert len(JOBS) > 100


def test_no_code_in_data() -> None:
    """Nothing we read can be code: no pickle, marshal or shelve, no eval or exec, no YAML loader, no shell."""
    modules = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "code", "runpy", "imp"}
    calls = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "np.load", "numpy.load", "torch.load"}
    found = []
    for package in ("provision", "shard"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names: list[str] = []
                if isinstance(node, ast.Import):
                    names = [
                        alias.name.partition(".")[0] for alias in node.names if alias.name.partition(".")[0] in modules
                    ]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module] if node.module and node.module.partition(".")[0] in modules else []
                elif isinstance(node, ast.Call):
                    names = [ast.unparse(node.func)] if ast.unparse(node.func) in calls else []
                elif isinstance(node, ast.keyword):
                    shell = node.arg == "shell" and ast.unparse(node.value) != "False"
                    names = ["shell="] if shell or node.arg == "allow_pickle" else []
                found += [f"{path.relative_to(REPOSITORY)}:{node.lineno} {name}" for name in names]
    assert found == []
