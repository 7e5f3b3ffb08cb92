"""``osler import`` and ``osler fetch`` on the command line."""

from __future__ import annotations

import json

from dicom_label_samples import write_series
from layout_samples import class_folders, masks_per_class
from osler.cli import main


def test_import_writes_a_manifest_and_says_what_it_is(tmp_path, capsys):
    root = masks_per_class(tmp_path / "data")
    assert main(["import", str(root), "--output", str(tmp_path / "m.csv")]) == 0
    out = capsys.readouterr().out
    assert "3 cases, layout masks-per-class, patients unknown; mask: liver, tumour" in out
    assert "note: cases without a mask file" in out
    assert (tmp_path / "m.csv").read_text().startswith("case,image,mask_liver,mask_tumour\n")


def test_import_refuses_to_overwrite_and_other_suffixes(tmp_path, capsys):
    root = class_folders(tmp_path / "data")
    command = ["import", str(root), "--output", str(tmp_path / "m.csv"), "--json"]
    assert main(command) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["ok"], record["cases"], record["labels"]) == (True, 6, ["benign", "malignant"])
    assert main(command) == 2
    assert json.loads(capsys.readouterr().out)["kind"] == "OutputExists"
    assert main([*command, "--force"]) == 0
    assert main(["import", str(root), "--output", str(tmp_path / "m.ods")]) == 2


def test_import_of_studies_without_answers_leaves_a_column_to_fill_in(tmp_path, capsys):
    for n in range(4):
        write_series(tmp_path / f"d/PAT{n}/SER", patient=f"PAT{n}", study=f"1.2.{n}")
    table = tmp_path / "m.csv"
    assert main(["import", str(tmp_path / "d"), "--output", str(table)]) == 0
    out = capsys.readouterr().out
    assert "4 cases, layout studies without answers, patients 4\n" in out
    assert "fill in the column label" in out
    rows = [line.split(",") for line in table.read_text().splitlines()]
    assert rows[0] == ["case", "image", "label", "patient"]
    assert main(["inspect", str(table)]) != 0
    assert "the column label of m.csv is empty" in " ".join(capsys.readouterr().err.split())
    filled = [rows[0], *([case, image, "ab"[n % 2], patient] for n, (case, image, _, patient) in enumerate(rows[1:]))]
    table.write_text("\n".join(map(",".join, filled)))
    assert main(["inspect", str(table)]) == 0
    assert "unassigned: 4 (a 2, b 2)" in capsys.readouterr().out


def test_import_of_signals_is_a_list_of_records(shared, tmp_path, capsys):
    file = tmp_path / "ecg.csv"
    assert main(["import", str(shared / "ecg-mitbih"), "--output", str(file)]) == 0
    assert "8 cases, layout signals, patients 8; signals: N, V" in capsys.readouterr().out
    rows = file.read_text().splitlines()
    assert rows[0] == "case,signal,annotations,patient,leads,rate_hz,seconds,beats_N,beats_V"
    assert rows[1].endswith(",100,MLII,360,1805.556,2272,1")
    assert main(["inspect", str(file)]) == 2
    assert "lists 8 signals and no images" in capsys.readouterr().err


def test_fetch_lists_the_sets_with_their_licences(capsys):
    assert main(["fetch", "--list"]) == 0
    out = capsys.readouterr().out
    assert "task04_hippocampus     CC BY-SA 4.0  hippocampus in two parts, MR" in out
    assert main(["fetch", "--list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["sets"]) == 70


def test_fetch_without_a_name_or_with_a_wrong_one_is_a_usage_error(capsys):
    assert main(["fetch"]) == 2
    assert "no data set was named" in capsys.readouterr().err
    assert main(["fetch", "hipocampus"]) == 2
    assert "did you mean hippocampus" in capsys.readouterr().err
