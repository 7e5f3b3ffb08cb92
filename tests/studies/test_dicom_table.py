from __future__ import annotations

import warnings
from pathlib import Path

from dicom_table import PAGE, page


def test_every_file_of_pydicom_and_of_the_shared_data_is_read_or_refused_as_the_page_says(shared: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert page(shared) == PAGE.read_text(), "run: python tests/studies/dicom_table.py DATA, and read what changed"


def test_no_reason_of_a_refusal_is_a_bare_exception() -> None:
    refused = [line for line in PAGE.read_text().splitlines() if "refused" in line]
    assert len(refused) > 20
    assert not any("Error:" in line for line in refused)
