"""Dates as people and devices write them: 2 Jan 1970, 02.01.70, 1970/1/2, JAN-02-1970, 19700102."""

from __future__ import annotations

import re
from itertools import permutations
from typing import TYPE_CHECKING, NamedTuple

from dicom_node.redaction.readings import plain, repaired

if TYPE_CHECKING:
    from collections.abc import Iterator

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "JAN JANUARY JANUAR JANVIER JANV JANEIRO ENE ENERO GEN GENNAIO",
            "FEB FEBRUARY FEBRUAR FEV FEVR FEVRIER FEBRERO FEBBRAIO FEVEREIRO",
            "MAR MARCH MRZ MARZ MAERZ MARS MARZO MARCO",
            "APR APRIL AVR AVRIL ABR ABRIL APRILE",
            "MAY MAI MAYO MAG MAGGIO MAIO MEI MAJ",
            "JUN JUNE JUNI JUIN JUNIO GIU GIUGNO JUNHO",
            "JUL JULY JULI JUIL JUILLET JULIO LUG LUGLIO JULHO",
            "AUG AUGUST AOU AOUT AGO AGOSTO",
            "SEP SEPT SEPTEMBER SEPTEMBRE SEPTIEMBRE SET SETTEMBRE SETEMBRO",
            "OCT OCTOBER OKT OKTOBER OCTOBRE OCTUBRE OTT OTTOBRE OUT OUTUBRO",
            "NOV NOVEMBER NOVEMBRE NOVIEMBRE NOVEMBRO",
            "DEC DECEMBER DEZ DEZEMBER DECEMBRE DIC DICIEMBRE DICEMBRE DEZEMBRO",
        ),
        1,
    )
    for name in names.split()
}
"""By what they are called, in English and its neighbours."""

_MONTH = rf"(?P<month>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})\.?"
_YEAR = r"(?P<year>'?\d\d|(?:19|20)\d\d)"
_DAY = r"(?P<day>\d{1,2})(?:ST|ND|RD|TH)?"
_GAP = r"[ .,/\-]{0,2}"
_WITH_NAMES = tuple(
    re.compile(rf"(?<![A-Z\d]){pattern}(?![A-Z\d])")
    for pattern in (
        rf"{_DAY}{_GAP}(?:DE )?{_MONTH}{_GAP}(?:DE )?{_YEAR}",
        rf"{_MONTH}{_GAP}{_DAY}{_GAP}{_YEAR}",
        rf"{_YEAR}{_GAP}{_MONTH}{_GAP}{_DAY}",
    )
)
_WITH_SIGNS = re.compile(r"(?<![\d.])(\d{1,4}) ?([./\-]) ?(\d{1,2}) ?\2 ?(\d{1,4})(?!\d)")
_IN_ONE = re.compile(r"(?<!\d)\d{8}(?!\d)")
_DAY_AND_MONTH = re.compile(rf"(?<![A-Z\d]){_DAY}[ .\-]?{_MONTH}(?![A-Z\d])")
_DAYS, _MONTHS_OF_YEAR = 31, 12
_CENTURY = 100
_YEARS = range(1880, 2100)


class Date(NamedTuple):
    """A day; the year without its century, which is often left out."""

    year: int
    month: int
    day: int


def dates_in(text: str) -> frozenset[Date]:
    """Return every date that a reading can mean: 02/03/70 is two."""
    forms = (plain(text), plain(repaired(text)))
    return frozenset(date for form in dict.fromkeys(forms) for date in _dates(form))


def holds_date(text: str) -> bool:
    """Whether a reading holds a date, or a day of a month."""
    return bool(dates_in(text) or _DAY_AND_MONTH.search(plain(text)))


def _dates(text: str) -> Iterator[Date]:
    for pattern in _WITH_NAMES:
        for found in pattern.finditer(text):
            yield from _date(found["year"].strip("'"), str(_MONTHS[found["month"]]), found["day"])
    for found in _WITH_SIGNS.finditer(text):
        for year, month, day in permutations((found[1], found[3], found[4])):
            yield from _date(year, month, day)
    for found in _IN_ONE.finditer(text):
        digits = found[0]
        yield from _date(digits[:4], digits[4:6], digits[6:])
        yield from _date(digits[4:], digits[2:4], digits[:2])
        yield from _date(digits[4:], digits[:2], digits[2:4])


def _date(year: str, month: str, day: str) -> Iterator[Date]:
    """Make the date if it can be one: a year has two or four digits."""
    is_year = len(year) == 2 or int(year) in _YEARS  # noqa: PLR2004 - as said
    if is_year and 1 <= int(month) <= _MONTHS_OF_YEAR and 1 <= int(day) <= _DAYS:
        yield Date(int(year) % _CENTURY, int(month), int(day))
