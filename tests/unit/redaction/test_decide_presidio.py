"""``phi-only``: header values, labels, names, dates, numbers, Presidio's recognizers, and a spaCy pipeline."""

from __future__ import annotations

from importlib import invalidate_caches
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import spacy

from dicom_node import config
from dicom_node.errors import ConfigurationError
from dicom_node.model import Kind
from dicom_node.redaction.decide import Decision
from dicom_node.redaction.identity import kind_of_identity
from dicom_node.redaction.reading import Reading
from tests.unit.redaction.made import image

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "made_up_pipeline"


@pytest.fixture(scope="module")
def decision() -> Decision:
    return Decision("phi-only", image(np.zeros((1, 4, 4), "u1"), PatientName="Doe^Jane"))


@pytest.mark.parametrize(
    "text",
    ["jane@example.org", "03/02/2017", "2017-03-02", "DOB unknown", "Pat. 7",
     "MRN: 5", "Dr Who", "DOE", "078-05-1120", "", "Nowak", "J0HN", "O'Brien", "XY^Z", "A1234567", "4711-0815", "12345",
     "2 Jan", "56 yrs", "Riverton Hospital", "12.3.70"],
)  # fmt: skip
def test_identity_goes(decision: Decision, text: str) -> None:
    assert decision.goes(Reading(text, 0.99))


@pytest.mark.parametrize(
    "text",
    ["Gen OB", "Sag Liver", "Adv Breast", "MI 0.6", "120 kV", "12:34:56", "DR 60", "TR 4500", "b1000",
     "Abdomen routine", "35", "Zqx", "1234.567", "kV120mA250"],
)  # fmt: skip
def test_other_text_stays_where_it_is_legible(decision: Decision, text: str) -> None:
    assert not decision.goes(Reading(text, 0.99))
    assert decision.goes(Reading(text, 0.5))


@pytest.mark.parametrize("text", ["00 000", ", 0000", "OOO", "□□ □", "口口"])
def test_signs_that_are_all_alike_say_nothing_and_go(decision: Decision, text: str) -> None:
    assert decision.verdict(Reading(text, 0.99)) == (True, "")


@pytest.mark.parametrize(
    ("text", "kind"),
    [("jane@example.org", "contact"), ("078-05-1120", "id"), ("MRN: 5", "id"), ("Dr Who", "physician"),
     ("MRN", "label")],
)  # fmt: skip
def test_the_kind_of_identity_is_one_of_a_closed_list(text: str, kind: str) -> None:
    assert kind_of_identity(text) == kind
    assert kind in get_args(Kind)


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a spaCy pipeline that knows one made-up place, as a package is installed."""
    language = spacy.blank("en")
    ruler: Any = language.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "GPE", "pattern": "Zqxville"}])
    package = tmp_path / MODEL
    package.mkdir()
    language.to_disk(package / "data")
    loader = ["import pathlib, spacy", "load = lambda **how: spacy.load(pathlib.Path(__file__).parent / 'data', **how)"]
    (package / "__init__.py").write_text("\n".join(loader), encoding="utf-8")
    about = tmp_path / f"{MODEL}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODEL}\nVersion: 1.0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    invalidate_caches()
    return MODEL


def test_a_spacy_pipeline_that_is_installed_is_asked(pipeline: str) -> None:
    assert config.Redact(spacy_model=pipeline).spacy_model == pipeline
    assert kind_of_identity("ZQXVILLE") == ""
    assert kind_of_identity("ZQXVILLE", spacy_model=pipeline) == "address"
    decision = Decision("phi-only", image(np.zeros((1, 4, 4), "u1")), spacy_model=pipeline)
    assert decision.goes(Reading("ZQXVILLE", 0.99))
    assert not decision.goes(Reading("Sag Liver", 0.99))


def test_a_pipeline_that_is_not_installed_is_an_error_and_not_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spacy.cli.download", pytest.fail)
    with pytest.raises(ConfigurationError, match=r"redact\.spacy_model: .*install"):
        kind_of_identity("ZQXVILLE", spacy_model="no_such_pipeline")
