"""No element value reaches a log line, whoever logs it and by which way."""

from __future__ import annotations

import json
import logging
import sys
import threading
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pydicom.valuerep import DSfloat

from dicom_node import log
from dicom_node.errors import Hold
from dicom_node.model import State, StoreStatus

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

Capture = pytest.CaptureFixture[str]
VALUE = "DOE^JANE"

logger: FilteringBoundLogger = structlog.get_logger()


def only_line(capsys: Capture) -> dict[str, Any]:
    (line,) = without_value(capsys).splitlines()
    return dict(json.loads(line))


def without_value(capsys: Capture) -> str:
    written = capsys.readouterr().err
    assert VALUE not in written
    return written


def fail_with_a_value() -> None:
    raise ValueError(VALUE)


def test_a_line_is_json_with_level_time_in_utc_and_the_allowed_fields(capsys: Capture) -> None:
    log.configure("debug", console=False)
    logger.info(
        "stored", entry_id="0f3a", status="0000H", seconds={"decode": 0.5}, path=Path("data"), outcome=State.SENT
    )
    line = only_line(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "stored",
        "level": "info",
        "entry_id": "0f3a",
        "status": "0000H",
        "seconds": {"decode": 0.5},
        "path": "data",
        "outcome": "SENT",
    }


def test_a_field_that_is_not_allowed_is_dropped_and_named(capsys: Capture) -> None:
    log.configure("debug", console=False)
    logger.info("stored", patient_name=VALUE, entry_id="0f3a")
    line = only_line(capsys)
    assert line["dropped"] == ["patient_name"]
    assert line["entry_id"] == "0f3a"


@pytest.mark.parametrize(
    "value",
    [
        UID("1.2.826.0.1.3680043.8.498.1"),
        DSfloat("12.75"),
        Dataset(),
        b"DOE^JANE",
        [UID("1.2.826.0.1.3680043.8.498.1")],
        {"name": object()},
        StoreStatus(0xA700),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_allowed_field_takes_plain_values_only(capsys: Capture, value: object) -> None:
    log.configure("debug", console=False)
    logger.info("stored", reason=value)
    line = only_line(capsys)
    assert line["dropped"] == ["reason"]
    assert "reason" not in line


def test_an_exception_given_as_a_field_becomes_its_class_name(capsys: Capture) -> None:
    log.configure("debug", console=False)
    logger.warning("could not", error=ValueError(VALUE))
    assert only_line(capsys)["error"] == "ValueError"


def test_a_traceback_says_where_and_not_what(capsys: Capture) -> None:
    log.configure("debug", console=False)
    try:
        try:
            fail_with_a_value()
        except ValueError as error:
            raise Hold(VALUE) from error
    except Hold:
        logger.exception("held")
    line = only_line(capsys)
    assert line["error"] == "Hold"
    places = [place for place in line["traceback"] if ":" in place]
    classes = [place for place in line["traceback"] if ":" not in place]
    assert any(place.endswith(":fail_with_a_value") for place in places)
    assert classes == ["ValueError", "Hold"]


def test_a_warning_of_pydicom_loses_the_value_it_carries(capsys: Capture) -> None:
    log.configure("debug", console=False)
    with pytest.warns(UserWarning, match="DOE"):  # pydicom does put the value into its words
        Dataset().StudyInstanceUID = VALUE
    Dataset().StudyInstanceUID = VALUE
    lines = [json.loads(line) for line in without_value(capsys).splitlines()]
    assert {line["event"] for line in lines} == {"a library warned", "a library logged"}
    warned = {(line["error"], line["at"].partition(":")[0]) for line in lines if line["event"] == "a library warned"}
    assert warned == {("UserWarning", "pydicom/valuerep.py")}


@pytest.mark.parametrize("name", ["pydicom", "pynetdicom.association", "a.library.that.comes.later"])
def test_what_a_library_logs_becomes_its_name_and_place(capsys: Capture, name: str) -> None:
    log.configure("debug", console=False)
    logging.getLogger(name).error("Patient's Name is %s", VALUE)
    line = only_line(capsys)
    assert (line["event"], line["level"], line["logger"]) == ("a library logged", "error", name)
    assert line["at"].startswith("test_log:")


def test_what_a_library_logs_about_an_exception_loses_the_message(capsys: Capture) -> None:
    log.configure("debug", console=False)
    try:
        fail_with_a_value()
    except ValueError:
        logging.getLogger("pynetdicom.events").exception("Exception in the handler bound to EVT_C_STORE")
    line = only_line(capsys)
    assert line["error"] == "ValueError"


def test_a_handler_that_a_library_brings_along_has_nothing_to_print(capsys: Capture) -> None:
    log.configure("debug", console=False)
    own = StringIO()
    library = logging.getLogger("a.library.with.a.handler")
    handler = logging.StreamHandler(own)
    library.addHandler(handler)
    try:
        fail_with_a_value()
    except ValueError:
        library.exception("Patient's Name is %s", VALUE, stack_info=True)
    finally:
        library.removeHandler(handler)
    assert own.getvalue() == "a library logged\n"
    assert only_line(capsys)["logger"] == library.name


def test_what_libraries_say_below_warning_is_not_logged(capsys: Capture) -> None:
    log.configure("debug", console=False)
    logging.getLogger("pynetdicom.dimse").info("Received Store Request")
    logging.getLogger("pynetdicom.dimse").debug("Received Store Request")
    assert capsys.readouterr().err == ""


def test_an_exception_that_nobody_caught_loses_its_message(capsys: Capture) -> None:
    log.configure("debug", console=False)
    try:
        fail_with_a_value()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    assert only_line(capsys)["error"] == "ValueError"


def test_an_exception_that_ends_a_thread_loses_its_message(capsys: Capture) -> None:
    log.configure("debug", console=False)
    thread = threading.Thread(target=fail_with_a_value)
    thread.start()
    thread.join()
    line = only_line(capsys)
    assert (line["event"], line["error"]) == ("uncaught exception", "ValueError")


def test_lines_below_the_level_are_not_written(capsys: Capture) -> None:
    log.configure("warning", console=False)
    structlog.get_logger().info("stored")
    structlog.get_logger().warning("held")
    assert only_line(capsys)["event"] == "held"


def test_the_form_for_reading_goes_through_the_same_gate(capsys: Capture) -> None:
    log.configure("info", console=True)
    try:
        fail_with_a_value()
    except ValueError:
        structlog.get_logger().exception("held", patient_name=VALUE, entry_id="0f3a")
    written = without_value(capsys)
    assert "0f3a" in written
    assert "fail_with_a_value" in written


def test_what_is_not_a_terminal_gets_json(capsys: Capture) -> None:
    log.configure("info")
    structlog.get_logger().info("started")
    assert only_line(capsys)["event"] == "started"
