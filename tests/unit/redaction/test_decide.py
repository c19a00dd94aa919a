"""What goes and what may stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dicom_node.errors import Hold
from dicom_node.redaction.decide import SURE, Decision
from dicom_node.redaction.reading import Reading
from tests.unit.redaction.made import image

HEADER: dict[str, Any] = {
    "PatientName": "Müller-Smith^Anna Li",
    "PatientID": "PID-00471",
    "PatientBirthDate": "19510829",
    "AccessionNumber": "A12",
    "InstitutionName": "St. Mary General Hospital",
    "ReferringPhysicianName": "House^Gregory",
    "StudyDate": "20240102",
}


def goes(policy: str, text: str, confidence: float = 0.99) -> bool:
    dataset = image(np.zeros((1, 4, 4), "u1"), SpecificCharacterSet="ISO_IR 192", **HEADER)
    return Decision(policy, dataset).goes(Reading(text, confidence))


@pytest.mark.parametrize(
    "text", ["L", "R CC", "kVp 120", "120 kV", "W 400 L 40", "MI 0.6", "TIS: 0.5", "36 Hz", "2D", "PA"]
)
def test_technical_text_stays_where_it_is_read_surely(text: str) -> None:
    assert not goes("keep-safe-text", text)
    assert goes("keep-safe-text", text, 0.89 if len(text) <= 2 else 0.84)
    assert not Decision("all-text", image(np.zeros((1, 4, 4), "u1"))).reads


@pytest.mark.parametrize("text", ["RGE, AN", "REZ", "WESTBPPITAL.", "Piys ERWOT"])
def test_phi_only_keeps_what_is_not_known_to_be_safe_only_where_it_is_read_surely(text: str) -> None:
    assert not goes("phi-only", text, SURE)
    assert goes("phi-only", text, SURE - 0.01)
    assert not goes("phi-only", "FOV 350", SURE - 0.01)


@pytest.mark.parametrize(
    "text",
    ["", " ", "Pat ID 898", "pa 898", "L DOE", "35",
     "45Y", "1234567", "MI 0.6 DOE", "DOE 120 kV", "kV 120\nDOE", "LR", "12345 mm"],
)  # fmt: skip
def test_text_that_only_begins_or_ends_safe_goes(text: str) -> None:
    assert goes("keep-safe-text", text)


@pytest.mark.parametrize(
    "text",
    [
        "MÜLLER-SMITH, ANNA", "Muller-Smith^Anna", "ANNA", "Anna Ll Mueller-Smith", "PID00471",
        "PID-0O471", "ID PID-00471",
        "29.08.1951", "08/29/1951", "1951-08-29", "29 AUG 1951", "29Aug51", "8 29 1951 08291951", "A12",
        "Gregory House",
        "ST MARY GENERAL HOSPITAL", "ST. MARY GENERAL HOSP", "General Hospital", "02.01.2024", "Li",
    ],
)  # fmt: skip
@pytest.mark.parametrize("policy", ["keep-safe-text", "phi-only"])
def test_header_values_go_in_the_forms_in_which_they_are_burned_in(policy: str, text: str) -> None:
    assert goes(policy, text)


def test_a_header_value_goes_even_if_it_looks_technical() -> None:
    dataset = image(np.zeros((1, 4, 4), "u1"), PatientID="L1234", PatientName="CC^PA")
    decision = Decision("keep-safe-text", dataset)
    assert all(decision.goes(Reading(text, 0.99)) for text in ("L1234", "L 1234", "PA", "cc"))
    assert not decision.goes(Reading("MI 0.6", 0.99))


def test_header_values_in_sequences_are_looked_for() -> None:
    item = image(np.zeros((1, 4, 4), "u1"), PatientID="W 77")
    del item.PixelData, item.file_meta
    dataset = image(np.zeros((1, 4, 4), "u1"), OtherPatientIDsSequence=[item])
    assert Decision("keep-safe-text", dataset).goes(Reading("W 77", 0.99))


@pytest.mark.parametrize(
    ("text", "kind"),
    [("ANNA", "name"), ("House", "physician"), ("PID-00471", "id"), ("29.08.1951", "date"), ("St. Mary", "institution"),
     ("Name:", "label"), ("01.02.1999", "date"), ("A7654321", "id"), ("NOWAK", "name"), ("kV 120", ""), ("XQZ", "")],
)  # fmt: skip
def test_the_kind_of_what_goes_is_told_where_it_was_read(text: str, kind: str) -> None:
    dataset = image(np.zeros((1, 4, 4), "u1"), SpecificCharacterSet="ISO_IR 192", **HEADER)
    decision = Decision("keep-safe-text", dataset)
    assert decision.verdict(Reading(text, 0.99)).kind == kind
    assert decision.verdict(Reading(text, 0.5)) == (True, "")


@pytest.mark.parametrize("policy", ["keep-safe-text", "phi-only"])
def test_a_route_makes_more_text_safe_but_never_a_header_value(policy: str) -> None:
    dataset = image(np.zeros((1, 4, 4), "u1"), PatientID="PROTO B")
    decision = Decision(policy, dataset, safe_text=("PROTO [A-D]", "ZQ9999", "GRID (IN|OUT)"))
    assert not decision.goes(Reading("ZQ9999", 0.99))
    assert not decision.goes(Reading("Grid out kV 120", 0.99))
    assert decision.goes(Reading("PROTO B", 0.99))


@pytest.mark.parametrize("policy", ["pass", "", "none", "ALL-TEXT"])
def test_a_policy_that_is_not_understood_is_held(policy: str) -> None:
    with pytest.raises(Hold):
        Decision(policy, image(np.zeros((1, 4, 4), "u1")))


def test_phi_only_spares_nothing_where_the_name_would_read_as_other_letters() -> None:
    """Greek and Hebrew read as Latin letters and digits, and surely: no reading can be held against the header."""
    dataset = image(np.zeros((1, 4, 4), "u1"), SpecificCharacterSet="ISO_IR 192", PatientName="Παπαδόπουλος^Νίκος")
    reading = Reading("Siemens Healthineers", 0.99)
    assert Decision("phi-only", dataset).goes(reading)
    assert not Decision("phi-only", image(np.zeros((1, 4, 4), "u1"))).goes(reading)
