"""``phi-only``: header values, labels and what Presidio's recognizers know."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.redaction.decide import Decision
from dicom_node.redaction.reading import Reading
from tests.unit.redaction.made import image


@pytest.fixture(scope="module")
def decision() -> Decision:
    return Decision("phi-only", image(np.zeros((1, 4, 4), "u1"), PatientName="Doe^Jane"))


@pytest.mark.parametrize(
    "text",
    ["jane@example.org", "03/02/2017", "2017-03-02", "DOB unknown", "Pat. 7",
     "MRN: 5", "Dr Who", "DOE", "078-05-1120", ""],
)  # fmt: skip
def test_identity_goes(decision: Decision, text: str) -> None:
    assert decision.goes(Reading(text, 0.99))


@pytest.mark.parametrize("text", ["Gen OB", "Sag Liver", "MI 0.6", "Adv Breast", "120 kV"])
def test_other_text_stays_where_it_is_legible(decision: Decision, text: str) -> None:
    assert not decision.goes(Reading(text, 0.99))
    assert decision.goes(Reading(text, 0.5))
