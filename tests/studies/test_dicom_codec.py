"""The decoding processes: what they cost nobody, and that no frame takes Osler along."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_samples import make_slice, save
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from osler.errors import Unreadable, Unsuitable
from osler.studies.formats import _dicom_codec as codec
from osler.studies.formats import _dicom_inflate, read_image
from osler.studies.formats._dicom_codec import Frame, decode_frame

PIXELS = np.random.default_rng(0).integers(0, 4000, (48, 64)).astype(np.uint16)
FRAME = Frame("jpegls", 48, 64, 1, 16)

_HOSTILE = """
import os, sys, time
sys.path.insert(0, {folder!r})
import _codec_worker as worker

plain = worker.decode

def decode(kind, data, request):
    word = data[:5]
    if word == b"crash":
        os.kill(os.getpid(), 11)
    if word == b"loop!":
        while True:
            pass
    if word == b"sleep":
        time.sleep(600)
    if word == b"alloc":
        return bytearray(1 << 32)
    if word == b"chat!":
        sys.stdout.buffer.write(b"not an answer at all")
        sys.stdout.buffer.flush()
        os._exit(0)
    return plain(kind, data, request)

worker.decode = decode
worker.main(sys.stdin.buffer, sys.stdout.buffer)
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers that do what the first bytes of a frame tell them, with limits of one second."""
    script = tmp_path / "worker.py"
    script.write_text(_HOSTILE.format(folder=str(Path(codec.__file__).parent)))
    monkeypatch.setattr(codec, "_SCRIPT", script)
    monkeypatch.setattr(codec, "_SECONDS", 1.0)
    monkeypatch.setattr(codec, "_PATIENCE", 30.0)
    monkeypatch.setattr(codec, "_pools", {})
    yield
    codec._end_all()


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        (b"crash", r"the JPEG-LS decoder crashed \(signal 11\)"),
        (b"loop!", "the JPEG-LS decoder took too long"),
        (b"alloc", "needs more memory than its size allows"),
        (b"chat!", "the JPEG-LS decoder failed"),
    ],
)
def test_a_decoder_that_misbehaves_is_an_error_and_the_next_frame_is_decoded(
    word: bytes, reason: str, hostile: None
) -> None:
    good = imagecodecs.jpegls_encode(PIXELS)
    np.testing.assert_array_equal(decode_frame(good, FRAME), PIXELS)
    with pytest.raises(ValueError, match=reason):
        decode_frame(word, FRAME)
    np.testing.assert_array_equal(decode_frame(good, FRAME), PIXELS)


def test_a_decoder_that_waits_for_ever_is_ended_by_the_clock(hostile: None, monkeypatch: pytest.MonkeyPatch) -> None:
    decode_frame(imagecodecs.jpegls_encode(PIXELS), FRAME)
    monkeypatch.setattr(codec, "_PATIENCE", 1.5)
    begin = time.monotonic()
    with pytest.raises(ValueError, match="took too long"):
        decode_frame(b"sleep", FRAME)
    assert time.monotonic() - begin < 60


def test_a_worker_killed_between_frames_is_replaced() -> None:
    good = imagecodecs.jpegls_encode(PIXELS)
    decode_frame(good, FRAME)
    for worker in codec._pool().all:
        worker._process.kill()
        worker._process.wait()
    np.testing.assert_array_equal(decode_frame(good, FRAME), PIXELS)


def test_threads_share_the_workers_and_each_gets_its_own_frame() -> None:
    wrong = []

    def check(value: int) -> None:
        pixels = np.full((48, 64), value, np.uint16)
        if not np.array_equal(decode_frame(imagecodecs.jpegls_encode(pixels), FRAME), pixels):
            wrong.append(value)

    threads = [threading.Thread(target=check, args=(value,)) for value in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def _in_a_child(data: bytes) -> bool:
    return bool(np.array_equal(decode_frame(data, FRAME), PIXELS))


def test_a_forked_process_has_workers_of_its_own() -> None:
    good = imagecodecs.jpegls_encode(PIXELS)
    decode_frame(good, FRAME)
    with get_context("fork").Pool(1) as pool:
        assert pool.apply(_in_a_child, (good,))
    np.testing.assert_array_equal(decode_frame(good, FRAME), PIXELS)


def test_a_stream_that_claims_more_than_the_header_is_refused() -> None:
    bomb = imagecodecs.jpeg2k_encode(np.zeros((9000, 9000), np.uint16), codecformat="j2k", reversible=True)
    assert len(bomb) < 1000
    with pytest.raises(ValueError, match=r"JPEG 2000 pixels cannot be decoded|have shape"):
        decode_frame(bomb, Frame("jpeg2k", 64, 64, 1, 16))
    with pytest.raises(ValueError, match="takes more than 1024 MiB"):
        decode_frame(bomb, Frame("jpeg2k", 65535, 65535, 1, 16))


ENCODERS = {
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.90": lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", reversible=True),
    "1.2.840.10008.1.2.4.201": lambda a: imagecodecs.htj2k_encode(a, reversible=True),
    "1.2.840.10008.1.2.4.202": lambda a: imagecodecs.htj2k_encode(a, reversible=True),
    "1.2.840.10008.1.2.4.110": lambda a: imagecodecs.jpegxl_encode(a, lossless=True),
}


def _encapsulated(data: Dataset, syntax: str, frame: bytes, path: Path) -> Path:
    """Write one compressed frame; the UID comes last, as pydicom writes no syntaxes that are newer than itself."""
    known = UID("1.2.840.10008.1.2.4.201" if len(syntax) > 22 else "1.2.840.10008.1.2.4.90")
    data.file_meta.TransferSyntaxUID = known
    data.PixelData = encapsulate([frame])
    data["PixelData"].VR = "OB"
    content = save(data, path).read_bytes()
    path.write_bytes(content.replace(known.encode(), syntax.encode().ljust(len(known), b"\0"), 1))
    return path


# The codecs of JPEG-LS and JPEG XL have no signed samples; DICOM stores their bits.
KINDS = [
    (kind, syntax)
    for kind in ("grey", "signed", "colour")
    for syntax in ENCODERS
    if kind != "signed" or not syntax.endswith((".80", ".110"))
]


@pytest.mark.parametrize(("kind", "syntax"), KINDS)
def test_lossless_syntaxes_give_back_what_was_encoded(syntax: str, kind: str, tmp_path: Path) -> None:
    colour = np.add.outer(np.add.outer(np.arange(48), np.arange(64)), [0, 40, 90]).astype(np.uint8)
    pixels = {"grey": PIXELS, "signed": PIXELS.astype(np.int16) - 2000, "colour": colour}[kind]
    data = make_slice(pixels if kind != "colour" else pixels[..., 0], None, Modality="OT", RescaleIntercept=0)
    if kind == "colour":
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    image = read_image(_encapsulated(data, syntax, ENCODERS[syntax](pixels), tmp_path / "a.dcm"))
    np.testing.assert_array_equal(np.transpose(image.array), pixels if kind == "colour" else pixels[..., None])


def test_frames_deflated_one_by_one(tmp_path: Path) -> None:
    import zlib

    data = make_slice(PIXELS, None, Modality="OT", RescaleIntercept=0)
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = engine.compress(PIXELS.tobytes()) + engine.flush()
    path = _encapsulated(data, "1.2.840.10008.1.2.8.1", deflated, tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_image(path).array[0], PIXELS.T)


def test_video_is_refused_by_name(tmp_path: Path) -> None:
    data = make_slice(PIXELS, None, Modality="XC")
    path = _encapsulated(data, "1.2.840.10008.1.2.4.102", b"\0" * 100, tmp_path / "a.dcm")
    with pytest.raises(Unsuitable, match=r"a.dcm.*MPEG-4 AVC/H.264 High Profile"):
        read_image(path)


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zlib

    monkeypatch.setattr(_dicom_inflate, "_LARGEST", 4 << 20)
    data = make_slice(np.zeros((4, 6), np.uint16), None)
    path = save(data, tmp_path / "bomb.dcm")
    content = path.read_bytes()
    meta = 144 + int(pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength)
    engine = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    body = b"".join(engine.compress(bytes(1 << 20)) for _ in range(8)) + engine.flush()
    head = bytearray(content[:meta])
    # 20 bytes of UID become 22: the length of the element and of the group grow by two.
    place = head.find(b"1.2.840.10008.1.2.1\0")
    head[place - 2 : place + 20] = (22).to_bytes(2, "little") + b"1.2.840.10008.1.2.1.99"
    head[140:144] = (int.from_bytes(head[140:144], "little") + 2).to_bytes(4, "little")
    path.write_bytes(bytes(head) + body)
    assert path.stat().st_size < 20_000
    with pytest.raises(Unreadable, match="inflates to more than 4 MiB"):
        read_image(path)


def test_no_worker_outlives_its_parent() -> None:
    child = get_context("spawn").Process(target=_leave_a_worker)
    child.start()
    child.join(60)
    assert child.exitcode == 0


def _leave_a_worker() -> None:
    decode_frame(imagecodecs.jpegls_encode(PIXELS), FRAME)
    [process] = [worker._process.pid for worker in codec._pool().all]
    codec._end_all()
    try:
        os.kill(process, signal.SIGCONT)
    except ProcessLookupError:
        os._exit(0)
    os._exit(1)
