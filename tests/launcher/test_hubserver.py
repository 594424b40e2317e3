"""provision/hubserver against the real huggingface_hub client and plain HTTP, over loopback."""

import hashlib
import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi, RepoFile, RepoFolder, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from provision.errors import InputError
from provision.hubserver.access import Access, AccessFileError, read_access
from provision.hubserver.faults import Fault, FaultList
from provision.hubserver.filebody import Span, UnsatisfiableRangeError, parse_range
from provision.hubserver.replies import other_host
from provision.hubserver.repos import LFS_THRESHOLD, Repositories
from provision.hubserver.serve import endpoint_of, serve
from provision.hubserver.signing import UrlSigner
from tests.support.hub import RunningHub, running_hub

ID = "some-owner/corpus"
PART = "data/en/part-0.parquet"
ODD = "data/odd $(touch x) \"quoted\" 'name' #1?%41 ünï–中.parquet"
README = "---\nlicense: mit\n---\nA corpus.\n"


def write_parquet(path: Path, rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": [f"document {i} {os.urandom(40).hex()}" for i in range(rows)]}), path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A served directory with one repository."""
    repository = tmp_path / "served" / ID
    write_parquet(repository / PART, 20_000)
    write_parquet(repository / "data/en/part-1.parquet", 10)
    write_parquet(repository / ODD, 10)
    (repository / "README.md").write_text(README)
    (repository / "tokenizer.json").write_text('{"version": "1.0"}')
    return tmp_path / "served"


@pytest.fixture
def hub(root: Path) -> Iterator[RunningHub]:
    with running_hub(root) as server:
        yield server


@pytest.fixture
def api(hub: RunningHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)


def url_of(hub: RunningHub, path: str, revision: str = "main") -> str:
    return hf_hub_url(ID, path, repo_type="dataset", revision=revision, endpoint=hub.endpoint)


def location_of(hub: RunningHub, path: str = PART) -> str:
    return get_hf_file_metadata(url_of(hub, path), token=False).location


def get(url: str, **headers: str) -> httpx2.Response:
    return httpx2.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})


# Listing


def test_info_names_commit_and_files(api: HfApi, root: Path) -> None:
    """dataset_info gives a 40-digit commit and every file, with sizes and hashes when asked for."""
    info = api.dataset_info(ID, files_metadata=True)
    assert info.sha is not None and len(info.sha) == 40 and info.siblings is not None
    files = {sibling.rfilename: sibling for sibling in info.siblings}
    assert sorted(files) == sorted([PART, "data/en/part-1.parquet", ODD, "README.md", "tokenizer.json"])
    content = (root / ID / PART).read_bytes()
    assert files[PART].size == len(content)
    lfs = files[PART].lfs
    assert lfs is not None and lfs.sha256 == hashlib.sha256(content).hexdigest()
    assert files["README.md"].lfs is None
    assert (info.private, info.gated) == (False, False)


def test_small_file_has_its_git_blob_id(api: HfApi, root: Path) -> None:
    """A plain file's blob id is what git computes."""
    (info,) = api.get_paths_info(ID, ["README.md"], repo_type="dataset")
    expected = hashlib.sha1(b"blob %d\0%s" % (len(README), README.encode())).hexdigest()
    assert isinstance(info, RepoFile) and info.blob_id == expected


def test_revisions(api: HfApi) -> None:
    """No revision, main and the commit are the same; any other is RevisionNotFound, on every kind of route."""
    sha = api.dataset_info(ID).sha
    assert sha == api.dataset_info(ID, revision="main").sha == api.dataset_info(ID, revision=sha).sha
    for bad in ("0" * 40, "refs/convert/parquet", "v1"):
        with pytest.raises(RevisionNotFoundError):
            api.dataset_info(ID, revision=bad)
        with pytest.raises(RevisionNotFoundError):
            list(api.list_repo_tree(ID, revision=bad, repo_type="dataset"))
        with pytest.raises(RevisionNotFoundError):
            get_hf_file_metadata(hf_hub_url(ID, PART, repo_type="dataset", revision=bad, endpoint=api.endpoint))


def test_changed_content_is_a_new_commit_and_the_old_one_is_gone(api: HfApi, root: Path) -> None:
    """Editing, adding and removing files each change the commit; putting the content back brings it back."""
    readme = root / ID / "README.md"
    first = api.dataset_info(ID).sha
    readme.write_text("other")
    second = api.dataset_info(ID).sha
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info(ID, revision=first)
    write_parquet(root / ID / "more.parquet", 1)
    third = api.dataset_info(ID).sha
    assert len({first, second, third}) == 3
    (root / ID / "more.parquet").unlink()
    readme.write_text(README)
    assert api.dataset_info(ID).sha == first


def test_unchanged_files_are_not_hashed_again(root: Path) -> None:
    """A snapshot reuses the hashes of files with the same size and modification time."""
    repositories = Repositories(root)
    first = repositories.snapshot(ID)
    (root / ID / "README.md").write_text("a longer text than before, so that even the size differs")
    second = repositories.snapshot(ID)
    assert first is not None and second is not None
    assert second.files[PART] is first.files[PART]
    assert second.files["README.md"] is not first.files["README.md"]


def test_tree(api: HfApi) -> None:
    """list_repo_tree lists one folder, or everything below it with the folders."""
    top = list(api.list_repo_tree(ID, repo_type="dataset"))
    assert [entry.path for entry in top] == ["README.md", "data", "tokenizer.json"]
    assert [type(entry) for entry in top] == [RepoFile, RepoFolder, RepoFile]
    below = list(api.list_repo_tree(ID, "data/en", repo_type="dataset"))
    assert [entry.path for entry in below] == [PART, "data/en/part-1.parquet"]
    every = list(api.list_repo_tree(ID, recursive=True, expand=True, repo_type="dataset"))
    assert [entry.path for entry in every if isinstance(entry, RepoFolder)] == ["data", "data/en"]
    assert len([entry for entry in every if isinstance(entry, RepoFile)]) == 5
    assert all(entry.last_commit is not None for entry in every)
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(ID, "absent", repo_type="dataset"))


def test_tree_comes_in_pages(api: HfApi, hub: RunningHub, root: Path) -> None:
    """More than 50 expanded or 1,000 plain entries come in several pages, each entry once, also in an odd folder."""
    folder = root / ID / "many, odd <ü>"
    folder.mkdir()
    for i in range(1_001):
        (folder / f"{i:04}.txt").touch()
    expected = [f"{folder.name}/{i:04}.txt" for i in range(1_001)]
    for expand, pages in ((False, 2), (True, 21)):
        before = hub.stats()["api"]
        tree = api.list_repo_tree(ID, folder.name, expand=expand, repo_type="dataset")
        assert [entry.path for entry in tree] == expected
        assert hub.stats()["api"] - before == pages


def test_paths_info(api: HfApi) -> None:
    """get_paths_info describes the files and folders that exist and leaves out the rest."""
    found = api.get_paths_info(ID, [ODD, "absent", "data"], repo_type="dataset", expand=True)
    assert [(type(entry), entry.path) for entry in found] == [(RepoFile, ODD), (RepoFolder, "data")]


def test_what_is_never_listed(root: Path, tmp_path: Path) -> None:
    """The access file, .git, .cache, links out of the root, linked folders and special files are not served."""
    repository, outside = root / ID, tmp_path / "secret.txt"
    outside.write_text("secret")
    before = Repositories(root).snapshot(ID)
    (repository / ".hub.json").write_text("{}")
    for hidden in (".git", ".cache"):
        (repository / hidden).mkdir()
        (repository / hidden / "config").write_text("x")
    (repository / "out.txt").symlink_to(outside)
    (repository / "gone.txt").symlink_to(tmp_path / "nothing")
    (repository / "folder").symlink_to(tmp_path)
    (repository / "circle").symlink_to(repository / "circle")
    os.mkfifo(repository / "pipe")
    (repository / os.fsdecode(b"latin-\xe9")).touch()
    after = Repositories(root).snapshot(ID)
    assert before is not None and after is not None
    assert after.files.keys() == before.files.keys()
    assert after.commit == before.commit


def test_link_inside_the_root_is_served(root: Path) -> None:
    """A link to a file below the root is a file."""
    (root / "blobs").mkdir()
    (root / "blobs/1").write_text("linked")
    (root / ID / "link.txt").symlink_to(root / "blobs/1")
    snapshot = Repositories(root).snapshot(ID)
    assert snapshot is not None and snapshot.files["link.txt"].stat.size == 6


def test_large_files_are_lfs(root: Path) -> None:
    """From the threshold on a file is LFS whatever its name."""
    for name, size in (("below.bin", LFS_THRESHOLD - 1), ("at.bin", LFS_THRESHOLD)):
        with (root / ID / name).open("wb") as file:
            file.truncate(size)
    snapshot = Repositories(root).snapshot(ID)
    assert snapshot is not None
    assert (snapshot.files["below.bin"].sha256 is None, snapshot.files["at.bin"].sha256 is None) == (True, False)


@pytest.mark.parametrize(
    "repo_id", ["absent/corpus", "some-owner/absent", "../served/x", "some-owner/..", "a b/c", "x"]
)
def test_no_such_repository(root: Path, repo_id: str) -> None:
    """A name without a folder, or one that is no repository name, is None."""
    assert Repositories(root).snapshot(repo_id) is None


def test_repository_folder_linked_out_of_the_root(root: Path, tmp_path: Path) -> None:
    """An owner or repository folder that is a link out of the root is no repository."""
    write_parquet(tmp_path / "elsewhere/corpus/a.parquet", 1)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    assert Repositories(root).snapshot("linked/corpus") is None


def test_missing_repository_for_the_client(api: HfApi) -> None:
    """The client raises RepositoryNotFoundError, with a token and without."""
    for token in (False, "hf_some"):
        with pytest.raises(RepositoryNotFoundError):
            api.dataset_info("absent/absent", token=token)


# Files


@pytest.mark.parametrize("path", [PART, ODD])
def test_metadata_of_an_lfs_file(api: HfApi, hub: RunningHub, root: Path, path: str) -> None:
    """One HEAD gives commit, sha256, size and a signed location on another host name."""
    content = (root / ID / path).read_bytes()
    metadata = get_hf_file_metadata(url_of(hub, path), token=False)
    assert metadata.commit_hash == api.dataset_info(ID).sha
    assert (metadata.etag, metadata.size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert metadata.xet_file_data is None
    assert urlsplit(hub.endpoint).hostname == "127.0.0.1" and urlsplit(metadata.location).hostname == "localhost"
    assert get(metadata.location).content == content


def test_small_file_is_sent_at_once(hub: RunningHub) -> None:
    """A plain file needs no second request, and answers ranges itself."""
    url = url_of(hub, "README.md")
    assert get(url).text == README
    part = get(url, Range="bytes=4-10")
    assert (part.status_code, part.text, part.headers["Content-Range"]) == (
        206,
        README[4:11],
        f"bytes 4-10/{len(README)}",
    )
    head = httpx2.head(url)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(README)), b"")


@pytest.mark.parametrize("repo_type", ["dataset", "model"])
def test_download(hub: RunningHub, root: Path, tmp_path: Path, repo_type: str) -> None:
    """hf_hub_download works for a repository as dataset and as model, for files of both kinds."""
    for path in (PART, ODD, "tokenizer.json"):
        local = hf_hub_download(ID, path, repo_type=repo_type, endpoint=hub.endpoint, cache_dir=tmp_path, token=False)
        assert Path(local).read_bytes() == (root / ID / path).read_bytes()


def test_download_at_a_pinned_commit(api: HfApi, hub: RunningHub, tmp_path: Path) -> None:
    """A file cached at a commit costs no further request."""
    sha = api.dataset_info(ID).sha
    for _ in range(2):
        hf_hub_download(
            ID, PART, repo_type="dataset", revision=sha, endpoint=hub.endpoint, cache_dir=tmp_path, token=False
        )
    counts = hub.stats()["paths"][f"{ID}/{PART}"]
    assert (counts["resolve"], counts["cdn"]) == (1, 1)


def test_missing_file(hub: RunningHub, tmp_path: Path) -> None:
    """A file that is not there is EntryNotFound."""
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(
            ID, "absent.parquet", repo_type="dataset", endpoint=hub.endpoint, cache_dir=tmp_path, token=False
        )


@pytest.mark.parametrize(
    "path", ["../../secret.txt", "%2e%2e/%2e%2e/secret.txt", "data/../../../secret.txt", "/etc/passwd", ".hub.json"]
)
def test_path_traversal(hub: RunningHub, root: Path, path: str) -> None:
    """Nothing outside the listing is served, however the path is spelled."""
    (root / "secret.txt").write_text("secret")
    (root / ID / ".hub.json").write_text("{}")
    # http.client sends the path as it is; the other libraries would resolve the dots.
    connection = http.client.HTTPConnection(urlsplit(hub.endpoint).netloc)
    connection.request("GET", f"/datasets/{ID}/resolve/main/{path}")
    assert connection.getresponse().status == 404
    connection.close()


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=100-4095", 100, 4096), ("bytes=500-", 500, None), ("bytes=-7", -7, None)],
)
def test_range_of_a_location(hub: RunningHub, root: Path, asked: str, start: int, stop: int | None) -> None:
    """A range is answered with 206, exactly its bytes, the Content-Range and the sha256 as ETag."""
    content = (root / ID / PART).read_bytes()
    answer = get(location_of(hub), Range=asked)
    assert (answer.status_code, answer.content) == (206, content[start:stop])
    first = start % len(content)
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(content)}"
    assert answer.headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()}"'


def test_range_outside_the_file(hub: RunningHub, root: Path) -> None:
    """A range behind the end is 416 and tells the size."""
    size = (root / ID / PART).stat().st_size
    answer = get(location_of(hub), Range=f"bytes={size}-")
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{size}")


def test_if_range(hub: RunningHub) -> None:
    """A range is honoured if If-Range names the content, else the whole file comes."""
    location = location_of(hub)
    etag = httpx2.head(location).headers["ETag"]
    assert get(location, Range="bytes=0-9", If_Range=etag).status_code == 206
    assert get(location, Range="bytes=0-9", If_Range='"other"').status_code == 200


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-9", Span(0, 10)),
        ("bytes=5-99999", Span(5, 100)),
        ("bytes=99-", Span(99, 100)),
        ("bytes=-1", Span(99, 100)),
        ("bytes=-1000", Span(0, 100)),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
    ],
)
def test_parse_range(header: str | None, expected: Span | None) -> None:
    """Ranges of a file of 100 bytes; what is not one range in bytes means the whole file."""
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize(
    "header", ["bytes=100-", "bytes=9-3", "bytes=-0", "bytes=-", "bytes=a-b", "bytes=", "bytes=١-٢"]
)
def test_parse_range_refuses(header: str) -> None:
    """A range without a byte in the file cannot be satisfied."""
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(header, 100)


def test_parallel_ranges_make_the_file(hub: RunningHub, root: Path) -> None:
    """Many ranges read at once from one location are the file's bytes in order."""
    content, location, step = (root / ID / PART).read_bytes(), location_of(hub), 100_003
    parts: dict[int, bytes] = {}

    def read(start: int) -> None:
        parts[start] = get(location, Range=f"bytes={start}-{start + step - 1}").content

    threads = [threading.Thread(target=read, args=(start,)) for start in range(0, len(content), step)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert b"".join(parts[start] for start in sorted(parts)) == content


def test_location_is_bound_to_its_file_and_signature(hub: RunningHub) -> None:
    """A location with anything changed in it is 403."""
    location = location_of(hub)
    assert get(location).status_code == 200
    for old, new in (
        ("part-0", "part-1"),
        ("Expires=", "Expires=9"),
        ("Signature=", "Signature=0"),
        ("/cdn/", "/cdn/0"),
    ):
        assert old in location
        assert get(location.replace(old, new)).status_code == 403
    assert get(f"{hub.endpoint}/cdn/{'0' * 64}").status_code == 403


def test_signature_expires() -> None:
    """A location is good until its lifetime has passed, or the key has been rotated."""
    now = [1000.0]
    signer = UrlSigner(60.0, lambda: now[0])
    query = dict(
        pair.split("=") for pair in urlsplit(signer.location("0a", "o/n", "f")).query.replace("%2F", "/").split("&")
    )
    assert signer.accepts("0a", query)
    now[0] = 1059.9
    assert signer.accepts("0a", query)
    now[0] = 1060.0
    assert not signer.accepts("0a", query)
    now[0] = 1000.0
    signer.rotate()
    assert not signer.accepts("0a", query)


def test_expired_location_is_refused(root: Path) -> None:
    """The lifetime given to the server is the one of its locations."""
    with running_hub(root, url_lifetime=0.0) as hub:
        assert get(location_of(hub)).status_code == 403


def test_location_of_replaced_content(hub: RunningHub, root: Path) -> None:
    """A location never serves other bytes than it was made for."""
    location = location_of(hub)
    write_parquet(root / ID / PART, 5)
    assert get(location).status_code == 404


def test_redirect_on_one_host_name(root: Path, tmp_path: Path) -> None:
    """Where no second host name is known, the client still gets commit, hash and size behind the redirect."""
    with running_hub(root, host="127.0.0.2") as hub:
        metadata = get_hf_file_metadata(url_of(hub, PART), token=False)
        content = (root / ID / PART).read_bytes()
        assert (metadata.etag, metadata.size) == (hashlib.sha256(content).hexdigest(), len(content))
        local = hf_hub_download(ID, PART, repo_type="dataset", endpoint=hub.endpoint, cache_dir=tmp_path, token=False)
        assert Path(local).read_bytes() == content


def test_other_host() -> None:
    """The two names of loopback stand for each other; any other host stands for itself."""
    assert [other_host(host) for host in ("127.0.0.1:80", "localhost", "node7:80", "[::1]:80")] == [
        "localhost:80",
        "127.0.0.1",
        "node7:80",
        "[::1]:80",
    ]


def test_readers_configured_by_environment(hub: RunningHub, root: Path, tmp_path: Path) -> None:
    """DatasetCard and HfFileSystem, which take no endpoint, work against it with HF_ENDPOINT set."""
    program = (
        "import os, sys, pyarrow.parquet as pq; from huggingface_hub import DatasetCard, HfFileSystem\n"
        "print(DatasetCard.load(sys.argv[1]).data.license)\n"
        "file = HfFileSystem().open(f'datasets/{sys.argv[1]}/{sys.argv[2]}')\n"
        "print(pq.read_table(file).num_rows, flush=True)\n"
        # Arrow's threads may still hold the Python file: an interpreter that ends then aborts, now and again.
        "os._exit(0)\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": ""}
    command = [sys.executable, "-c", program, ID, PART]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout.split() == ["mit", "20000"]


# Access


def test_gated_repository(api: HfApi, hub: RunningHub, root: Path, tmp_path: Path) -> None:
    """Files and tree of a gated repository raise GatedRepoError without its token; its info is public there too."""
    (root / ID / ".hub.json").write_text(json.dumps({"gated": "manual", "tokens": ["hf_good"]}))
    for token, status in ((False, 401), ("hf_bad", 403)):
        assert api.dataset_info(ID, token=token).gated == "manual"
        with pytest.raises(GatedRepoError) as refusal:
            api.auth_check(ID, repo_type="dataset", token=token)
        assert refusal.value.response.status_code == status
        with pytest.raises(GatedRepoError):
            list(api.list_repo_tree(ID, repo_type="dataset", token=token))
        with pytest.raises(GatedRepoError):
            get_hf_file_metadata(url_of(hub, PART), token=token)
    api.auth_check(ID, repo_type="dataset", token="hf_good")
    local = hf_hub_download(ID, PART, repo_type="dataset", endpoint=hub.endpoint, cache_dir=tmp_path, token="hf_good")
    assert Path(local).read_bytes() == (root / ID / PART).read_bytes()


def test_private_repository(api: HfApi, hub: RunningHub, root: Path) -> None:
    """A private repository looks missing without its token."""
    (root / ID / ".hub.json").write_text(json.dumps({"private": True, "tokens": ["hf_good"]}))
    for token in (False, "hf_bad"):
        with pytest.raises(RepositoryNotFoundError):
            api.dataset_info(ID, token=token)
        with pytest.raises(RepositoryNotFoundError):
            get_hf_file_metadata(url_of(hub, PART), token=token)
    assert api.dataset_info(ID, token="hf_good").private is True


def test_access_file_that_cannot_be_read(api: HfApi, root: Path) -> None:
    """A mistake in the access file closes the repository instead of opening it."""
    (root / ID / ".hub.json").write_text('{"privat": true}')
    with pytest.raises(HfHubHTTPError, match="500"):
        api.dataset_info(ID)


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "null", '{"gated": "yes"}', '{"private": 1}', '{"tokens": "hf"}', '{"tokens": [""]}', '{"x": 1}'],
)
def test_access_files_refused(tmp_path: Path, text: str) -> None:
    """The message names the file."""
    (tmp_path / ".hub.json").write_text(text)
    with pytest.raises(AccessFileError, match=r"\.hub\.json"):
        read_access(tmp_path)


def test_access_default(tmp_path: Path) -> None:
    """Without an access file a repository is public."""
    assert read_access(tmp_path) == Access()
    assert read_access(tmp_path).admits(None)


# Faults


def test_no_test_routes_without_faults(root: Path) -> None:
    """A server made without faults has no switches."""
    with running_hub(root, faults=False) as hub:
        assert get(f"{hub.endpoint}/-/stats").status_code == 404
        assert httpx2.post(f"{hub.endpoint}/-/faults", json=[]).status_code == 404
        assert get(url_of(hub, "README.md")).text == README


def test_stats_count_requests_and_bytes(api: HfApi, hub: RunningHub, root: Path) -> None:
    """Requests are counted by kind and path, and the bytes the CDN sent."""
    api.dataset_info(ID)
    location = location_of(hub)
    get(location, Range="bytes=0-99")
    get(location, Range="bytes=100-149")
    stats = hub.stats()
    assert {key: stats[key] for key in ("api", "resolve", "cdn", "cdn_bytes")} == {
        "api": 1,
        "resolve": 1,
        "cdn": 2,
        "cdn_bytes": 150,
    }
    assert stats["paths"][f"{ID}/{PART}"] == {"api": 0, "resolve": 1, "cdn": 2, "cdn_bytes": 150}


def test_status_fault(hub: RunningHub) -> None:
    """A status is answered as often as armed, with its headers, on the requests it is for."""
    limit = '"resolvers";r=0;t=1'
    hub.arm(
        {
            "kind": "status",
            "where": "resolve",
            "status": 429,
            "times": 2,
            "path": "*/part-0*",
            "headers": {"RateLimit": limit},
        }
    )
    assert httpx2.head(url_of(hub, "data/en/part-1.parquet")).status_code == 302
    answers = [httpx2.head(url_of(hub, PART)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 302]
    assert answers[0].headers["RateLimit"] == limit
    assert hub.stats()["faults_left"] == 0


def test_status_fault_on_the_api_and_the_cdn(api: HfApi, hub: RunningHub) -> None:
    """The API and the CDN can fail too, and clearing ends it."""
    location = location_of(hub)
    hub.arm(
        {"kind": "status", "where": "api", "times": None},
        {"kind": "status", "where": "cdn", "times": None, "status": 500},
    )
    with pytest.raises(HfHubHTTPError, match="503"):
        api.dataset_info(ID)
    assert get(location).status_code == 500
    hub.clear()
    assert api.dataset_info(ID).id == ID
    assert get(location).status_code == 200


def test_cut_fault(hub: RunningHub, root: Path) -> None:
    """The connection closes after the bytes given, and the next request is whole."""
    content, location = (root / ID / PART).read_bytes(), location_of(hub)
    hub.arm({"kind": "cut", "after": 1000})
    received = b""
    with pytest.raises(httpx2.RemoteProtocolError), httpx2.stream("GET", location) as answer:
        assert answer.headers["Content-Length"] == str(len(content))
        for data in answer.iter_raw():
            received += data
    assert received == content[:1000]
    assert get(location).content == content


def test_client_resumes_after_a_cut(hub: RunningHub, root: Path, tmp_path: Path) -> None:
    """hf_hub_download survives a cut by asking for the rest."""
    hub.arm({"kind": "cut", "after": 70_000})
    local = hf_hub_download(ID, PART, repo_type="dataset", endpoint=hub.endpoint, cache_dir=tmp_path, token=False)
    assert Path(local).read_bytes() == (root / ID / PART).read_bytes()
    assert hub.stats()["cdn"] == 2


def test_stall_fault(hub: RunningHub, root: Path) -> None:
    """The body stops after the bytes given; other requests go on meanwhile."""
    content, location = (root / ID / PART).read_bytes(), location_of(hub)
    hub.arm({"kind": "stall", "after": 500, "seconds": 3600})
    received = b""
    with pytest.raises(httpx2.ReadTimeout), httpx2.stream("GET", location, timeout=0.3) as answer:
        for data in answer.iter_raw():
            received += data
    assert received == content[:500]
    assert get(location).content == content


def test_stall_ends(hub: RunningHub, root: Path) -> None:
    """After the stall the rest follows."""
    location = location_of(hub)
    hub.arm({"kind": "stall", "after": 500, "seconds": 0.05})
    assert get(location).content == (root / ID / PART).read_bytes()


def test_corrupt_fault(hub: RunningHub, root: Path) -> None:
    """Bytes of the file are flipped in the first answer that holds them."""
    content, location = (root / ID / PART).read_bytes(), location_of(hub)
    hub.arm({"kind": "corrupt", "offset": 1000, "length": 3})
    assert get(location, Range="bytes=0-999").content == content[:1000]
    wrong = get(location, Range="bytes=900-1099").content
    assert [i for i in range(200) if wrong[i] != content[900 + i]] == [100, 101, 102]
    assert get(location).content == content


def test_expire_fault(hub: RunningHub) -> None:
    """Locations handed out before are 403, a new resolve works."""
    location = location_of(hub)
    hub.arm({"kind": "expire"})
    assert get(location).status_code == 403
    assert get(location_of(hub)).status_code == 200


def test_truncate_fault(hub: RunningHub, root: Path) -> None:
    """The file is sent and claimed shorter."""
    content, location = (root / ID / PART).read_bytes(), location_of(hub)
    hub.arm({"kind": "truncate", "length": 10, "times": 2})
    assert get(location).content == content[:-10]
    assert get(location, Range="bytes=0-9").headers["Content-Range"] == f"bytes 0-9/{len(content) - 10}"
    assert get(location).content == content


def test_etag_fault(hub: RunningHub) -> None:
    """The CDN names other content."""
    location = location_of(hub)
    hub.arm({"kind": "etag"})
    first, second = get(location), get(location)
    assert first.headers["ETag"] != second.headers["ETag"]


def test_heads_use_no_body_fault(hub: RunningHub) -> None:
    """A HEAD leaves a fault of the body for the next GET."""
    location = location_of(hub)
    hub.arm({"kind": "cut"})
    assert httpx2.head(location).status_code == 200
    with pytest.raises(httpx2.RemoteProtocolError):
        get(location)


@pytest.mark.parametrize(
    "entry", [{"kind": "nonsense"}, {"kind": "cut", "where": "x"}, {"kind": "cut", "huh": 1}, {}, 7]
)
def test_bad_faults_are_refused(hub: RunningHub, entry: object) -> None:
    """An unknown fault is a 400, so that no test arms nothing by mistake."""
    assert httpx2.post(f"{hub.endpoint}/-/faults", json=[entry]).status_code == 400


def test_faults_are_taken_in_order() -> None:
    """The first armed fault that matches is used and counted down."""
    faults = FaultList()
    faults.arm([Fault("cut", times=2), Fault("stall", path="b*"), Fault("etag", times=None)])
    taken = [faults.take_body("cdn", path, 0, 10) for path in ("a", "b", "a", "b", "b")]
    assert [fault.kind if fault else None for fault in taken] == ["cut", "cut", "etag", "stall", "etag"]
    assert faults.take_status("cdn", "a") is None


# Running


def test_serve_refuses_what_cannot_work(tmp_path: Path, hub: RunningHub) -> None:
    """No directory, or a port in use, is an InputError that names it."""
    with pytest.raises(InputError, match="absent"):
        serve(tmp_path / "absent", "127.0.0.1", 0, on_ready=print)
    port = urlsplit(hub.endpoint).port
    assert port is not None
    with pytest.raises(InputError, match=str(port)):
        serve(tmp_path, "127.0.0.1", port, on_ready=print)


def test_interrupt_ends_the_server(tmp_path: Path) -> None:
    """SIGINT ends serve with KeyboardInterrupt, and nothing was printed."""
    program = (
        "import sys, os, signal; from pathlib import Path; from provision.hubserver import serve\n"
        "try: serve(Path(sys.argv[1]), '127.0.0.1', 0, on_ready=lambda _: os.kill(os.getpid(), signal.SIGINT))\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_endpoint() -> None:
    """A wildcard address is announced by this host's name, an IPv6 one in brackets."""
    assert endpoint_of("127.0.0.1", 8000) == "http://127.0.0.1:8000"
    assert endpoint_of("::1", 8000) == "http://[::1]:8000"
    assert "0.0.0.0" not in endpoint_of("0.0.0.0", 8000)
