import json
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from provision.errors import HostsFileError, InputError
from provision.hostlist import expand
from provision.hosts import Host, parse_hosts, read_hosts
from provision.inventory import render_hosts


def bad_cases() -> list[tuple[str, list[str]]]:
    cases = []
    for line in Path(__file__).with_name("cases").joinpath("hosts_bad.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            text, _, parts = line.partition(" => ")
            # Escapes are for what an editor would not show; characters beyond ASCII stand for themselves.
            escaped = text.encode("ascii", "backslashreplace").decode("unicode_escape")
            cases.append((escaped, parts.split(" && ")))
    return cases


@pytest.mark.parametrize(("text", "parts"), bad_cases())
def test_refuses_with_place_text_and_remedy(text: str, parts: list[str]) -> None:
    """A bad line is refused by a message that names its line, its text and the remedy."""
    with pytest.raises(HostsFileError) as caught:
        parse_hosts(text)
    message = str(caught.value)
    assert message.startswith("hosts.txt:")
    assert [part for part in parts if part not in message] == [], message


def test_reports_every_bad_line_at_once() -> None:
    """All bad lines are in one message, in order, under the name of the file."""
    with pytest.raises(HostsFileError) as caught:
        parse_hosts("a\nb 2\nc 0\n# d\nb 4\n", origin="cluster/h.txt")
    assert str(caught.value).split("\n") == [
        "cluster/h.txt:1: 'a': no rank count; write 'a 8' or pass --default-slots",
        "cluster/h.txt:3: 'c 0': a rank count is from 1 to 1024; write 'c 8'",
        "cluster/h.txt:5: 'b': named before, on line 2; give each host one line",
    ]


def test_reads_every_form() -> None:
    """The forms of the guide all parse, in file order, with comments and blank lines between."""
    text = (
        "# all hosts\n"
        "\n"
        "gpu3.lan 2                      # short\n"
        "  gpu4.lan\tslots=4\n"
        "bob@gpu[5-6,8].lan slots=2\n"
        "gpu9.lan 2 port=2222 output_dir=/data/s holdout_dir=~/h\n"
    )
    assert (
        Host(name="gpu3.lan", ranks=2, line=3),
        Host(name="gpu4.lan", ranks=4, line=4),
        Host(name="gpu5.lan", ranks=2, user="bob", line=5),
        Host(name="gpu6.lan", ranks=2, user="bob", line=5),
        Host(name="gpu8.lan", ranks=2, user="bob", line=5),
        Host(name="gpu9.lan", ranks=2, port=2222, output_dir="/data/s", holdout_dir="~/h", line=6),
    ) == parse_hosts(text)


def test_the_file_we_ship_is_read() -> None:
    """The hosts.txt of the repository runs on this machine alone, as it stands."""
    (host,) = read_hosts(Path(__file__).parents[2] / "hosts.txt")
    assert (host.name, host.is_local) == ("localhost", True)


@pytest.mark.parametrize(
    ("word", "directory"),
    [
        ("output_dir='/my data/x'", "/my data/x"),
        ('output_dir="/my data/x"', "/my data/x"),
        ("'output_dir=/my data/x'", "/my data/x"),
        (r"output_dir=/my\ data/x", "/my data/x"),
        ("output_dir=/a#b", "/a#b"),
        ("output_dir='/a #b'", "/a #b"),
        ("output_dir=~/'$HOME `x`'", "~/$HOME `x`"),
        ("output_dir=/a=b", "/a=b"),
        ("output_dir=/größe", "/größe"),
    ],
)
def test_directories_are_quoted_as_in_a_shell(word: str, directory: str) -> None:
    """A directory may hold spaces, '#', '=' and quotes when quoted as a shell would have it; nothing is expanded."""
    assert directory == parse_hosts(f"gpu3 8 {word} # bob's machine")[0].output_dir


def test_default_slots_fill_in_only() -> None:
    """A default count is for lines without one, and is itself checked."""
    assert [host.ranks for host in parse_hosts("a port=22\nb 8", default_slots=3)] == [3, 8]
    with pytest.raises(HostsFileError, match="--default-slots 0"):
        parse_hosts("a\n", default_slots=0)


def test_windows_files_are_read(tmp_path: Path) -> None:
    """CRLF line ends and a byte order mark change nothing."""
    file = tmp_path / "hosts.txt"
    file.write_bytes("\ufeffgpu3 8\r\ngpu4 slots=8 output_dir=/x\r\n".encode())
    assert tuple(host.name for host in read_hosts(file)) == ("gpu3", "gpu4")
    assert read_hosts(file)[1].output_dir == "/x"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "no such file; write one host a line"),
        (b"", "names no host; write one host a line, such as 'localhost 2'"),
        (b"# nothing yet\n\n", "names no host"),
        ("gpu3 8\n".encode("utf-16"), "not UTF-8 text"),
        (b"gpu\xff 8\n", "not UTF-8 text"),
    ],
)
def test_unusable_files(tmp_path: Path, content: bytes | None, part: str) -> None:
    """A file that is missing, empty or not text is refused by its path, with a remedy."""
    file = tmp_path / "hosts.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(HostsFileError) as caught:
        read_hosts(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert part in str(caught.value)


def test_a_directory_is_no_hosts_file(tmp_path: Path) -> None:
    """A directory is refused as one: nothing is wrong with its permissions."""
    with pytest.raises(HostsFileError, match="a directory; name the file in it"):
        read_hosts(tmp_path)


@pytest.mark.parametrize(
    ("name", "user", "port", "local"),
    [
        ("localhost", None, None, True),
        ("LOCALHOST", None, None, True),
        ("127.0.0.1", None, None, True),
        ("127.0.1.254", None, None, True),
        ("127.255.255.254", None, None, True),
        ("127.0.1.256", None, None, False),
        ("127.0.1", None, None, False),
        ("127.0.0.1.example.org", None, None, False),
        ("128.0.0.1", None, None, False),
        ("127.0.0.2", "bob", None, False),
        ("127.0.0.2", None, 22, False),
        (socket.gethostname(), None, None, True),
        ("localhost", "bob", None, False),
        ("localhost", None, 22, False),
        ("localhost.example.org", None, None, False),
        ("gpu3.lan", None, None, False),
    ],
)
def test_local_is_this_machine_without_ssh_settings(name: str, user: str | None, port: int | None, local: bool) -> None:
    """This machine's names, and all its loopback addresses, are local; a user or a port asks for SSH all the same."""
    assert local == Host(name=name, ranks=1, user=user, port=port).is_local


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("gpu3.lan", ["gpu3.lan"]),
        ("n[01-12]", [f"n{i:02d}" for i in range(1, 13)]),
        ("n[8-11]", ["n8", "n9", "n10", "n11"]),
        ("n[098-101]x", ["n098x", "n099x", "n100x", "n101x"]),
        ("n[1-2]r[3-4]", ["n1r3", "n1r4", "n2r3", "n2r4"]),
        ("gpu[3-5,9].lan", ["gpu3.lan", "gpu4.lan", "gpu5.lan", "gpu9.lan"]),
        ("[1-2]", ["1", "2"]),
        ("n[0-0]", ["n0"]),
    ],
)
def test_ranges_are_those_of_pdsh(pattern: str, names: list[str]) -> None:
    """Ranges expand to the names, and in the order, that pdsh gives them."""
    assert names == list(expand(pattern))
    if shutil.which("pdsh"):
        said = subprocess.run(
            ["pdsh", "-R", "exec", "-N", "-f", "1", "-w", pattern, "echo", "%h"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        assert names == said.stdout.split()


def test_the_largest_range_is_read() -> None:
    """10,000 names are within the limit."""
    assert len(parse_hosts("n[1-10000] 1")) == 10_000


line_text = st.text(alphabet=st.sampled_from("ab1290 []-,@:=#'\"\\./~\t\r\n%é\ufeff\x00\u2028") | st.characters())


@given(line_text | st.text())
@example("'")
@example("a[")
@example("a 8 output_dir='")
@example("a 8 " + "9" * 5000)
@example("[" * 2000)
@example("\\\n8")
def test_any_text_is_hosts_or_a_refusal(text: str) -> None:
    """Whatever the text, it is read or refused with HostsFileError; what is read can be read again."""
    try:
        hosts = parse_hosts(text)
    except HostsFileError:
        return
    again = parse_hosts(render_hosts(hosts, "deepspeed"))
    assert [(host.name, host.user, host.ranks) for host in hosts] == [(it.name, it.user, it.ranks) for it in again]


HOSTS = parse_hosts("localhost 1\nbob@gpu[1-2] 2 port=2222\ngpu3 8 output_dir='/my data'\n")


def test_deepspeed_form_is_a_hostfile() -> None:
    """The DeepSpeed form is `host slots=N` per line."""
    expected = "localhost slots=1\nbob@gpu1 slots=2\nbob@gpu2 slots=2\ngpu3 slots=8\n"
    assert expected == render_hosts(HOSTS, "deepspeed")


def test_pdsh_form_is_what_pdsh_takes() -> None:
    """The pdsh form names users and hosts for -w, as pdsh itself reads it."""
    form = render_hosts(HOSTS, "pdsh").strip()
    assert form == "localhost,bob@gpu1,bob@gpu2,gpu3"
    if shutil.which("pdsh"):
        said = subprocess.run(
            ["pdsh", "-R", "exec", "-N", "-f", "1", "-w", form, "echo", "%h=%u"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.split()[1:3] == ["gpu1=bob", "gpu2=bob"]


def test_ansible_form_is_an_inventory(tmp_path: Path) -> None:
    """The Ansible form carries connection, user, port, ranks and directories, as ansible-inventory reads it."""
    form = render_hosts(HOSTS, "ansible")
    expected = {
        "localhost": {"ansible_connection": "local", "shardfleet_ranks": 1},
        "gpu1": {"ansible_user": "bob", "ansible_port": 2222, "shardfleet_ranks": 2},
        "gpu2": {"ansible_user": "bob", "ansible_port": 2222, "shardfleet_ranks": 2},
        "gpu3": {"shardfleet_ranks": 8, "shardfleet_output_dir": "/my data"},
    }
    assert {"all": {"hosts": expected}} == json.loads(form)
    if ansible := shutil.which("ansible-inventory"):
        file = tmp_path / "inventory.yml"
        file.write_text(form)
        said = subprocess.run([ansible, "-i", file, "--list"], capture_output=True, text=True, check=True)
        assert expected == json.loads(said.stdout)["_meta"]["hostvars"]


def test_other_forms_are_refused() -> None:
    """An unknown form is refused with the list of forms."""
    with pytest.raises(InputError, match=r"'slurm'.*ansible, deepspeed, pdsh"):
        render_hosts(HOSTS, "slurm")  # type: ignore[arg-type]
