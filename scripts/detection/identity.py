"""Made-up people, and what devices write about them and about the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .writing import Token

if TYPE_CHECKING:
    from numpy.random import Generator

_FAMILY = [
    "DOE",
    "ROE",
    "SAMPLE",
    "MUSTER",
    "PLACEHOLDER",
    "NOVAK",
    "LINDQVIST",
    "OKAFOR",
    "TANAKA",
    "MOREAU",
    "ALVAREZ",
    "KOWALSKI",
    "BRANDT",
    "HAYES",
]
_GIVEN = [
    "JANE",
    "JOHN",
    "MARIA",
    "ERIKA",
    "PAUL",
    "INGRID",
    "AMARA",
    "YUKI",
    "CLAIRE",
    "LUIS",
    "ANNA",
    "PIOTR",
    "LENA",
    "OMAR",
]
_PLACES = ["EXAMPLE", "SPRINGFIELD", "NORTHSIDE", "LAKEVIEW", "RIVERTON", "OAKDALE", "HILLCREST", "WESTBROOK"]
_HOUSES = ("HOSPITAL", "CLINIC", "MEDICAL CENTER", "IMAGING", "RADIOLOGY")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_TECHNICAL = {
    "CT": ("kV 120", "mA 250", "W 400 L 40", "SL 5.0", "Supine", "Axial", "L", "R", "FOV 350", "IM 42"),
    "MR": ("TR 4500", "TE 90", "FA 150", "NEX 2", "THK 5 mm", "Sagittal", "L", "R", "FOV 240"),
    "DX": ("PORTABLE", "ERECT", "L", "R", "AP", "kV 70", "mAs 4", "LAT"),
    "MG": ("R CC", "L MLO", "kV 28", "mAs 90", "R MLO", "L CC"),
    "US": ("MI 0.8", "TIS 0.6", "FR 36 Hz", "12 cm", "Gain 62", "DR 60", "THI", "2D", "PW", "36 fps"),
    "SC": ("Zoom 1.2", "W 350 L 50", "Axial", "50 mm", "SE 3", "IM 12", "L"),
    "XA": ("kV 85", "mA 600", "15 fps", "L", "FOV 20", "IM 7"),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """One made-up patient; dates as YYYYMMDD."""

    family: str
    given: str
    patient_id: str
    accession: str
    birth_date: str
    study_date: str
    institution: str
    physician: str


def made_up(rng: Generator) -> Identity:
    """Make up a patient."""

    def date(first: int, last: int) -> str:
        return f"{rng.integers(first, last)}{rng.integers(1, 13):02}{rng.integers(1, 29):02}"

    return Identity(
        family=str(rng.choice(_FAMILY)),
        given=str(rng.choice(_GIVEN)),
        patient_id=str(
            rng.choice([f"{rng.integers(10**6, 10**7)}", f"{rng.integers(999, 9999)}-{rng.integers(9999)}"])
        ),
        accession=f"A{rng.integers(10**6, 10**7)}",
        birth_date=date(1930, 2015),
        study_date=date(2015, 2026),
        institution=f"{rng.choice(_PLACES)} {rng.choice(_HOUSES)}",
        physician=str(rng.choice(_FAMILY)),
    )


def identity_lines(rng: Generator, person: Identity, count: int) -> list[list[Token]]:
    """Write so many lines about a person, in the forms devices use; the name is always among them."""
    cased = str.title if rng.random() < 0.25 else str.upper  # noqa: PLR2004 - most devices shout
    family, given = cased(person.family), cased(person.given)
    names = ([f"{family}^{given}"], [f"{family},", given], [given, family])
    others = [
        _line("id", rng, ("MRN", "ID:", "Pat ID", ""), person.patient_id),
        _line("date", rng, ("DOB", "Born", "*", ""), _written(rng, person.birth_date)),
        _line("institution", rng, ("",), cased(person.institution)),
        _line("physician", rng, ("Dr.", "Ref:", "Phys"), cased(person.physician)),
        _line("date", rng, ("", "Date"), _written(rng, person.study_date)),
        _line("id", rng, ("ACC", "Acc#"), person.accession),
    ]
    chosen = [others[int(i)] for i in rng.permutation(len(others))[: max(0, count - 1)]]
    return [[Token(text, "name") for text in names[int(rng.integers(len(names)))]], *chosen]


def technical_lines(rng: Generator, modality: str, count: int) -> list[list[Token]]:
    """Write so many lines that tell of the image, and nothing of a person."""
    lines = rng.permutation(_TECHNICAL[modality])[:count]
    return [[Token(word, "safe") for word in str(line).split()] for line in lines]


def _line(kind: str, rng: Generator, labels: tuple[str, ...], value: str) -> list[Token]:
    label = str(rng.choice(labels))
    return [*(Token(word, "label") for word in label.split()), *(Token(word, kind) for word in value.split())]


def _written(rng: Generator, date: str) -> str:
    year, month, day = date[:4], date[4:6], date[6:]
    name = _MONTHS[int(month) - 1]
    return str(
        rng.choice(
            [f"{year}-{month}-{day}", f"{month}/{day}/{year}", f"{day}.{month}.{year}", f"{day} {name} {year}", date]
        )
    )
