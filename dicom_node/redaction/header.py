"""Identifying values of the header, looked for in readings: fuzzily, in any order, in all forms that people burn in.

They only ever force redaction. What is too short to tell anybody apart counts only where it is all that a box says.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.multival import MultiValue
from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from dicom_node.redaction.dates import Date, dates_in
from dicom_node.redaction.planes import elements, vr_of
from dicom_node.redaction.readings import folded, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import Dataset
    from pydicom.tag import BaseTag

    from dicom_node.model import Kind

_SCRIPTS = ("LATIN", "CJK", "HIRAGANA", "KATAKANA", "FEMININE", "MASCULINE", "MICRO")
"""Of letters that the recogniser knows; the last three are signs of the Latin alphabets (ª, º, µ)."""

FUZZY = 85.0
"""Percent similarity from which a header value is taken for burned in, misread letters allowed for."""

FUZZY_WHOLE = 75.0
"""The same for a long name that is all that a box says: more may be misread of it before it is something else."""

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(
        (
            "PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "AdmissionID", "MedicalRecordLocator",
            "IssuerOfPatientID", "RequestedProcedureID", "ScheduledProcedureStepID", "PerformedProcedureStepID",
            "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest", "ServiceEpisodeID",
            "InsurancePlanIdentification", "ClinicalTrialSubjectID", "DeviceSerialNumber", "UniqueEntityIdentifier",
        ),
        "id",
    ),
    **dict.fromkeys(
        (
            "InstitutionName", "InstitutionalDepartmentName", "RequestingService", "StationName",
            "ResponsibleOrganization", "CurrentPatientLocation", "ScheduledStationName", "PerformedStationName",
        ),
        "institution",
    ),
    **dict.fromkeys(("InstitutionAddress", "PatientAddress", "PersonAddress", "RegionOfResidence"), "address"),
    **dict.fromkeys(("PatientTelephoneNumbers", "PersonTelephoneNumbers"), "phone"),
    "MilitaryRank": "name",
}  # fmt: skip
"""Attributes with text that identifies, beside all of VR PN, DA, DT and AS."""

_STAFF = re.compile(r"Physician|Operator|Reader|Requesting|Verifying|Observer|Author|Reviewer|Scheduled|Performing")
_TITLES = frozenset({"DR", "MD", "PROF", "MR", "MRS", "MS", "JR", "SR", "RT", "PHD"})
_GERMAN = str.maketrans({"Ä": "AE", "Ö": "OE", "Ü": "UE"})

_SHORTEST = 2
_SHORTEST_WORD = 3
"""Letters of what counts as one word of many, and of a name of staff: they sign with two, and CC is also a view."""

_SHORTEST_PART = 4
_SHORTEST_OF_PLACE = 5
_SHORTEST_MISREAD = 6
_NUMBERS = frozenset({"date", "id", "phone"})
"""Letters of a word of an institution or address that counts by itself."""

_OF_WORDS = frozenset({"name", "physician", "institution"})
"""Kinds whose words are compared letter by letter; a number of which one digit differs is another number."""

_LONG_WORD = 8
"""Letters from which two may be misread; one below."""

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")

_AGE_UNITS = {
    "Y": "Y|YO|Y/O|YRS?|YEARS?|J|JAHRE?|A|ANS|ANOS|ANNI",
    "M": "M|MO|MOS|MTHS?|MONTHS?|MON|MOIS|MESES",
    "W": "W|WKS?|WEEKS?|WO",
    "D": "DAYS?|TAGE?|JOURS?|DIAS",
}


class HeaderValues:
    """The identifying values of one header.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Not changed.

    Attributes
    ----------
    is_unreadable : bool
        Whether some of them is in a script that the recogniser takes for another (docs/ocr-languages.md): what is
        burned in then reads as something else, and is not known again.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._whole: dict[str, Kind] = {}
        self._words: dict[str, Kind] = {}
        self._parts: dict[str, Kind] = {}
        self._dates: set[Date] = set()
        self._ages: set[re.Pattern[str]] = set()
        self.is_unreadable = False
        for keyword, vr, value in _identifying(dataset):
            self._take(keyword, vr, value)
            self.is_unreadable |= any(map(_is_of_other_script, value))

    def kind_of(self, text: str) -> Kind:
        """Return the kind of the header value that a reading holds, or is a part of; empty without one."""
        squeezed = folded(text)
        words = [word for word in map(folded, re.split(r"[\s,;:^/.\-=()]+", text)) if word]
        return (
            self._whole.get(squeezed, "")
            or next((kind for word in words if (kind := self._words.get(word))), "")
            or self._kind_of_number(text)
            or next((kind for value, kind in self._parts.items() if _is_part(value, kind, squeezed, words)), "")
        )

    def _kind_of_number(self, text: str) -> Kind:
        if self._dates & dates_in(text):
            return "date"
        return "age" if any(age.search(plain(text)) for age in self._ages) else ""

    def _take(self, keyword: str, vr: str, value: str) -> None:
        if vr == "PN":
            self._take_name(value, "physician" if _STAFF.search(keyword) else "name")
        elif vr == "AS":
            self._ages |= set(_age_patterns(value))
        elif vr in {"DA", "DT"}:
            self._take_date(value)
        else:
            self._take_text(value, _KINDS[keyword])

    def _take_name(self, value: str, kind: Kind) -> None:
        for name in dict.fromkeys((value, value.upper().translate(_GERMAN))):
            for group in name.split("="):
                for form in _name_forms(group):
                    self._note(form, kind, self._words if len(form) == _SHORTEST_WORD else self._whole)

    def _take_text(self, value: str, kind: Kind) -> None:
        squeezed = folded(value)
        without_zeros = folded(re.sub(r"^0+(?=[^0])", "", value.strip()))
        for form in (squeezed, without_zeros):
            self._note(form, kind, self._whole)
        if kind in {"institution", "address"}:
            for word in map(folded, re.split(r"\W+", value)):
                if len(word) >= _SHORTEST_OF_PLACE:
                    self._note(word, kind, self._whole)

    def _take_date(self, value: str) -> None:
        dates = {date for date in dates_in(value[:8]) if value[:8].isdigit()}
        self._dates |= {date for date in dates if value[2:8] == "{:02}{:02}{:02}".format(*date)}
        for form in _date_forms(value[:8]):
            self._note(folded(form), "date", self._whole)

    def _note(self, form: str, kind: Kind, if_short: dict[str, Kind]) -> None:
        """Note a form: a long one counts as a part of a reading, a short one as its own measure says."""
        if len(form) >= _SHORTEST_PART:
            self._parts.setdefault(form, kind)
        elif len(form) >= (_SHORTEST_WORD if kind == "physician" else _SHORTEST):
            if_short.setdefault(form, kind)


def _is_of_other_script(character: str) -> bool:
    return character.isalpha() and not unicodedata.name(character, "").startswith(_SCRIPTS)


def _is_part(value: str, kind: Kind, squeezed: str, words: list[str]) -> bool:
    """Whether one is a part of the other, or a word is a name with a letter or two misread."""
    if len(squeezed) < _SHORTEST_PART:
        return False
    if kind in _NUMBERS and len(squeezed) < _SHORTEST_MISREAD:  # "SL 5.0" is nearly the end of many a date
        return squeezed in value
    if fuzz.partial_ratio(value, squeezed, score_cutoff=FUZZY) > 0:
        return True
    return kind in _OF_WORDS and (_is_nearly(value, squeezed) or any(_is_misread(value, word) for word in words))


def _is_nearly(value: str, squeezed: str) -> bool:
    is_long = min(len(value), len(squeezed)) >= _LONG_WORD
    return is_long and fuzz.ratio(value, squeezed, score_cutoff=FUZZY_WHOLE) > 0


def _is_misread(value: str, word: str) -> bool:
    most = 2 if len(value) >= _LONG_WORD else 1
    return len(word) >= _SHORTEST_PART and Levenshtein.distance(value, word, score_cutoff=most) <= most


def _name_forms(group: str) -> Iterator[str]:
    """Write a name (PS3.5 6.2.1) as it is burned in: its words, all of it, with initials, in two orders."""
    components = [re.split(r"[\s,.]+", part.strip()) for part in group.split("^")[:3]]
    words = [word for part in components for word in part if word and plain(word) not in _TITLES]
    names = [name for name in map(folded, words) if name]
    yield from names
    yield from (folded(part) for word in words for part in re.split(r"[-'’]", word))  # noqa: RUF001 - typeset names
    if len(names) > 1:
        first, rest, initials = names[0], names[1:], [name[0] for name in names]
        given = "".join(initials[1:])
        yield from ("".join(names), "".join(rest) + first, "".join(reversed(names)), first + rest[0], rest[0] + first)
        yield from (first + given, given + first, first + given[0], given[0] + first)
        yield from (initials[0] + given, given + initials[0], initials[0] + given[0], given[0] + initials[0])


def _age_patterns(value: str) -> Iterator[re.Pattern[str]]:
    """Write an age (``056Y``) with the units people write: 56Y, 56 yrs."""
    if found := re.fullmatch(r"(\d{1,3})([YMWD])", value.strip()):
        number, unit = found.groups()
        units = _AGE_UNITS[unit]
        yield re.compile(rf"(?<![\d.,])(?:0*{int(number)} ?(?:{units})|{number}{unit})(?![A-Z\d])")


def _date_forms(value: str) -> Iterator[str]:
    """Write YYYYMMDD without separators, in the orders people burn in: for readings with a digit misread."""
    if not re.fullmatch(r"\d{8}", value) or not 1 <= int(value[4:6]) <= len(_MONTHS):
        return
    year, month, day, name = value[:4], value[4:6], value[6:], _MONTHS[int(value[4:6]) - 1]
    for y in (year, year[2:]):
        yield from (y + month + day, day + month + y, month + day + y)
        yield from (day + name + y, name + day + y, y + name + day)


def _identifying(dataset: Dataset) -> Iterator[tuple[str, str, str]]:
    """List keyword, VR and value of what identifies, each once, wherever it stands."""
    found: dict[tuple[str, str, str], None] = {}
    for place, tag in elements(dataset):
        vr, keyword = vr_of(place, tag), keyword_for_tag(tag)
        if vr in {"PN", "DA", "DT", "AS"} or keyword in _KINDS:
            found |= dict.fromkeys((keyword, vr, value) for value in _strings(_value(place, tag)))
    yield from found


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
