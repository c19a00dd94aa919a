"""What is found is read in a second language as well, and no reading overrules another that is as sure."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.redaction.boxes import Box
from dicom_node.redaction.detect import Engine, make_detector
from dicom_node.redaction.read_twice import ReadTwice
from dicom_node.redaction.reading import Reading
from tests.unit.redaction.made import FindsBoxes

BOX = Box(0, 0, 10, 40)
PICTURES = [np.zeros((20, 60, 3), np.uint8)]


def read_by(first: Reading, second: Reading) -> Reading:
    return ReadTwice(FindsBoxes(BOX, reads=first), FindsBoxes(reads=second)).read(PICTURES, BOX)


def test_the_finder_alone_finds() -> None:
    twice = ReadTwice(FindsBoxes(BOX), FindsBoxes(Box(1, 1, 2, 2)))
    assert twice.find(PICTURES) == [BOX]


def test_text_that_only_the_second_can_read_is_read() -> None:
    assert read_by(Reading("召", 0.3), Reading("환자", 0.9)) == Reading("환자", 0.9)


def test_two_sure_readings_that_differ_are_not_sure() -> None:
    assert read_by(Reading("NBAHOBA", 0.96), Reading("ИВАНОВА", 0.9)).confidence == 0
    assert read_by(Reading("NBAHOBA", 0.9), Reading("ИВАНОВА", 0.96)).confidence == 0


def test_two_readings_that_agree_are_as_sure_as_the_surer() -> None:
    assert read_by(Reading("120 kV", 0.9), Reading("120 kV", 0.99)) == Reading("120 kV", 0.99)


def test_tesseract_reads_what_pp_ocr_has_found() -> None:
    picture = np.zeros((120, 300, 3), np.uint8)
    cv2.putText(picture, "ERECT", (40, 70), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (230, 230, 230), 2, cv2.LINE_AA)
    detector = make_detector(Engine(reading_language="eng"))
    (box,) = detector.find([picture])
    reading = detector.read([picture], box)
    assert reading.text == "ERECT"
    assert reading.confidence > 0.85
    assert "PP-OCR" in detector.name
    assert "Tesseract" in detector.name


def test_a_reading_language_that_is_not_installed_is_named_with_its_key_and_with_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match=r"redact\.reading_language: 'xyz' is not installed; there are: .*eng"):
        make_detector(Engine(reading_language="xyz"))


def test_without_tesseract_the_key_that_asks_for_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytesseract.pytesseract.tesseract_cmd", "no-such-program")
    with pytest.raises(ConfigurationError, match=r"redact\.reading_language: tesseract is not installed"):
        make_detector(Engine(reading_language="eng"))
