"""The quick way to read a header gives what the full parser gives, on every file at hand."""

from __future__ import annotations

import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import make_slice, save

from osler.errors import StudyError, Unreadable
from osler.studies.formats import read_image
from osler.studies.formats._dicom_header import _WANTED, Header, _from_pydicom, is_dicom, read_header
from osler.studies.formats._dicom_scan import scan


def _same(one: Header, other: Header) -> bool:
    values = [{key: value for key, value in header.values.items() if value is not None} for header in (one, other)]
    return values[0] == values[1] and one.syntax == other.syntax


def test_the_scanner_and_the_parser_agree_on_every_file(shared: Path) -> None:
    folders = [Path(pydicom.__file__).parent / "data" / "test_files", shared]
    files = [file for folder in folders for file in sorted(folder.rglob("*")) if is_dicom(file)]
    scanned = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in files:
            try:
                header = read_header(file)
            except StudyError:
                continue
            assert _same(header, _from_pydicom(file)), file.name
            scanned += scan(file, _WANTED) is not None
    assert scanned > 180


def test_sequences_of_unknown_length_are_stepped_over(tmp_path: Path) -> None:
    data = make_slice(np.zeros((4, 6), np.int16))
    item = pydicom.Dataset()
    item.add_new(0x00081150, "UI", "1.2.3")
    inner = pydicom.Dataset()
    inner.PurposeOfReferenceCodeSequence = [item]
    data.ReferencedImageSequence = [inner, inner]
    for element in (data["ReferencedImageSequence"], inner["PurposeOfReferenceCodeSequence"]):
        element.is_undefined_length = True
    for one in data.ReferencedImageSequence:
        one.is_undefined_length_sequence_item = True
    path = save(data, tmp_path / "a.dcm")
    found = scan(path, _WANTED)
    assert found is not None
    assert found.pixels is not None
    assert _same(read_header(path), _from_pydicom(path))


def test_a_damaged_number_is_an_error_only_where_a_place_or_a_value_depends_on_it(tmp_path: Path) -> None:
    path = save(make_slice(np.zeros((4, 6), np.int16), EchoTime="12.5", RescaleSlope="1.00"), tmp_path / "a.dcm")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"12.5", b"1x.5"))
    assert read_header(path).get("EchoTime") is None
    path.write_bytes(content.replace(b"1.00", b"1,00"))
    with pytest.raises(Unreadable, match="RescaleSlope is damaged"):
        read_image(path)


def test_sequences_nested_a_thousand_deep_are_refused(tmp_path: Path) -> None:
    path = save(make_slice(np.zeros((4, 6), np.int16)), tmp_path / "deep.dcm")
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    content = path.read_bytes()
    place = content.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    path.write_bytes(content[:place] + opening * 1000 + content[place:])
    with pytest.raises(StudyError, match="deep"):
        read_image(path)


def test_no_truncation_of_a_header_is_read_as_something_else(tmp_path: Path) -> None:
    path = save(make_slice(np.arange(24, dtype=np.int16).reshape(4, 6)), tmp_path / "a.dcm")
    content = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for size in range(0, len(content), 7):
            path.write_bytes(content[:size])
            with pytest.raises(StudyError, match=r"a\.dcm"):
                read_image(path)


def test_two_threads_may_be_the_first_to_need_pydicom(tmp_path: Path) -> None:
    """One reads a file, the other names an object: neither sees the other's half of pydicom's circular imports."""
    code = """
import sys, threading
from pathlib import Path
sys.setswitchinterval(1e-4)
from osler.studies.formats._dicom_header import Header, read_dataset
from osler.studies.formats.dicom_index import kind_of_object
report = Header(Path("x"), "", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}, None)
failed = []
def call(work, *given):
    try:
        work(*given)
    except ImportError as error:
        failed.append(str(error))
    except Exception:
        pass
calls = ((read_dataset, Path(sys.argv[1])), (kind_of_object, report))
threads = [threading.Thread(target=call, args=one) for one in calls]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(failed)
"""
    file = tmp_path / "x.dcm"
    file.write_bytes(bytes(200))
    result = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
