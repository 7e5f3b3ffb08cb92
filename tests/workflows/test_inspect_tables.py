"""Tables without images are looked at: the real heart disease files, and such with known faults."""

from __future__ import annotations

import csv
import json
import shutil
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from osler.datasets.layouts import open_dataset
from osler.datasets.problem import Problem
from osler.datasets.tables.marks import Marks, marks_of, numbered_repeats
from osler.errors import Cancelled, DatasetError, OutputExists, UsageError
from osler.progress import CancelToken, Silent
from osler.workflows.inspect import TableInspection, inspect

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")


@pytest.fixture(scope="module")
def heart(shared) -> TableInspection:
    found = inspect(shared / "heart-disease")
    assert isinstance(found, TableInspection)
    return found


@pytest.fixture(scope="module")
def rows(shared) -> dict[str, list[list[str]]]:
    """The same files by the csv module alone."""
    names = (*HOSPITALS, "statlog")
    texts = {name: (shared / f"heart-disease/processed.{name}.data").read_text() for name in names}
    return {name: list(csv.reader(text.splitlines())) for name, text in texts.items()}


def problem(found: object, code: str, words: str = "") -> Problem:
    assert isinstance(found, TableInspection)
    (one,) = (p for p in found.problems if p.code == code and words in p.what)
    return one


def codes(found: object) -> list[str]:
    assert isinstance(found, TableInspection)
    return [p.code for p in found.problems]


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def patients(count: int, seed: int = 0) -> list[str]:
    """Rows of four amounts that lie close together, and a code."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal((50, 120, 200, 1), (8, 12, 30, 0.1), (count, 4)).round(2)
    return [",".join(map(str, row)) + f",{n % 2}" for n, row in enumerate(numbers.tolist())]


HEAD = "age,pressure,lipid,ratio,sex"


def test_the_real_tables_are_counted_with_their_columns(heart, rows):
    assert {row.name: row.rows for row in heart.tables} == {name: len(cells) for name, cells in rows.items()}
    assert heart.cases == 1190
    assert heart.complete
    kinds = {column.name: column.kind for column in heart.groups[0].columns}
    assert [name for name, kind in kinds.items() if kind == "number"] == [
        "age", "resting blood pressure", "cholesterol", "maximal rate", "oldpeak",
    ]  # fmt: skip
    assert set(kinds.values()) == {"number", "code"}
    ages = sorted(float(row[0]) for cells in rows.values() for row in cells)
    age = heart.groups[0].columns[0]
    assert (age.low, age.median, age.high) == (ages[0], float(np.median(ages)), ages[-1])


def test_missing_cells_of_the_real_tables_are_counted_in_every_column(heart, rows):
    for table in heart.tables:
        for place, column in enumerate(table.columns):
            cells = Counter(row[place] for row in rows[table.name])
            changed = cells["-9.1"] + cells["-9.2"] if table.name == "hungarian" else 0
            assert column.missing == cells["?"] + cells["-9"] + changed, (table.name, column.name)
    hungarian = next(table for table in heart.tables if table.name == "hungarian")
    assert hungarian.columns[11].marks == {"-9": 290, "9 (suspected)": 1}
    assert problem(heart, "table-marks").figures["-9 in cholesterol"] == 23


def test_a_cholesterol_of_0_is_suspected_at_two_hospitals(heart, rows):
    zeros = {name: sum(row[4] in ("0", "0.0") for row in cells) for name, cells in rows.items()}
    assert zeros == {"cleveland": 0, "hungarian": 0, "switzerland": 123, "va": 49, "statlog": 0}
    found = problem(heart, "table-suspect", "cholesterol")
    assert found.severity == "warning"
    assert len(found.cases) == 172
    assert "(85 to 603) and occurs in 123 of switzerland, 49 of va" in found.what


def test_one_hospital_by_itself_is_enough_to_suspect_the_0(shared):
    found = inspect(shared / "heart-disease/processed.va.data")
    suspected = problem(found, "table-suspect")
    assert "0 in the column 'cholesterol'" in suspected.what
    assert len(suspected.cases) == 49
    switzerland = inspect(shared / "heart-disease/processed.switzerland.data")
    assert "cholesterol (always the same)" in problem(switzerland, "table-empty").what


def test_first_rows_that_were_taken_for_a_header_are_named(heart):
    found = problem(heart, "table-first-row")
    assert found.details == {
        "hungarian row 1": "ECG 0.1 for 0, angina 0.2 for 0, oldpeak 0.3 for 0, vessels -9.1 for -9, thal -9.2 for -9, "
        "diagnosis 0.4 for 0",
        "statlog row 1": "angina 0.0.1 for 0.0, slope 2.0.1 for 2.0, thal 3.0.1 for 3.0",
    }


def test_copies_in_the_real_tables_are_those_that_a_plain_count_finds(heart, rows):
    def values(name: str) -> list[tuple[object, ...]]:
        return [tuple(c if c == "?" else float(c) if c.count(".") < 2 else c for c in row[:13]) for row in rows[name]]

    cleveland, statlog = values("cleveland"), values("statlog")
    missed = [n for n, row in enumerate(statlog) if row not in cleveland]
    assert missed == [0]  # the row with 0.0.1, which is one of cleveland too once that is 0.0 again
    assert tuple(float(str(c).removesuffix(".1")) if isinstance(c, str) else c for c in statlog[0]) in cleveland
    across = problem(heart, "copies-across")
    assert across.what.startswith("270 of 303 rows of cleveland and 270 of 270 rows of statlog say the same")
    assert "(diagnosis of statlog in that of cleveland: 1 is 0; 2 is 1, 2, 3, 4)" in across.what
    within = problem(heart, "copies-within")
    assert within.groups == (("hungarian row 91", "hungarian row 164"), ("va row 140", "va row 188"))
    for name, first, second in (("hungarian", 91, 164), ("va", 140, 188)):
        assert rows[name][first - 1] == rows[name][second - 1]


def test_the_hospital_alone_tells_the_diagnosis(heart, rows):
    ill = {name: [float(row[13]) >= 1 for row in rows[name]] for name in HOSPITALS}
    share = {name: sum(answers) / len(answers) for name, answers in ill.items()}
    truth = [answer for name in HOSPITALS for answer in ill[name]]
    plain = roc_auc_score(truth, [share[name] for name in HOSPITALS for _ in ill[name]])
    found = problem(heart, "table-source", "the source of a row")
    assert found.figures["auc"] == pytest.approx(plain, abs=0.01)
    assert round(plain, 2) == 0.72
    assert "what is missing in a row alone tells 'diagnosis above 0'" in problem(heart, "table-source", "missing").what


def test_answers_outliers_and_empty_columns_of_the_real_tables_are_told(heart):
    assert {row.name: row.answers for row in heart.tables if row.answers} == {
        "cleveland": {"0": 164, "1": 55, "2": 36, "3": 35, "4": 13},
        "hungarian": {"0": 188, "1": 37, "2": 26, "3": 28, "4": 15},
        "switzerland": {"0": 8, "1": 48, "2": 32, "3": 30, "4": 5},
        "va": {"0": 51, "1": 56, "2": 41, "3": 42, "4": 10},
    }
    assert "the diagnosis 0 in switzerland (8), 4 in switzerland (5)" in problem(heart, "few-cases").what
    assert problem(heart, "table-outlier").details == {
        "va row 34": "resting blood pressure 0",
        "hungarian row 150": "cholesterol 603",
        "cleveland row 153": "cholesterol 564",
        "statlog row 2": "cholesterol 564",
    }
    assert problem(heart, "table-empty").details["switzerland"] == "cholesterol (empty), vessels (96 % missing)"


def test_the_page_and_the_json_of_the_real_tables_are_written(shared, tmp_path):
    found = inspect(shared / "heart-disease", output=tmp_path / "out")
    page = (tmp_path / "out/index.html").read_text()
    assert page.count("<svg") == 2 + 14
    assert "<script" not in page
    assert "cholesterol <span" in page
    written = json.loads((tmp_path / "out/inspect.json").read_text())
    assert [table["rows"] for table in written["tables"]] == [303, 294, 270, 123, 200]
    assert "columns" not in found.record()["tables"][0]
    assert len(json.dumps(found.record())) < 10_000
    assert len(found.summary()) < 60
    with pytest.raises(OutputExists, match="exists already"):
        inspect(shared / "heart-disease", output=tmp_path / "out")


def test_two_runs_say_the_same(shared):
    assert inspect(shared / "knowledge") == inspect(shared / "knowledge")


def test_other_real_tables_are_inspected_one_kind_at_a_time(shared):
    found = inspect(shared / "knowledge")
    assert {row.name: row.rows for row in found.tables} == {
        "indications-diseases": 97, "indications-drugs": 601, "indications-indications": 1388,
    }  # fmt: skip
    assert len(found.groups) == 3
    assert problem(found, "layout").cases == ("case-reports.jsonl.gz",)
    assert problem(found, "layout").severity == "note"
    texts = [column for row in found.tables for column in row.columns if column.kind == "text"]
    assert texts
    assert not any(column.values for column in texts)  # may be names of patients


def test_rows_of_another_length_and_the_end_of_a_truncated_file_are_told(tmp_path, shared):
    data = (shared / "heart-disease/processed.cleveland.data").read_bytes()
    (tmp_path / "clinic.data").write_bytes(data[:3000])
    assert problem(inspect(tmp_path), "table-rows").details == {
        "clinic row 50": "3 cells for 14, and the file ends in it: it is cut off"
    }
    ragged = write(tmp_path / "r/r.csv", "a,b,c", "1,2,3", "4,5", "6,7,8,9", "", "1,2,4", "5,5,5")
    found = inspect(ragged)
    assert problem(found, "table-rows").details == {"r row 3": "2 cells for 3", "r row 4": "4 cells for 3"}
    assert found.cases == 3


def test_words_among_numbers_are_told_with_their_place(tmp_path):
    lines = patients(40)
    lines[7] = lines[7].replace(",", ",about ", 1)
    found = problem(inspect(write(tmp_path / "a.csv", HEAD, *lines)), "table-no-number")
    assert (found.severity, list(found.details)) == ("error", ["a row 9"])
    assert found.details["a row 9"].startswith("pressure: 'about ")


def test_a_healthy_table_has_no_problem_and_an_outlier_is_found(tmp_path):
    lines = patients(200)
    assert codes(inspect(write(tmp_path / "good.csv", HEAD, *lines))) == []
    lines[3] = "50,1200,200,1.0,0"
    found = inspect(write(tmp_path / "slip.csv", HEAD, *lines))
    assert problem(found, "table-outlier").details == {"slip row 5": "pressure 1200"}


def test_zeros_that_belong_to_the_others_are_not_suspected(tmp_path):
    rng = np.random.default_rng(0)
    packs = np.where(rng.random(300) < 0.6, 0, rng.exponential(20, 300)).round(1)
    lines = [f"{row},{pack}" for row, pack in zip(patients(300), packs.tolist(), strict=True)]
    assert "table-suspect" not in codes(inspect(write(tmp_path / "a.csv", f"{HEAD},packs", *lines)))


@pytest.mark.parametrize("size", [60, 1000])
def test_a_mark_among_numbers_is_suspected_and_numbers_without_one_are_not(size):
    rng = np.random.default_rng(size)
    values = rng.normal(200, 30, size).round()
    assert marks_of(values) == Marks()
    assert marks_of(rng.lognormal(2, 1, size).round(1)) == Marks()
    assert marks_of(rng.poisson(1, size).astype(float)) == Marks()
    assert marks_of(np.where(rng.random(size) < 0.3, 0, values)).suspected == (0.0,)
    assert marks_of(np.where(rng.random(size) < 0.3, 999, rng.integers(0, 4, size))).suspected == (999.0,)
    assert marks_of(np.where(rng.random(size) < 0.3, -99, values)).certain == (-99.0,)


def test_an_ordinary_row_is_not_taken_for_a_header():
    assert numbered_repeats(["1", "1.1", "2", "3.5"]) == {}
    assert numbered_repeats(["0", "0.1", "0.2", "0"]) == {}
    assert numbered_repeats(["0", "5", "0.1", "0.2"]) == {2: "0", 3: "0"}


def test_rows_of_few_codes_are_no_copies(tmp_path):
    rng = np.random.default_rng(0)
    lines = [",".join(map(str, row)) for row in rng.integers(0, 2, (300, 6)).tolist()]
    assert "copies-within" not in codes(inspect(write(tmp_path / "a.csv", "a,b,c,d,e,f", *lines)))


def test_one_patient_in_two_tables_is_found_under_other_row_numbers(tmp_path):
    lines = patients(80)
    first = [f"{n},{row}" for n, row in enumerate(lines[:50], 1)]
    second = [f"{n},{row}" for n, row in enumerate(lines[45:], 1)]
    write(tmp_path / "train.csv", f"row,{HEAD}", *first)
    write(tmp_path / "test.csv", f"row,{HEAD}", *second)
    found = problem(inspect(tmp_path), "copies-across")
    assert found.severity == "error"
    assert found.groups == tuple((f"test row {n}", f"train row {n + 45}") for n in range(2, 7))


def test_a_column_of_sites_makes_a_table_of_each_and_a_leak_is_told(tmp_path):
    rng = np.random.default_rng(1)
    lines = []
    for n, row in enumerate(patients(300)):
        site = "AB"[n % 2]
        lines.append(f"{row},{site},{'ill' if rng.random() < (0.9 if site == 'A' else 0.1) else 'well'}")
    found = inspect(write(tmp_path / "all.csv", f"{HEAD},site,label", *lines))
    assert [row.name for row in found.tables] == ["all A", "all B"]
    assert problem(found, "table-source").figures["auc"] > 0.8
    assert problem(found, "table-source").what.startswith("the source of a row alone tells 'label well'")


def test_unreadable_tables_are_named_and_the_others_inspected(tmp_path):
    write(tmp_path / "good.csv", HEAD, *patients(30))
    (tmp_path / "latin.csv").write_bytes("name,a,b\nMüller,1,2\nX,3,4\n".encode("latin-1"))
    write(tmp_path / "quote.csv", "a,b,c", "1,2,3", '4,"5,6', "7,8,9")
    write(tmp_path / "head.csv", "a,b,c")
    found = inspect(tmp_path)
    assert not found.complete
    assert problem(found, "unreadable").details == {
        "head.csv": "head.csv has no rows",
        "latin.csv": "latin.csv is not UTF-8 text",
        "quote.csv": "quote.csv, row 3: unexpected end of data",
    }
    assert [row.name for row in found.tables] == ["good"]


def test_decimal_commas_and_dates_are_understood(tmp_path):
    lines = [f"{n},5;2020-01-{n:02d};{n % 2}" for n in range(1, 29)]
    (group,) = inspect(write(tmp_path / "a.csv", "wert;tag;code", *lines)).groups
    assert [column.kind for column in group.columns] == ["number", "date", "code"]
    assert (group.columns[0].low, group.columns[0].high) == (1.5, 28.5)


def test_manifests_and_other_folders_are_not_taken_for_tables(tmp_path, shared):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="is empty"):
        inspect(tmp_path / "empty")
    with pytest.raises(DatasetError, match="name the column with the paths of the images 'image'"):
        inspect(write(tmp_path / "m.csv", "path,label,patient", "a.png,x,1", "b.png,y,2"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b/noise.csv").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(DatasetError, match="is not known"):
        inspect(tmp_path / "b")


def test_what_is_of_images_is_refused_and_tables_are_no_data_set(shared, tmp_path):
    with pytest.raises(UsageError, match="holds tables, and a cleaned manifest is of images"):
        inspect(shared / "heart-disease", fix=tmp_path / "out")
    with pytest.raises(UsageError, match="holds tables, and the task 'classify' is of images"):
        inspect(shared / "heart-disease", task="classify")
    with pytest.raises(DatasetError, match="Osler has no tasks for tables yet"):
        open_dataset(shared / "heart-disease")


def test_a_long_table_takes_bounded_memory_and_stops_when_asked(tmp_path, monkeypatch):
    line = ",".join(f"{n}.25" for n in range(12))
    with (tmp_path / "long.csv").open("w") as stream:
        stream.write(",".join(f"c{n}" for n in range(12)) + "\n")
        stream.writelines(f"{n},{line[2:]}\n" for n in range(60_000))

    class Stop(Silent):
        def __init__(self, cancel: CancelToken) -> None:
            self.cancel, self.read = cancel, 0.0

        def advance(self, stage: str, amount: float = 1.0, note: str = "") -> None:
            self.read += amount
            self.cancel.cancel()

    cancel = CancelToken()
    sink = Stop(cancel)
    with pytest.raises(Cancelled):
        inspect(tmp_path, progress=sink, cancel=cancel)
    assert sink.read * 1000 < 0.5 * (tmp_path / "long.csv").stat().st_size
    tracemalloc.start()
    assert inspect(tmp_path).cases == 60_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000 * 12 * 16 * 4 + (30 << 20)
    monkeypatch.setattr("osler.workflows.inspect_tables.MOST_CELLS", 100_000)
    shutil.copy(tmp_path / "long.csv", tmp_path / "more.csv")
    write(tmp_path / "short.csv", HEAD, *patients(30))
    found = inspect(tmp_path)
    assert list(problem(found, "unreadable").cases) == ["long.csv", "more.csv"]
    assert found.cases == 30
