"""``osler fetch`` against a server that misbehaves: what is lost, what is kept, what is said."""

from __future__ import annotations

import errno
import hashlib
import http.server
import importlib.util
import io
import json
import re
import socket
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from layout_samples import decathlon, medmnist
from osler.datasets.layouts import open_dataset
from osler.datasets.public import PUBLIC_SETS, PublicSet, find_public_set
from osler.datasets.public import download as download_module
from osler.datasets.public.unpack import unpack_tar
from osler.errors import Cancelled, DownloadError, OutputExists, StorageError, Unknown
from osler.progress import CancelToken, Silent
from osler.workflows.fetch import SOURCE_FILE, fetch, list_public_sets


@dataclass
class Server:
    """What the server has, how it behaves, and which ranges it was asked for."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    tag: str = '"1"'
    ranges: list[str] = field(default_factory=list)
    breaks_after: list[int] = field(default_factory=list)  # bytes after which each of the next answers ends
    answers: list[int] = field(default_factory=list)  # codes of the next answers
    knows_ranges: bool = True


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: Server

    def do_GET(self) -> None:
        state = self.server_state
        content = state.files.get(self.path.partition("?")[0].lstrip("/"))
        code = state.answers.pop(0) if state.answers else 200 if content is not None else 404
        if code != 200 or content is None:
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        begin = self._begin(state, len(content))
        if begin > len(content) - 1:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(state, content, begin)

    def _begin(self, state: Server, size: int) -> int:
        asked = self.headers.get("Range", "")
        state.ranges.append(asked)
        fresh = self.headers.get("If-Range", state.tag) == state.tag
        match = re.match(r"bytes=(\d+)-", asked)
        return int(match[1]) if match and state.knows_ranges and fresh else 0

    def _send(self, state: Server, content: bytes, begin: int) -> None:
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.send_header("ETag", state.tag)
        self.end_headers()
        limit = state.breaks_after.pop(0) if state.breaks_after else len(content)
        self.wfile.write(content[begin : begin + limit])
        if limit < len(content) - begin:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def server() -> Iterator[Server]:
    class Own(Handler):
        pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own)
    running.handle_error = lambda *_: None  # type: ignore[method-assign]
    state = Own.server_state = Server(f"http://127.0.0.1:{running.server_port}")
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    running.shutdown()
    running.server_close()
    thread.join()


CONTENT = np.random.default_rng(0).bytes(300_000)


def public(server: Server, content: bytes = CONTENT, name: str = "tiny.npz", **changes: object) -> PublicSet:
    server.files[name] = content
    made = PublicSet(
        name=name.partition(".")[0], family="Tests", about="noise", url=f"{server.url}/{name}?download=1", file=name,
        md5=hashlib.md5(content).hexdigest(), licence="CC BY 4.0", licence_url="https://example.org/by", cite="nobody",
    )  # fmt: skip
    return replace(made, **changes)


class Talk(Silent):
    """Remembers what was said, and what each stage amounts to."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.totals: dict[str, float | None] = {}

    def say(self, message: str) -> None:
        self.said.append(message)

    def start(self, stage: str, total: float | None, unit: str = "") -> None:
        self.totals[stage] = total


class CancelAfter(Talk):
    """Presses Ctrl-C when the first piece has come."""

    def __init__(self) -> None:
        super().__init__()
        self.token = CancelToken()

    def advance(self, stage: str, amount: float = 1.0, note: str = "") -> None:
        self.token.cancel()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "_CHUNK", 20_000)


def test_a_file_is_fetched_checked_and_says_where_it_is_from(server, tmp_path):
    talk = Talk()
    result = fetch(public(server), tmp_path / "set", progress=talk)
    assert (tmp_path / "set/tiny.npz").read_bytes() == CONTENT
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == [SOURCE_FILE, "tiny.npz"]
    source = json.loads((tmp_path / "set" / SOURCE_FILE).read_text())
    assert (source["licence"], source["files"]) == ("CC BY 4.0", {"tiny.npz": 300_000})
    assert talk.said[1] == "licence CC BY 4.0 (https://example.org/by); cite nobody"
    assert talk.totals["fetch"] == pytest.approx(0.3)
    assert not result.already


def test_a_set_that_is_there_is_checked_and_not_fetched_again(server, tmp_path):
    chosen = public(server)
    fetch(chosen, tmp_path / "set")
    assert fetch(chosen, tmp_path / "set").already
    assert len(server.ranges) == 1
    (tmp_path / "set/tiny.npz").write_bytes(CONTENT[::-1])
    assert not fetch(chosen, tmp_path / "set").already
    assert (tmp_path / "set/tiny.npz").read_bytes() == CONTENT


def test_a_stop_keeps_the_part_and_the_same_command_goes_on(server, tmp_path):
    chosen = public(server)
    stopping = CancelAfter()
    with pytest.raises(Cancelled, match="stopped at your request"):
        fetch(chosen, tmp_path / "set", progress=stopping, cancel=stopping.token)
    part = tmp_path / "set/.osler-fetch/tiny.npz.part"
    assert part.read_bytes() == CONTENT[:20_000]
    talk = Talk()
    fetch(chosen, tmp_path / "set", progress=talk)
    assert server.ranges == ["", "bytes=20000-"]
    assert (tmp_path / "set/tiny.npz").read_bytes() == CONTENT
    assert talk.said[3].startswith("going on at 0 of 0 MB")
    assert talk.totals["fetch"] == pytest.approx(0.28)


def test_a_server_that_breaks_off_is_asked_for_the_rest(server, tmp_path):
    server.breaks_after = [120_000, 60_000]
    fetch(public(server), tmp_path / "set", pause_s=0.01)
    assert server.ranges == ["", "bytes=120000-", "bytes=180000-"]
    assert (tmp_path / "set/tiny.npz").read_bytes() == CONTENT


def test_a_server_that_gives_nothing_more_is_given_up_and_the_part_stays(server, tmp_path):
    server.breaks_after = [120_000, *[0] * 20]
    with pytest.raises(DownloadError, match=r"cannot be fetched after 5 tries.*goes on where it was"):
        fetch(public(server), tmp_path / "set", pause_s=0.001)
    assert (tmp_path / "set/.osler-fetch/tiny.npz.part").stat().st_size == 120_000
    server.breaks_after = []
    fetch(public(server), tmp_path / "set")
    assert server.ranges[-1] == "bytes=120000-"


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.answers = [503, 429]
    fetch(public(server), tmp_path / "set", pause_s=0.001)
    assert (tmp_path / "set/tiny.npz").read_bytes() == CONTENT


def test_a_server_without_ranges_begins_anew(server, tmp_path):
    server.knows_ranges = False
    server.breaks_after = [120_000]
    fetch(public(server), tmp_path / "set", pause_s=0.001)
    assert (tmp_path / "set/tiny.npz").read_bytes() == CONTENT


def test_a_file_that_changed_on_the_server_meanwhile_begins_anew(server, tmp_path):
    stopping = CancelAfter()
    with pytest.raises(Cancelled, match="stopped"):
        fetch(public(server, CONTENT[::-1]), tmp_path / "set", progress=stopping, cancel=stopping.token)
    server.tag = '"2"'
    fetch(public(server), tmp_path / "set")
    assert (tmp_path / "set/tiny.npz").read_bytes() == CONTENT


def test_a_whole_part_whose_check_was_killed_is_not_fetched_again(server, tmp_path):
    chosen = public(server)
    work = tmp_path / "set/.osler-fetch"
    work.mkdir(parents=True)
    (work / "tiny.npz.part").write_bytes(CONTENT)
    (work / "tiny.npz.part.json").write_text(json.dumps({"url": chosen.url, "validator": server.tag}))
    fetch(chosen, tmp_path / "set")
    assert server.ranges == ["bytes=300000-"]
    assert (tmp_path / "set/tiny.npz").read_bytes() == CONTENT


def test_a_wrong_checksum_is_said_and_leaves_nothing_to_go_on_from(server, tmp_path):
    chosen = public(server, md5="0" * 32)
    with pytest.raises(DownloadError, match=r"tiny.npz is not the file that was published.*so it was removed"):
        fetch(chosen, tmp_path / "set")
    assert [p for p in (tmp_path / "set").rglob("*") if p.is_file()] == []


def test_a_file_that_is_not_there_is_said_at_once(server, tmp_path):
    chosen = replace(public(server), url=f"{server.url}/gone.npz")
    with pytest.raises(DownloadError, match=r"gone.npz: the server answers 404 Not Found"):
        fetch(chosen, tmp_path / "set", pause_s=60)


def test_a_server_that_does_not_exist_is_said_with_the_proxy(tmp_path, server):
    chosen = replace(public(server), url="http://127.0.0.1:1/x.npz")
    talk = Talk()
    with pytest.raises(DownloadError, match=r"Connection refused.*HTTPS_PROXY"):
        fetch(chosen, tmp_path / "set", pause_s=0.001, progress=talk)
    assert "asking 127.0.0.1:1 for tiny.npz" in talk.said
    tries = [re.findall(r"Connection refused; asked again in 0 s \(try (\d) of 5\)", line) for line in talk.said]
    assert [number for found in tries for number in found] == ["2", "3", "4", "5"]


def test_too_little_space_is_said_before_anything_is_written(server, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 100_000})
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match=r"has 0 MB free, and 0 MB are needed"):
        fetch(public(server), tmp_path / "set")
    assert not (tmp_path / "set/.osler-fetch/tiny.npz.part").exists()


def test_a_disk_that_fills_up_keeps_the_part(server, tmp_path, monkeypatch):
    chosen = public(server)
    real = Path.open

    class Full(io.FileIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            if self.tell() + len(data) > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    def opened(self: Path, mode: str = "r", *rest: object, **named: object):
        return (
            Full(self, mode.replace("b", ""))
            if self.suffix == ".part" and "b" in mode
            else real(self, mode, *rest, **named)
        )

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(StorageError, match=r"No space left on device.*the same command goes on"):
        fetch(chosen, tmp_path / "set")
    monkeypatch.undo()
    fetch(chosen, tmp_path / "set")
    assert server.ranges == ["", "bytes=100000-"]


def test_a_folder_with_other_files_is_left_alone(server, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(OutputExists, match="holds something else"):
        fetch(public(server), tmp_path)


def tar_of(folder: Path, top: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(folder, top)
        info = tarfile.TarInfo(f"{top}/imagesTr/._liver_000.nii.gz")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"junk"))
    return buffer.getvalue()


def test_an_archive_is_unpacked_and_opens_as_a_data_set(server, tmp_path):
    content = tar_of(decathlon(tmp_path / "source"), "Task03_Liver")
    chosen = public(server, content, "Task03_Liver.tar", unpack=True)
    folder = fetch(chosen, tmp_path / "liver").folder
    assert len(open_dataset(folder)) == 3
    assert not list(folder.rglob("._*"))
    assert sorted(p.name for p in folder.iterdir()) == [SOURCE_FILE, "dataset.json", "imagesTr", "labelsTr"]
    assert fetch(chosen, folder).already
    (folder / "labelsTr/liver_001.nii.gz").unlink()
    assert not fetch(chosen, folder).already
    assert len(open_dataset(folder)) == 3


def test_a_fetched_medmnist_file_opens_as_a_data_set(server, tmp_path):
    content = (medmnist(tmp_path / "source") / "newmnist.npz").read_bytes()
    assert len(open_dataset(fetch(public(server, content, "newmnist.npz"), tmp_path / "set").folder)) == 16


def test_an_archive_that_reaches_outside_is_refused_and_one_cut_short_too(tmp_path):
    bad = tmp_path / "bad.tar"
    with tarfile.open(bad, "w") as tar:
        info = tarfile.TarInfo("../evil.txt")
        tar.addfile(info, io.BytesIO())
    with pytest.raises(DownloadError, match=r"names '../evil.txt', which lies outside"):
        unpack_tar(bad, tmp_path / "out", progress=Silent(), cancel=CancelToken())
    assert not (tmp_path / "evil.txt").exists()
    bad.write_bytes(tar_of(decathlon(tmp_path / "source"), "x")[:3000])
    with pytest.raises(DownloadError, match=r"bad.tar cannot be unpacked"):
        unpack_tar(bad, tmp_path / "out", progress=Silent(), cancel=CancelToken())


def test_links_in_an_archive_are_not_followed(tmp_path):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        link = tarfile.TarInfo("set/passwd")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("set/real.txt"), io.BytesIO())
    unpack_tar(archive, tmp_path / "out", progress=Silent(), cancel=CancelToken())
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["real.txt"]


def test_the_catalogue_is_whole():
    assert len({one.name for one in PUBLIC_SETS}) == len(PUBLIC_SETS) == 12 * 4 + 6 * 2 + 10
    assert len({one.md5 for one in PUBLIC_SETS}) == len(PUBLIC_SETS)
    assert all(re.fullmatch(r"[0-9a-f]{32}", one.md5) and one.url.startswith("https://") for one in PUBLIC_SETS)
    assert all(one.licence.startswith("CC BY") and one.cite and one.about for one in PUBLIC_SETS)
    assert find_public_set("pneumoniamnist").md5 == "28209eda62fecd6e6a2d98b1501bb15f"
    assert "not for commercial use" in find_public_set("dermamnist_224").terms


def test_the_decathlons_checksums_are_those_of_monai():
    """Read and not imported, which takes long: MONAI's list is the published one."""
    found = importlib.util.find_spec("monai")
    if found is None or found.origin is None:
        pytest.skip("MONAI is not installed")
    text = (Path(found.origin).parent / "apps/datasets.py").read_text()
    md5 = dict(re.findall(r'"(Task\d\d_\w+)": "([0-9a-f]{32})"', text))
    urls = dict(re.findall(r'"(Task\d\d_\w+)": "(https://[^"]+)"', text))
    assert len(md5) == len(urls) == 10
    assert all((find_public_set(task).md5, find_public_set(task).url) == (md5[task], urls[task]) for task in md5)


def test_names_are_forgiving_and_unknown_ones_get_the_nearest():
    assert find_public_set("Task04_Hippocampus") is find_public_set("hippocampus")
    assert find_public_set("PneumoniaMNIST-64").file == "pneumoniamnist_64.npz"
    assert find_public_set("bloodmnist_28").file == "bloodmnist.npz"
    with pytest.raises(Unknown, match=r"no public set 'pneumonia_mnist'. did you mean pneumoniamnist"):
        find_public_set("pneumonia_mnist")


def test_the_list_names_every_set_with_its_licence():
    lines, rows = list_public_sets()
    assert len(rows) == len(PUBLIC_SETS)
    assert any("dermamnist_128" in line and "CC BY-NC 4.0" in line for line in lines)
