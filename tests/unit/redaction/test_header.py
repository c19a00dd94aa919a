"""Header values in readings: in any form they are burned in, and nothing that is too short to tell anybody apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dicom_node.redaction.header import HeaderValues
from tests.unit.redaction.made import image

HEADER: dict[str, Any] = {
    "PatientName": "Doe^Jane^Quinta",
    "PatientID": "0012345",
    "PatientBirthDate": "19700102",
    "PatientAge": "056Y",
    "PatientSex": "F",
    "AccessionNumber": "ACC-7781",
    "StudyID": "12",
    "InstitutionName": "Lakeview Spine Hospital",
    "ReferringPhysicianName": "Müller^Ö^^Dr",
    "OperatorsName": "CC",
    "StationName": "CT01",
    "PatientTelephoneNumbers": "555 0134",
}


def kind_of(text: str, **more: Any) -> str:  # noqa: ANN401 - of any VR
    dataset = image(np.zeros((1, 4, 4), "u1"), SpecificCharacterSet="ISO_IR 192", **{**HEADER, **more})
    return HeaderValues(dataset).kind_of(text)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("name", ["DOE J", "J. DOE", "Doe^Jane^Q", "JANE Q DOE", "DOEJANE", "D0E", "JDOE", "JD", "Jame Doe", "QUINTA"]),
        ("id", ["12345", "0012345", "00-123-45", "ID 12345", "ACC7781", "7781", "12", "No: 0O12345"]),
        ("institution", ["Hospital Lakeview", "LAKEV1EW", "Lakeview Spine Hosp", "LAKEI SPINE HOSPL", "CT01"]),
        ("physician", ["Mueller", "MÜLLER", "Dr. Muller"]),
        ("age", ["56Y", "56 Y", "056Y", "56 yrs", "56yo", "Age 56 y/o", "56 Jahre"]),
        ("phone", ["5550134", "555-0134"]),
        (
            "date",
            ["19700102", "02.01.1970", "01/02/70", "2 Jan 1970", "JAN-02-1970", "1970.1.2", "2.1.70", "1/2/1970",
             "02 JAN 70", "2. Januar 1970", "2 janv. 1970", "02ENE1970", "I970-0I-02", "700102", "O2/O1/197O"],
        ),
    ],
)  # fmt: skip
def test_a_value_is_known_in_the_forms_in_which_it_is_burned_in(kind: str, texts: list[str]) -> None:
    given = {} if kind == "name" else {"PatientName": "Roe^Max"}
    assert {text: kind_of(text, **given) for text in texts} == dict.fromkeys(texts, kind)


@pytest.mark.parametrize(
    "text",
    ["L", "F", "R CC", "CC", "DR 60", "IM 12", "12 cm", "TR 4500", "56", "56 mm", "156Y", "W 400 L 40", "AP", "Axial",
     "T2 FLAIR", "2D", "CT", "SL 7.0", "SL 5.0"],
)  # fmt: skip
def test_short_values_and_other_numbers_do_not_take_technical_text_with_them(text: str) -> None:
    assert kind_of(text) == ""


@pytest.mark.parametrize("text", ["3 mo", "003M", "3 months"])
def test_an_age_in_months_is_known_by_its_unit(text: str) -> None:
    assert kind_of(text, PatientAge="003M") == "age"
    assert kind_of("3D", PatientAge="003D") == ""


def test_a_name_in_other_letters_is_known() -> None:
    assert kind_of("山田 太郎", PatientName="Yamada^Tarou=山田^太郎") == "name"
    assert kind_of("YAMADA", PatientName="Yamada^Tarou=山田^太郎") == "name"


@pytest.mark.parametrize(
    ("name", "is_unreadable"),
    [("Doe^Jane", False), ("Müller^Zoë", False), ("Yamada^Tarou=山田^太郎=やまだ^たろう", False),
     ("Παπαδόπουλος^Νίκος", True), ("Иванова^Анна", True), ("כהן^דוד", True), ("Hong^Gildong=洪^吉洞=홍^길동", True)],
)  # fmt: skip
def test_names_in_scripts_that_read_as_others_are_told(name: str, is_unreadable: bool) -> None:  # noqa: FBT001 - a parameter
    dataset = image(np.zeros((1, 4, 4), "u1"), SpecificCharacterSet="ISO_IR 192", PatientName=name)
    assert HeaderValues(dataset).is_unreadable == is_unreadable
