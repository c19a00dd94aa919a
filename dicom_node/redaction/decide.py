"""Which of the found text goes.

A policy decides by what a box says and by how surely that was read. Whatever is not sure goes: an empty or doubtful
reading is never a reason to leave pixels as they are. Header values only ever force redaction, they never spare.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.multival import MultiValue
from rapidfuzz import fuzz

from dicom_node.errors import Hold
from dicom_node.redaction.planes import elements, vr_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import Dataset
    from pydicom.tag import BaseTag

    from dicom_node.redaction.reading import Reading

SURE = 0.85
"""Confidence from which a reading may spare text in ``keep-safe-text``."""

LEGIBLE = 0.6
"""Confidence below which a reading says nothing, in ``phi-only``."""

PRESIDIO_SCORE = 0.3
"""Presidio's pattern recognizers answer 0.01 to 0.2 for bare numbers; their context words are rarely on an image."""

FUZZY = 85.0
"""Percent similarity from which a header value is taken for burned in, misread letters allowed for."""

_NUMBER = r"[-+]?\d{1,4}(?:[.,]\d{1,3})?"
_SAFE_TEXT = (
    r"[LR]|LT|RT|LEFT|RIGHT|(?:LEFT|RIGHT) (?:LATERAL|BREAST)",
    r"AP|PA|LAT|LATERAL|OBL|OBLIQUE|ERECT|SUPINE|PRONE|UPRIGHT|SITTING|PORTABLE|DECUBITUS|AXIAL|SAGITTAL|CORONAL",
    r"[LR] ?-? ?(?:CC|MLO|ML|LM|XCCL|AP|PA|LAT)|CC|MLO",
    (
        rf"(?:KV|KVP|MA|MAS|TR|TE|TI|FA|NEX|ETL|SL|THK|DFOV|FOV|ZOOM|GAIN|GN|DR|FR|PRF|WF|MI|TIS|TIB|TIC|DEPTH|"
        rf"WW|WL|IM|SE|FPS|HZ|DYN R) ?[:=]? ?{_NUMBER}(?: ?(?:KV|MA|MAS|MS|MM|CM|HZ|KHZ|MHZ|DB|%|S))?"
    ),
    rf"{_NUMBER} ?(?:KV|KVP|MA|MAS|MS|MM|CM|CM/S|M/S|HZ|KHZ|MHZ|DB|FPS|%|BPM)-?",
    rf"[WLC](?: ?[:=] ?| ){_NUMBER}",  # L1234 can be somebody's number
    rf"(?:W|WW|C) ?[:=]? ?{_NUMBER} ?/? ?(?:L|WL|W) ?[:=]? ?{_NUMBER}",
    rf"(?:TIS|TIB|TIC) ?:? ?{_NUMBER} MI ?:? ?{_NUMBER}|MI ?:? ?{_NUMBER} (?:TIS|TIB|TIC) ?:? ?{_NUMBER}",
    r"2D|3D|4D|CF|PW|CW|THI|HARM|RES|GEN|PEN|CM/S|CM|MM|HGEN|PLOW|BPM",
)
_SAFE = re.compile("|".join(f"(?:{alternative})" for alternative in _SAFE_TEXT), re.IGNORECASE)
"""Text that tells nothing about a person; matched whole, an unanchored `pa` would spare "Pat ID 898"."""

_LABEL = re.compile(
    r"\b(?:NAME|PATIENT|PAT|DOB|BORN|BIRTH|MRN|ID|ACC|ACCESSION|AGE|SEX|DR|PHYS|REF|HOSP|CLINIC|INSTITUT\w*)\b",
    re.IGNORECASE,
)

_NAMES = frozenset({"PN"})
_TEXT = frozenset(
    {
        "PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "IssuerOfPatientID", "InstitutionName",
        "InstitutionAddress", "InstitutionalDepartmentName", "PatientAddress", "PatientTelephoneNumbers",
        "MedicalRecordLocator", "AdmissionID", "MilitaryRank", "PatientInsurancePlanCodeSequence",
        "RequestingService", "StationName",
    }
)  # fmt: skip
_DATES = frozenset({"DA", "DT"})
_SHORTEST_TOKEN = 2
_SHORTEST_FUZZY = 4
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


class Decision:
    """Decides for one instance.

    Parameters
    ----------
    policy : str
        ``all-text``, ``keep-safe-text`` or ``phi-only``.
    dataset : pydicom.Dataset
        Its header values are looked for in the readings.

    Raises
    ------
    Hold
        For any other policy: nothing is sent on a word that is not understood.
    """

    def __init__(self, policy: str, dataset: Dataset) -> None:
        if policy not in {"all-text", "keep-safe-text", "phi-only"}:
            msg = f"no such policy: {policy}"
            raise Hold(msg)
        self._policy = policy
        self._values = () if policy == "all-text" else tuple(_header_values(dataset))

    @property
    def reads(self) -> bool:
        """Whether the decision depends on what the text says."""
        return self._policy != "all-text"

    def goes(self, reading: Reading) -> bool:
        """Whether the box with this reading is painted."""
        text = " ".join(reading.text.split())
        if self._policy == "keep-safe-text":
            return reading.confidence < SURE or not _SAFE.fullmatch(text) or self._is_in_header(text)
        return reading.confidence < LEGIBLE or not text or self._is_in_header(text) or _is_identity(text)

    def _is_in_header(self, text: str) -> bool:
        squeezed = _squeezed(text)
        words = [_squeezed(word) for word in re.split(r"[\s,;:^/]+", text)]
        return any(_matches(value, squeezed, words) for value in self._values)


def _matches(value: str, squeezed: str, words: list[str]) -> bool:
    if len(value) < _SHORTEST_FUZZY or len(squeezed) < _SHORTEST_FUZZY:
        return value == squeezed or value in words
    return fuzz.partial_ratio(value, squeezed, score_cutoff=FUZZY) > 0  # part of either in the other


def _is_identity(text: str) -> bool:
    return bool(_LABEL.search(text)) or any(
        result.score >= PRESIDIO_SCORE
        for recognizer in _recognizers()
        for result in recognizer.analyze(text, recognizer.supported_entities, None) or ()
    )


@cache
def _recognizers() -> tuple[Any, ...]:
    """Load Presidio's predefined recognizers that need no language model."""
    from presidio_analyzer import PatternRecognizer, RecognizerRegistry  # noqa: PLC0415 - seconds to import (spaCy)
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer  # noqa: PLC0415 - as above

    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    return tuple(r for r in registry.recognizers if isinstance(r, PatternRecognizer | PhoneRecognizer))


def _header_values(dataset: Dataset) -> Iterator[str]:
    """List the identifying values of the header, in the forms in which they are burned in."""
    for place, tag in elements(dataset):
        vr = vr_of(place, tag)
        if vr in _NAMES or keyword_for_tag(tag) in _TEXT:
            for value in _strings(_value(place, tag)):
                parts = [value, *re.split(r"[\s^=,]+", value)] if vr in _NAMES else [value]
                yield from (s for s in map(_squeezed, parts) if len(s) >= _SHORTEST_TOKEN)
        elif vr in _DATES:
            for value in _strings(_value(place, tag)):
                yield from _date_forms(value[:8])


def _value(dataset: Dataset, tag: BaseTag) -> Any:  # noqa: ANN401 - whatever its VR makes of it
    """Read a value beside the data set: one that is converted in it may be written back in other bytes."""
    element: Any = dataset.get_item(tag)
    if isinstance(element, RawDataElement):
        element = convert_raw_data_element(element, encoding=dataset.original_character_set, ds=dataset)
    return element.value


def _strings(value: Any) -> list[str]:  # noqa: ANN401 - one value, several, or none
    if value is None:
        return []
    return [str(v) for v in (value if isinstance(value, MultiValue) else [value])]


def _date_forms(date: str) -> Iterator[str]:
    """Write YYYYMMDD in the orders people burn in; readings are compared without separators."""
    if not re.fullmatch(r"\d{8}", date) or not 1 <= int(date[4:6]) <= len(_MONTHS):
        return
    year, month, day = date[:4], date[4:6], date[6:]
    name = _MONTHS[int(month) - 1]
    for y in (year, year[2:]):
        yield from (y + month + day, day + month + y, month + day + y, day + name + y, name + day + y)
        yield day.lstrip("0") + name + y


def _squeezed(text: str) -> str:
    """Upper case, letters and digits only."""
    return "".join(character for character in text.upper() if character.isalnum())
