"""Patient data in everything that is not DICOM: NIfTI, PNG, JPEG, TIFF, WFDB, NPZ, and the text files beside them.

Each function writes one file and lists what it planted."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable

import numpy as np

from osler.studies.geometry import Array
from osler.studies.phantoms import chest_ct, ecg
from osler.studies.phantoms.files import csv_text, put_text
from osler.studies.phantoms.planted import Planter
from osler.studies.phantoms.planted_dicom import draw_text
from osler.studies.phantoms.wfdb_files import annotation_bytes, write_record

__all__ = ["FILE_WRITERS"]


def _write_nifti(planter: Planter) -> None:
    """Header fields, an extension, and the name that gzip keeps."""
    import nibabel

    who, path, add = planter.person, planter.path("brain.nii.gz", named=True), planter.add
    phantom = chest_ct.make(planter.seed, size=(32, 32, 16))
    file = nibabel.Nifti1Image(phantom.image.array[0], phantom.image.affine)
    header = file.header
    header["descrip"] = add(path, "descrip", "text", f"{who.plain_name} {who.examined}").encode()[:79]
    header["aux_file"] = add(path, "aux_file", "id", f"MRN{who.number}").encode()[:23]
    header["db_name"] = add(path, "db_name", "name", who.family.upper()).encode()[:17]
    header["intent_name"] = add(path, "intent_name", "id", who.accession).encode()[:15]
    note = add(path, "extension 6 (comment)", "text", f"scanned for {who.physician.replace('^', ' ').strip()}")
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", note.encode()))
    named = add(path, "gzip FNAME", "name", f"{who.family}_{who.given}.nii").encode("latin-1")
    planter.put(path, _gzip_with_name(file.to_bytes(), named))


def _gzip_with_name(data: bytes, name: bytes) -> bytes:
    """A gzip member whose header holds a file name (RFC 1952, FLG.FNAME)."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(data) + packer.flush()
    return b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + name + b"\0" + body + struct.pack("<II", zlib.crc32(data), len(data))


def _picture(planter: Planter) -> Array:
    """Grey pixels (rows, columns), 8 bit, of a radiograph."""
    return np.array(planter.film.array[0].T >> 4).astype(np.uint8)


def _write_png(planter: Planter) -> None:
    """Text chunks of all three kinds, EXIF, and drawn text."""
    import PIL.Image
    from PIL.PngImagePlugin import PngInfo

    who, path, add = planter.person, planter.path("film.png", named=True), planter.add
    rows = _picture(planter)
    text = f"{who.family.upper()} {who.dotted(who.examined)}"
    add(path, "pixels", "name", text, draw_text(rows, text, (4, 172), value=255))
    chunks = PngInfo()
    chunks.add_text("Author", add(path, "tEXt Author", "person", who.physician.replace("^", " ").strip()))
    chunks.add_text("Comment", add(path, "zTXt Comment", "text", f"{who.plain_name}, {who.phone}"), zip=True)
    chunks.add_itxt("Title", add(path, "iTXt Title", "name", who.plain_name))
    exif = PIL.Image.Exif()
    exif[0x010E] = add(path, "EXIF ImageDescription", "id", who.number)
    buffer = io.BytesIO()
    PIL.Image.fromarray(rows).save(buffer, "PNG", pnginfo=chunks, exif=exif)
    planter.put(path, buffer.getvalue())


def _write_jpeg(planter: Planter) -> None:
    """A comment, EXIF, XMP."""
    import PIL.Image

    who, path, add = planter.person, planter.path("photo.jpg"), planter.add
    exif = PIL.Image.Exif()
    exif[0x010E] = add(path, "EXIF ImageDescription", "name", who.plain_name)
    exif[0x013B] = add(path, "EXIF Artist", "institution", who.hospital)
    stamp = f"{who.examined[:4]}:{who.examined[4:6]}:{who.examined[6:]} 09:30:00"
    exif[0x0132] = add(path, "EXIF DateTime", "date", stamp)
    title = add(path, "XMP dc:title", "id", who.number)
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="{title}"/></rdf:RDF></x:xmpmeta>'
    )
    comment = add(path, "COM", "text", f"wound of {who.plain_name}").encode()
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray(_picture(planter))
    picture.save(buffer, "JPEG", quality=90, exif=exif, comment=comment, xmp=xmp.encode())
    planter.put(path, buffer.getvalue())


def _write_slide(planter: Planter) -> None:
    """A slide: its description, its maker, and the photograph of its paper label as a second page."""
    import tifffile

    who, path, add = planter.person, planter.path("slide.tif"), planter.add
    from osler.studies.phantoms import slide_cells

    pixels = slide_cells.make(planter.seed, size=256).image.array.transpose(2, 1, 0)
    label = np.full((120, 200), 235, np.uint8)
    for number, (kind, text) in enumerate(
        (("id", who.accession), ("name", who.plain_name), ("date", who.dotted(who.birth)))
    ):
        add(
            path, "page 1 (label), pixels", kind, text, draw_text(label, text, (8, 10 + 30 * number), value=20, size=18)
        )
    description = f"Osler slide|{add(path, 'page 0 ImageDescription', 'name', f'Patient = {who.family}')}"
    artist = add(path, "page 0 Artist", "person", who.physician.split("^")[0])
    when = f"{who.examined[:4]}:{who.examined[4:6]}:{who.examined[6:]} 11:00:00"
    add(path, "page 0 DateTime", "date", when)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(
            np.ascontiguousarray(pixels),
            photometric="rgb",
            tile=(128, 128),
            compression="zlib",
            description=description,
            datetime=when,
            software=False,
            metadata=None,
            extratags=[(315, "s", 0, artist, True)],
        )
        file.write(label, photometric="minisblack", description="label", software=False, metadata=None)
    planter.put(path, buffer.getvalue())


def _write_ecg(planter: Planter) -> None:
    """Comments of a WFDB header, and a note among its annotations."""
    who, add = planter.person, planter.add
    header, notes = planter.path("ecg.hea"), planter.path("ecg.atr")
    phantom = ecg.make(planter.seed, seconds=4, recorder=1)
    comments = (
        add(header, "comment", "name", f"Name: {who.plain_name}"),
        add(header, "comment", "date", f"Born: {who.dashed(who.birth)}"),
        add(header, "comment", "address", f"Home: {who.address}"),
    )
    write_record(phantom.signal, header.parent, "ecg", gain=phantom.recorder.gain, comments=comments)
    beats = [(round(time * phantom.signal.rate_hz), code) for time, code in phantom.beats]
    planter.put(notes, annotation_bytes(beats, add(notes, "note of an annotation", "text", f"seen by {who.family}")))


def _write_npz(planter: Planter) -> None:
    """An array of names beside the pixels."""
    who, path, add = planter.person, planter.path("arrays.npz"), planter.add
    buffer = io.BytesIO()
    names = np.array([add(path, "array patient", "name", who.plain_name)])
    numbers = np.array([int(add(path, "array mrn", "id", who.number))])
    np.savez(buffer, image=_picture(planter)[None], patient=names, mrn=numbers)
    planter.put(path, buffer.getvalue())


def _write_texts(planter: Planter) -> None:
    """What lies beside images: a BIDS sidecar, a table, a report."""
    who, add = planter.person, planter.add
    sidecar = planter.path("sub-01_T1w.json")
    values = {
        "Modality": "MR",
        "PatientName": add(sidecar, "PatientName", "name", who.dicom_name),
        "AcquisitionDateTime": add(sidecar, "AcquisitionDateTime", "date", f"{who.dashed(who.examined)}T10:15:02"),
        "InstitutionName": add(sidecar, "InstitutionName", "institution", who.hospital),
    }
    put_text(sidecar, json.dumps(values, indent=1) + "\n")
    table = planter.path("patients.csv")
    row = {
        "mrn": add(table, "column mrn", "id", who.number),
        "name": add(table, "column name", "name", f"{who.family}, {who.given}"),
        "phone": add(table, "column phone", "phone", who.phone),
        "diagnosis": "pneumonia",
    }
    put_text(table, csv_text([row]))
    report = planter.path("report.txt")
    line = f"{who.plain_name} ({who.dotted(who.birth)}), {who.address}, was referred by {who.physician.split('^')[0]}."
    put_text(report, f"Findings: clear lungs. {add(report, 'line 1', 'text', line)}\n")
    archive = planter.path("report.txt.gz")
    add(archive, "compressed text", "text", line)
    planter.put(archive, gzip.compress(f"{line}\n".encode(), mtime=0))


FILE_WRITERS: tuple[Callable[[Planter], None], ...] = (
    _write_nifti,
    _write_png,
    _write_jpeg,
    _write_slide,
    _write_ecg,
    _write_npz,
    _write_texts,
)
