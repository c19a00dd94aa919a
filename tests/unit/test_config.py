"""The configuration: what is in the repository loads, and what is wrong is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dicom_node import config
from dicom_node.config import Configuration, DicomDestination, FolderDestination
from dicom_node.config.receive import LEAST_FREE
from dicom_node.errors import ConfigurationError
from dicom_node.model import WaterMarks

if TYPE_CHECKING:
    from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "config" / "node.yaml"
SHIPPED = [*sorted((ROOT / "config").glob("*.yaml")), *sorted((ROOT / "config" / "examples").glob("*.yaml"))]

SMALLEST = """
destinations: {clean: {folder: out}}
routes: [{name: all, destinations: [clean]}]
"""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOG_LEVEL", "DICOM_NODE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def written(folder: Path, text: str) -> Path:
    path = folder / "node.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def said_of(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        config.load(written(folder, text))
    return str(caught.value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_configuration_in_the_repository_loads(path: Path) -> None:
    assert config.load(path).routes


def test_there_are_examples_beside_the_default() -> None:
    assert {"node", "compose", "several-destinations", "pass-structured-reports", "research-and-teaching"} <= {
        path.stem for path in SHIPPED
    }


def test_the_default_file_shows_the_defaults_of_the_code() -> None:
    shown = config.load(DEFAULT)
    assert shown == Configuration(destinations=shown.destinations, routes=shown.routes)


@pytest.mark.parametrize(
    "model",
    [
        Configuration,
        config.Receive,
        config.ReceiveTLS,
        config.Queue,
        config.Retention,
        config.Redact,
        config.Route,
        DicomDestination,
        config.DestinationTLS,
        FolderDestination,
    ],
)
def test_the_default_file_names_every_key(model: type[BaseModel]) -> None:
    named = set(re.findall(r"^[\s#-]*([a-z_]+):", DEFAULT.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(model.model_fields) <= named


def test_the_default_takes_everything_cleans_it_and_keeps_it_in_a_folder() -> None:
    configuration = config.load(DEFAULT)
    (route,) = configuration.routes
    assert route.match == {}
    assert route.policy == "keep-safe-text"
    (destination,) = (configuration.destinations[name] for name in route.destinations)
    assert destination == FolderDestination(folder=Path("clean"))


def test_the_default_is_switched_to_a_pacs_by_one_line(tmp_path: Path) -> None:
    switched = DEFAULT.read_text(encoding="utf-8").replace("destinations: [clean]", "destinations: [pacs]")
    configuration = config.load(written(tmp_path, switched))
    (route,) = configuration.routes
    pacs = configuration.destinations[route.destinations[0]]
    assert pacs == DicomDestination(ae_title="PACS", host="127.0.0.1", port=104)


def test_only_an_example_that_says_so_passes_anything_through() -> None:
    passing = {path.stem for path in SHIPPED for route in config.load(path).routes if route.policy == "pass"}
    assert passing == {"pass-structured-reports"}


def test_a_route_without_a_policy_cleans(tmp_path: Path) -> None:
    assert config.load(written(tmp_path, SMALLEST)).routes[0].policy == "keep-safe-text"


def test_the_environment_comes_before_the_file_and_the_command_line_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, SMALLEST + "data_dir: of-the-file\nlog_level: error\n")
    monkeypatch.setenv("DICOM_NODE_DATA_DIR", "of-the-environment")
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    of_environment = config.load(path)
    of_command_line = config.load(path, data_dir="of-the-command-line", log_level="warning", port=4242)
    assert (of_environment.data_dir, of_environment.log_level) == (Path("of-the-environment"), "debug")
    assert (of_command_line.data_dir, of_command_line.log_level) == (Path("of-the-command-line"), "warning")
    assert of_command_line.receive.port == 4242


def test_a_spool_in_a_store_is_named_by_its_bucket_and_a_key_in_it_is_not_quoted(tmp_path: Path) -> None:
    assert (
        config.load(written(tmp_path, SMALLEST + "spool: s3://dicom-node/site/1\n")).spool == "s3://dicom-node/site/1"
    )
    assert config.load(written(tmp_path, SMALLEST)).spool == ""
    assert "SWORDFISH" not in said_of(tmp_path, SMALLEST + "spool: s3://key:SWORDFISH@bucket\n")


def test_the_ledger_is_sqlite_below_the_data_directory_unless_one_is_named(tmp_path: Path) -> None:
    assert (
        config.load(written(tmp_path, SMALLEST + "data_dir: /srv/node\n")).ledger_url == "sqlite:////srv/node/ledger.db"
    )
    named = config.load(written(tmp_path, SMALLEST + "ledger: postgresql+psycopg://ledger/node\n"))
    assert named.ledger_url == "postgresql+psycopg://ledger/node"


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        (SMALLEST + "recieve: {}\n", "recieve", "receive"),
        (SMALLEST + "receive: {prot: 104}\n", "receive.prot", "maximum_pdu_length"),
        (SMALLEST + "receive: {port: 0}\n", "receive.port", "greater than or equal to 1"),
        (SMALLEST + "receive: {ae_title: A_TITLE_THAT_IS_TOO_LONG}\n", "receive.ae_title", "1 to 16"),
        (SMALLEST + "receive: {networks: [192.0.2.300/24]}\n", "receive.networks", "192.0.2.300/24"),
        (SMALLEST + "receive: {minimum_free_bytes: 0}\n", "receive.minimum_free_bytes", "than or equal to 83886080"),
        (
            SMALLEST + "receive: {minimum_free_bytes: 90000000, resume_free_bytes: 8}\n",
            "resume_free_bytes",
            "allowed are 0 and 90000000 (minimum_free_bytes) or more",
        ),
        (
            SMALLEST + "receive: {high_water_bytes: 8, low_water_bytes: 9}\n",
            "low_water_bytes",
            "allowed are 0 to 8 (high_water_bytes)",
        ),
        (SMALLEST + "receive: {low_water_bytes: 9}\n", "low_water_bytes", "allowed are 0 to 0 (high_water_bytes)"),
        (SMALLEST + "ledger: mysql://ledger/node\n", "ledger", "postgresql+psycopg://"),
        (SMALLEST + "spool: /srv/spool\n", "spool", "s3://<bucket>/<prefix>"),
        (SMALLEST + "spool: s3://Bucket/spool\n", "spool", "s3://<bucket>/<prefix>"),
        (SMALLEST + "spool: s3://bucket/../spool\n", "spool", "s3://<bucket>/<prefix>"),
        (SMALLEST + "spool: https://store.example/bucket\n", "spool", "AWS_ variables"),
        (SMALLEST + "receive: {tls: {cert: x}}\n", "receive.tls.cert", "require_client_certificate"),
        (
            SMALLEST + "receive: {tls: {certificate: x, key: x, require_client_certificate: true}}\n",
            "receive.tls",
            "needs ca",
        ),
        (
            SMALLEST + "receive: {tls: {certificate: x, key: x, ca: x, calling_ae_titles: {ct1: [CT1]}}}\n",
            "receive.tls",
            "needs require_client_certificate: true",
        ),
        (
            SMALLEST.replace("folder: out", "ae_title: A, host: h, port: 1, tls: {ca: x, key: x}"),
            "destinations.clean.tls",
            "both or neither",
        ),
        (
            SMALLEST.replace("folder: out", "ae_title: A, host: h, port: 1, tls: {ca: x, name: x}"),
            "destinations.clean.tls.name",
            "server_name",
        ),
        (SMALLEST + "redact: {detector: eyes}\n", "redact.detector", "tesseract"),
        (SMALLEST.replace("name: all", "name: all, policy: none"), "routes.0.policy", "keep-safe-text"),
        (SMALLEST.replace("[clean]", "[claen]"), "routes.0.destinations", "clean"),
        (SMALLEST.replace("[clean]", "[]"), "routes.0.destinations", "at least 1"),
        (SMALLEST.replace("name: all", "name: all, match: {Modalty: US}"), "routes.0.match", "Modalty"),
        (SMALLEST.replace("routes: [", "routes: [{name: all, destinations: [clean]}, "), "routes", "unique"),
        (SMALLEST + "redact: {spacy_model: en_core_made_up}\n", "redact.spacy_model", "install it as a package"),
        (SMALLEST + "redact: {spacy_model: ../models}\n", "redact.spacy_model", "install it as a package"),
        (SMALLEST.replace("all,", "all, safe_text: ['(A'],"), "routes.0.safe_text", "regular expression"),
        (SMALLEST.replace("all,", "all, safe_text: ['.*'],"), "routes.0.safe_text", "one technical text"),
        (
            SMALLEST.replace("name: all", "name: all, safe_text: ['[A-Z ]+']"),
            "routes.0.safe_text",
            "one technical text",
        ),
        (
            SMALLEST.replace("name: all", "name: all, safe_text: ['[0-9-]+']"),
            "routes.0.safe_text",
            "one technical text",
        ),
        (
            SMALLEST.replace("name: all", "name: all, safe_text: ['(GRID)?']"),
            "routes.0.safe_text",
            "one technical text",
        ),
        (SMALLEST.replace("name: all", "name: all, overlays: hold"), "routes.0.overlays", "'redact'"),
        (SMALLEST.replace("name: all", "name: all, documents: redact"), "routes.0.documents", "'remove'"),
        (SMALLEST.replace("name: all", "name: all, annotations: 1"), "routes.0.annotations", "'remove'"),
        (SMALLEST.replace("name: all", "name: all, second_look: maybe"), "routes.0.second_look", "boolean"),
        (SMALLEST.replace("name: all", "name: all, second_luck: true"), "routes.0.second_luck", "second_look"),
        (SMALLEST.replace("name: all", "name: all, priority: urgent"), "routes.0.priority", "'high'"),
        (SMALLEST.replace("folder: out", "folder: out, order: series"), "destinations.clean.order", "'study'"),
        (SMALLEST.replace("name: all", "name: (released)"), "routes.0.name", "pattern"),
        ("routes: []\n", "destinations", "required"),
    ],
)
def test_a_mistake_is_answered_with_the_file_the_key_and_what_is_allowed(
    tmp_path: Path, text: str, key: str, allowed: str
) -> None:
    said = said_of(tmp_path, text)
    assert f"{tmp_path / 'node.yaml'}: " in said
    assert key in said
    assert allowed in said


@pytest.mark.parametrize("text", ["", "- a\n- list\n", "receive: [unclosed\n"])
def test_what_is_not_a_mapping_in_yaml_is_no_configuration(tmp_path: Path, text: str) -> None:
    assert "node.yaml" in said_of(tmp_path, text)


def test_a_file_that_is_not_there_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml: cannot be read"):
        config.load(tmp_path / "nowhere.yaml")


def test_a_configuration_cannot_be_changed_after_it_was_checked(tmp_path: Path) -> None:
    configuration = config.load(written(tmp_path, SMALLEST))
    with pytest.raises(ValueError, match="frozen"):
        configuration.receive.port = 1  # type: ignore[misc]  # that is what is tried


def test_a_route_takes_each_of_its_words(tmp_path: Path) -> None:
    words = "rules: [a.yaml, b.script], ultrasound_regions: true, overlays: redact, documents: remove, strict: true"
    route = config.load(written(tmp_path, SMALLEST.replace("name: all", f"name: all, {words}"))).routes[0]
    assert route.rules == (Path("a.yaml"), Path("b.script"))
    assert (route.ultrasound_regions, route.overlays, route.documents) == (True, "redact", "remove")
    assert (route.annotations, route.strict, route.second_look) == ("hold", True, None)


def test_a_file_of_rules_is_a_list(tmp_path: Path) -> None:
    path = written(tmp_path, "- {name: one}\n- {name: two}\n")
    assert config.read_rule_items(path) == [{"name": "one"}, {"name": "two"}]
    with pytest.raises(ConfigurationError, match=r"node\.yaml: has to be a list of rules"):
        config.read_rule_items(written(tmp_path, "name: one\n"))
    with pytest.raises(ConfigurationError, match=r"node\.yaml: is not YAML"):
        config.read_rule_items(written(tmp_path, "- [\n"))


def test_what_is_not_said_of_the_water_marks_follows_from_their_neighbours() -> None:
    marks = config.Receive(minimum_free_bytes=160_000_000, high_water_bytes=8000).water_marks
    assert marks == WaterMarks(minimum_free=160_000_000, resume_free=180_000_000, high_water=8000, low_water=7000)
    least = LEAST_FREE
    said = config.Receive(
        minimum_free_bytes=least, resume_free_bytes=least + 1, high_water_bytes=4, low_water_bytes=3
    ).water_marks
    assert said == WaterMarks(least, least + 1, 4, 3)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("{originals: keep}", "rows: allowed is not less than originals"),
        ("{originals: 100, rows: 90}", "rows: allowed is not less than originals"),
        ("{rows: -1}", "retention.rows"),
        ("{rows: never}", "'keep'"),
    ],
)
def test_a_row_stays_as_long_as_the_original_that_it_tells_of(tmp_path: Path, told: str, said: str) -> None:
    assert said in said_of(tmp_path, f"retention: {told}\n{SMALLEST}")


def test_days_may_be_parts_of_one_and_keep_means_for_ever(tmp_path: Path) -> None:
    text = f"retention: {{originals: 0.5, rows: keep}}\n{SMALLEST}"
    retention = config.load(written(tmp_path, text)).retention
    assert (retention.originals_seconds, retention.rows_seconds) == (43200.0, float("inf"))


COMMITTING = """
receive: {receive}
destinations: {{pacs: {{ae_title: PACS, host: 127.0.0.1, port: 104, storage_commitment: true, {more}}}}}
routes: [{{name: all, destinations: [pacs]}}]
"""


@pytest.mark.parametrize(
    ("receive", "more", "said"),
    [
        ("{calling_ae_titles: [CT1]}", "", "its reports come from PACS: receive.calling_ae_titles has to have it"),
        ("{}", "calling_ae_title: SENDER", "its reports go to SENDER: receive.called_ae_titles has to have it"),
    ],
)
def test_a_destination_whose_report_would_not_get_in_is_an_error(
    tmp_path: Path, receive: str, more: str, said: str
) -> None:
    said_there = said_of(tmp_path, COMMITTING.format(receive=receive, more=more))
    assert f"destinations.pacs.storage_commitment: {said}" in said_there


@pytest.mark.parametrize(
    ("receive", "more"),
    [
        ("{calling_ae_titles: [CT1, PACS]}", ""),
        ("{called_ae_titles: [SENDER]}", "calling_ae_title: SENDER"),
        ("{any_called_ae_title: true}", "calling_ae_title: SENDER"),
    ],
)
def test_destinations_that_commit_are_those_that_may_report(tmp_path: Path, receive: str, more: str) -> None:
    configuration = config.load(written(tmp_path, COMMITTING.format(receive=receive, more=more)))
    assert configuration.reporters == {"PACS": ["pacs"]}
