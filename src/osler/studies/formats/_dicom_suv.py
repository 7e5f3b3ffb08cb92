"""Standardised uptake values by body weight, as the QIBA FDG-PET/CT profile's vendor-neutral recipe has it.

    SUVbw = activity concentration [Bq/mL] × weight [g] / dose, decayed to the time that the image is corrected to [Bq]

The time is that of the series (DecayCorrection START) or of the injection (ADMIN). A series that was made after its
acquisition (post-processed) has no time of the scan, unless GE wrote it into a private attribute.
Philips writes counts and a private factor. What a header does not say is never assumed: the values stay Bq/mL then.

Texts that this was compared with: QIBA's pseudo-code (https://qibawiki.rsna.org, "Standardized Uptake Value (SUV)",
read at https://docest.com/doc/550456), element by element: GE's (0009,100d), Philips' (7053,1000) and (7053,1009), a
dose that is not corrected for the residue in the syringe, the series' date for an injection without one. DICOM PS3.3
C.8.9.1.1.5 (read at https://www.dabsoft.ch/dicom/3/C.8.9.1.1.5/) says what START and ADMIN mean; for ADMIN, which the
pseudo-code leaves out, MITK has the same rule (https://docs.mitk.org/latest/structmitk_1_1DecayCorrectionInfo.html).
Narrower than the pseudo-code: of GML only SUVType BW is taken, and an injection must lie within a day before the scan.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from osler.studies.formats._dicom_facts import first_item
from osler.studies.formats._dicom_values import number

__all__ = ["SUV_UNIT", "suv_factor"]

SUV_UNIT = "g/mL{SUVbw}"
_LEAST_DOSE = 1e4  # Bq; less is no dose of a person, and most likely MBq
_LONGEST = timedelta(hours=24)
_HEAVIEST = 500.0  # kg
_GE, _PHILIPS = "GEMS_PETD_01", "Philips PET Private Group"


class _Missing(Exception):
    """Why there is no factor, in words."""


def suv_factor(data: Any, earliest: str | None = None) -> tuple[float | None, str]:
    """What rescaled values of a PET image are multiplied by to become SUVbw.

    Args:
        data: a pydicom data set of the series.
        earliest: earliest acquisition of its slices as ``YYYYMMDDHHMMSS``; None takes that of ``data``.

    Returns:
        The factor, or None; and a sentence that says what was done, or why not.
    """
    try:
        return _factor(data, earliest)
    except _Missing as missing:
        return None, f"values are not SUV: {missing}"


def _factor(data: Any, earliest: str | None) -> tuple[float, str]:
    units = str(data.get("Units", "") or "")
    corrected = [str(one) for one in data.get("CorrectedImage") or []]
    if units == "GML":
        kind = str(data.get("SUVType", "") or "BW")
        if kind != "BW":
            raise _Missing(f"they are SUV of type {kind} and not by body weight")
        return 1.0, "values are SUV by body weight, as stored"
    if "ATTN" not in corrected or not {"DECY", "DECAY"} & set(corrected):
        raise _Missing("the image is not corrected for attenuation and decay")
    if units == "CNTS":
        return _philips(data, earliest)
    if units != "BQML":
        raise _Missing(f"their unit is {units or 'not given'}")
    return _by_weight(data, earliest), "values are SUV by body weight, computed from dose, weight and times"


def _philips(data: Any, earliest: str | None) -> tuple[float, str]:
    block = _private(data, 0x7053, _PHILIPS)
    suv, activity = (None, None) if block is None else (_of_block(block, 0x00), _of_block(block, 0x09))
    if suv:
        return suv, "values are SUV by body weight, by the factor that Philips stores"
    if activity:
        return activity * _by_weight(data, earliest), "values are SUV by body weight, from Philips counts"
    raise _Missing("they are counts, without the factors that Philips stores")


def _by_weight(data: Any, earliest: str | None) -> float:
    weight = number(data, "PatientWeight", 0.0)
    item = first_item(data, "RadiopharmaceuticalInformationSequence")
    if not 0 < weight <= _HEAVIEST:
        raise _Missing(
            "the weight of the patient is not given" if weight <= 0 else f"a weight of {weight:g} kg is none"
        )
    if item is None:
        raise _Missing("the radiopharmaceutical is not described")
    dose, half_life = number(item, "RadionuclideTotalDose", 0.0), number(item, "RadionuclideHalfLife", 0.0)
    if dose < _LEAST_DOSE or half_life <= 0:
        raise _Missing(f"a dose of {dose:g} Bq and a half-life of {half_life:g} s are none")
    correction = str(data.get("DecayCorrection", "") or "")
    if correction == "ADMIN":
        return weight * 1000 / dose
    if correction != "START":
        raise _Missing(f"the decay is corrected to {correction or 'an unknown time'}")
    scan = _scan_time(data, earliest)
    elapsed = scan - _injection(item, scan)
    if not timedelta(0) <= elapsed <= _LONGEST:
        raise _Missing("the injection is not within the day before the scan")
    decayed: float = dose * 2.0 ** (-elapsed.total_seconds() / half_life)
    return weight * 1000 / decayed


def _scan_time(data: Any, earliest: str | None) -> datetime:
    series = _moment(data.get("SeriesDate"), data.get("SeriesTime"))
    acquired = _parsed(earliest) or _moment(data.get("AcquisitionDate"), data.get("AcquisitionTime"))
    if series is None or acquired is None:
        raise _Missing("the time of the scan is not given")
    if series <= acquired:
        return series
    block = _private(data, 0x0009, _GE)
    found = _parsed(str(block[0x0D].value)) if block is not None and 0x0D in block else None
    if found is None:
        raise _Missing("the series was made after its acquisition, so its time is not that of the scan")
    return found


def _injection(item: Any, scan: datetime) -> datetime:
    stated = _parsed(str(item.get("RadiopharmaceuticalStartDateTime", "") or ""))
    if stated is not None:
        return stated
    # Only the time of day is given: it is that of the scan's day, or of the day before when the scan spans midnight.
    moment = _moment(f"{scan:%Y%m%d}", item.get("RadiopharmaceuticalStartTime"))
    if moment is None:
        raise _Missing("the time of the injection is not given")
    return moment if moment <= scan else moment - timedelta(days=1)


def _moment(day: Any, clock: Any) -> datetime | None:
    return _parsed(f"{day}{clock}") if day and clock else None


def _parsed(text: str | None) -> datetime | None:
    """``YYYYMMDDHHMM[SS[.ffffff]]``; offsets from UTC are dropped, as they are the same within a series."""
    if not text:
        return None
    digits = text.split("+")[0].split("-")[0].strip()
    whole, _, fraction = digits.partition(".")
    try:
        moment = datetime.strptime(whole, "%Y%m%d%H%M%S" if len(whole) == 14 else "%Y%m%d%H%M")
    except ValueError:
        return None
    return moment + timedelta(microseconds=int(fraction.ljust(6, "0")[:6])) if fraction.isdigit() else moment


def _private(data: Any, group: int, creator: str) -> Any:
    try:
        return data.private_block(group, creator)
    except KeyError:
        return None


def _of_block(block: Any, element: int) -> float | None:
    value = float(block[element].value) if element in block and block[element].value not in (None, "") else 0.0
    return value if value > 0 else None
