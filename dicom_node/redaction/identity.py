"""What reads as identity without a look at the header: for ``phi-only``, and for the kind that a report names.

Labels, dates, numbers like those people are filed under, common names, Presidio's recognizers, and a spaCy pipeline
where one is configured. Nothing is downloaded.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from dicom_node.errors import ConfigurationError
from dicom_node.redaction.dates import holds_date
from dicom_node.redaction.labels import is_label, label_in
from dicom_node.redaction.readings import folded, plain
from dicom_node.redaction.safe_text import is_safe

if TYPE_CHECKING:
    from dicom_node.model import Kind

PRESIDIO_SCORE = 0.3
"""Presidio's pattern recognizers answer 0.01 to 0.2 for bare numbers; their context words are rarely on an image."""

FEWEST_DIGITS = 5
"""Of a number that may be somebody's."""

_ENTITIES: dict[str, Kind] = {
    "PERSON": "name",
    "NRP": "name",
    "LOCATION": "address",
    "ORGANIZATION": "institution",
    "DATE_TIME": "date",
    "PHONE_NUMBER": "phone",
    "EMAIL_ADDRESS": "contact",
    "URL": "contact",
    "IP_ADDRESS": "contact",
}
"""Kinds of Presidio's entities; all others are numbers of somebody or something."""

_OF_SPACY = ("PERSON", "NRP", "LOCATION", "ORGANIZATION")
_LANGUAGE = "en"

_PERSON_NAME = re.compile(r"[^\W\d_]{2,}\^[^\W\d_]")
_AGE = re.compile(r"(?<![\d.,])\d{1,3} ?(?:Y|YO|Y/O|YRS?|YEARS?)(?![A-Z\d])")
_PLACE = re.compile(r"HOSPITAL|KLINIK|HOPITAL|OSPEDALE|UNIVERSIT|INSTITUT|KRANKENHAUS|MEDICAL CENT")
_NUMBER = re.compile(r"\d[\d/\-]*\d")
_MIXED = re.compile(r"[A-Z\d]*(?:[A-Z]\d|\d[A-Z])[A-Z\d]*")
_SHORTEST_MIXED = 5
_DIGITS_OF_MIXED = 3


def kind_of_identity(text: str, more_safe: tuple[str, ...] = (), spacy_model: str = "") -> Kind:
    """Return the kind of identity that a reading holds; empty without any.

    Parameters
    ----------
    more_safe : tuple of str
        Patterns of safe text that a route adds: a word that is safe is nobody's number.
    spacy_model : str
        An installed spaCy pipeline, which is asked as well; empty for none.

    Raises
    ------
    ConfigurationError
        When the pipeline is not installed.
    """
    if is_label(text):
        return "label"
    return (
        _kind_of_number(text, more_safe)
        or label_in(text)
        or _kind_by_presidio(text)
        or _kind_of_words(text)
        or (_kind_by_spacy(text, spacy_model) if spacy_model else "")
    )


def _kind_of_number(text: str, more_safe: tuple[str, ...]) -> Kind:
    if holds_date(text):
        return "date"
    unsafe = [plain(word) for word in text.split() if not is_safe(word, more_safe)]
    if any(_is_number_of_somebody(word) for word in unsafe):
        return "id"
    return "age" if _AGE.search(plain(text)) else ""


def _is_number_of_somebody(word: str) -> bool:
    """Whether a word has so many digits in a row, or letters and digits mixed, as files of people are numbered."""
    if any(sum(map(str.isdigit, found[0])) >= FEWEST_DIGITS for found in _NUMBER.finditer(word)):
        return True
    return any(
        len(found[0]) >= _SHORTEST_MIXED and sum(map(str.isdigit, found[0])) >= _DIGITS_OF_MIXED
        for found in _MIXED.finditer(word)
    )


def _kind_of_words(text: str) -> Kind:
    if _PERSON_NAME.search(text):
        return "name"
    if _PLACE.search(plain(text)):
        return "institution"
    names = _names()
    return "name" if any(folded(word) in names for word in re.split(r"[^\w'’]+|_", text)) else ""  # noqa: RUF001 - typeset


@cache
def _names() -> frozenset[str]:
    """Read the lists of names; compared with the signs in them that are taken for each other made one."""
    folder = files(__package__) / "data"
    lists = [(folder / name).read_text(encoding="utf-8") for name in ("given_names.txt", "family_names.txt")]
    return frozenset(
        folded(line) for names in lists for line in names.splitlines() if line and not line.startswith("#")
    )


def _kind_by_presidio(text: str) -> Kind:
    for recognizer in _recognizers():
        for result in recognizer.analyze(text, recognizer.supported_entities, None) or ():
            if result.score >= PRESIDIO_SCORE:
                return _ENTITIES.get(result.entity_type, "id")
    return ""


@cache
def _recognizers() -> tuple[Any, ...]:
    """Load Presidio's predefined recognizers that need no language model."""
    from presidio_analyzer import PatternRecognizer, RecognizerRegistry  # noqa: PLC0415 - seconds to import (spaCy)
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer  # noqa: PLC0415 - as above

    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=[_LANGUAGE])
    return tuple(r for r in registry.recognizers if isinstance(r, PatternRecognizer | PhoneRecognizer))


def _kind_by_spacy(text: str, name: str) -> Kind:
    engine, recognizer = _spacy(name)
    artifacts = engine.process_text(text.title() if text.isupper() else text, _LANGUAGE)  # models know written text
    for result in recognizer.analyze(text, list(_OF_SPACY), artifacts):
        if result.score >= PRESIDIO_SCORE:
            return _ENTITIES[result.entity_type]
    return ""


@cache
def _spacy(name: str) -> tuple[Any, Any]:
    """Load a pipeline into Presidio; its engine would download what is missing, so that is looked at before."""
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine  # noqa: PLC0415 - as above
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer  # noqa: PLC0415 - as above
    from spacy.util import is_package  # noqa: PLC0415 - as above

    if not is_package(name):
        msg = f"redact.spacy_model: no spaCy pipeline {name!r} is installed; install it as a package, or leave it empty"
        raise ConfigurationError(msg)
    engine = SpacyNlpEngine([{"lang_code": _LANGUAGE, "model_name": name}], NerModelConfiguration())
    engine.load()
    return engine, SpacyRecognizer(supported_language=_LANGUAGE, supported_entities=list(_OF_SPACY))
