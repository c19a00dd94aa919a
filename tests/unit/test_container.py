"""Dockerfile, docker-compose.yml and config/compose.yaml speak of the same paths, ports and titles."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_node import config
from dicom_node.config import Configuration, DicomDestination

ROOT = Path(__file__).parents[2]
DATA = "/var/lib/dicom_node"
CONFIGURATION = "/etc/dicom_node/node.yaml"


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    content = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return dict(content["services"])


@pytest.fixture
def configuration(monkeypatch: pytest.MonkeyPatch) -> Configuration:
    for name in ("LOG_LEVEL", "DICOM_NODE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    return config.load(ROOT / "config" / "compose.yaml")


def steps(instruction: str) -> list[str]:
    """Return the arguments of each such instruction of the Dockerfile."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [" ".join(found.split()) for found in re.findall(rf"^\s*{instruction}\s+(.*)$", text, re.MULTILINE)]


def test_the_image_does_not_run_as_root() -> None:
    (user,) = steps("USER")
    assert user not in {"root", "0"}
    assert any("useradd" in step and step.endswith(user) for step in steps("RUN"))


def test_the_image_serves_and_is_asked_by_c_echo_whether_it_is_healthy() -> None:
    entry = json.loads(steps("ENTRYPOINT")[0])
    serve = json.loads(steps("CMD")[0])
    check = json.loads(steps("HEALTHCHECK")[0].partition(" CMD ")[2])
    assert entry == ["dicom-node"]
    assert serve == ["serve", "--config", CONFIGURATION]
    assert check == ["dicom-node", "echo", "DICOM_NODE@127.0.0.1:11112", "--config", CONFIGURATION]


def test_what_the_image_copies_is_there_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [source for step in steps("COPY") for source in step.split()[:-1]]
    assert all((ROOT / source).exists() for source in copied)
    assert sorted(f"!{source}" for source in copied) == sorted(line for line in ignored if line.startswith("!"))


def test_the_image_has_its_own_configuration_where_compose_puts_another(services: dict[str, dict[str, Any]]) -> None:
    assert any(step.split()[-1] == CONFIGURATION for step in steps("COPY"))
    assert f"./config/compose.yaml:{CONFIGURATION}:ro" in services["node"]["volumes"]


def test_what_the_node_keeps_is_on_the_volume(
    services: dict[str, dict[str, Any]], configuration: Configuration
) -> None:
    assert f"spool:{DATA}" in services["node"]["volumes"]
    assert json.loads(steps("VOLUME")[0]) == [DATA]
    # Relative folders are below the working directory: data_dir, and the folder of the image's own configuration.
    assert steps("WORKDIR")[-1] == DATA
    assert not configuration.data_dir.is_absolute()
    assert any(f"--home-dir {DATA} --create-home" in step for step in steps("RUN"))


def test_the_port_that_is_published_is_the_one_the_node_listens_on(
    services: dict[str, dict[str, Any]], configuration: Configuration
) -> None:
    assert services["node"]["ports"] == [f"{configuration.receive.port}:{configuration.receive.port}"]
    assert steps("EXPOSE") == [str(configuration.receive.port)]
    assert configuration.receive.ae_title == "DICOM_NODE"


def test_the_destination_is_the_orthanc_beside_the_node(
    services: dict[str, dict[str, Any]], configuration: Configuration
) -> None:
    destination = configuration.destinations["orthanc"]
    assert isinstance(destination, DicomDestination)
    environment = services[destination.host]["environment"]
    assert environment["ORTHANC__DICOM_AET"] == destination.ae_title
    assert environment["ORTHANC__DICOM_PORT"] == str(destination.port)


def test_orthanc_which_asks_for_no_password_is_published_on_this_machine_only(
    services: dict[str, dict[str, Any]],
) -> None:
    assert services["orthanc"]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in services["orthanc"]["ports"])


def test_a_stop_waits_longer_than_the_node_drains(
    services: dict[str, dict[str, Any]], configuration: Configuration
) -> None:
    grace = services["node"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > configuration.queue.drain_seconds


def test_log_level_is_passed_on(services: dict[str, dict[str, Any]]) -> None:
    assert services["node"]["environment"]["LOG_LEVEL"] == "${LOG_LEVEL:-info}"
