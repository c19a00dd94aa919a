"""Dockerfile, docker-compose*.yml and config/compose*.yaml speak of the same paths, ports and titles."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_node import config
from dicom_node.config import Configuration, DicomDestination
from dicom_node.node import ROLES

ROOT = Path(__file__).parents[2]
DATA = "/var/lib/dicom_node"
CONFIGURATION = "/etc/dicom_node/node.yaml"


def composed(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text(encoding="utf-8")))


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    return dict(composed("docker-compose.yml")["services"])


@pytest.fixture
def configuration(monkeypatch: pytest.MonkeyPatch) -> Configuration:
    for name in ("LOG_LEVEL", "DICOM_NODE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    return config.load(ROOT / "config" / "compose.yaml")


@pytest.fixture
def cluster() -> dict[str, dict[str, Any]]:
    return dict(composed("docker-compose.cluster.yml")["services"])


@pytest.fixture
def machines(cluster: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return those services of the cluster that are nodes."""
    return {name: service for name, service in cluster.items() if "build" in service}


@pytest.fixture
def of_cluster(configuration: Configuration) -> Configuration:
    """Return the configuration of all nodes of the cluster."""
    del configuration  # it has put the environment out of the way
    return config.load(ROOT / "config" / "compose-cluster.yaml")


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


# The cluster


def test_the_cluster_has_two_redactor_machines_and_every_role(machines: dict[str, dict[str, Any]]) -> None:
    commands = [service["command"] for service in machines.values()]
    assert all(command[:-1] == ["serve", "--config", CONFIGURATION, "--role"] for command in commands)
    roles = [command[-1] for command in commands]
    assert roles.count("redact") == 2
    assert set(roles) == set(ROLES)


def test_the_machines_of_the_cluster_share_one_configuration_one_spool_and_one_ledger(
    cluster: dict[str, dict[str, Any]], machines: dict[str, dict[str, Any]], of_cluster: Configuration
) -> None:
    shared = [f"./config/compose-cluster.yaml:{CONFIGURATION}:ro", f"spool:{DATA}"]
    assert all(service["volumes"] == shared for service in machines.values())
    assert not of_cluster.data_dir.is_absolute()
    server = cluster["postgres"]["environment"]
    user, name = server["POSTGRES_USER"], server["POSTGRES_DB"]
    assert of_cluster.ledger == f"postgresql+psycopg://{user}@postgres/{name}"
    # libpq's own variable: the password stands in no file.
    assert all(service["environment"]["PGPASSWORD"] == server["POSTGRES_PASSWORD"] for service in machines.values())
    assert server["POSTGRES_PASSWORD"].startswith("${LEDGER_PASSWORD:?")


def test_a_machine_of_the_cluster_waits_for_the_ledger_and_is_started_again(
    machines: dict[str, dict[str, Any]],
) -> None:
    for service in machines.values():
        assert service["depends_on"] == {"postgres": {"condition": "service_healthy"}}
        assert service["restart"] == "unless-stopped"


def test_the_machines_of_the_cluster_have_what_a_ledger_on_postgresql_needs(
    machines: dict[str, dict[str, Any]],
) -> None:
    (argument,) = [step.partition("=")[0] for step in steps("ARG")]
    assert all(service["build"]["args"] == {argument: "yes"} for service in machines.values())
    assert any(f"${{{argument}:+-r requirements-postgresql.lock}}" in step for step in steps("RUN"))
    locked = (ROOT / "requirements-postgresql.lock").read_text(encoding="utf-8")
    assert re.search(r"^psycopg-binary==", locked, re.MULTILINE)


def test_only_the_receiver_of_the_cluster_is_called_from_outside_and_asked_by_c_echo(
    machines: dict[str, dict[str, Any]], of_cluster: Configuration
) -> None:
    port = of_cluster.receive.port
    published = {service["command"][-1]: service.get("ports") for service in machines.values()}
    assert published == {"receive": [f"{port}:{port}"], "redact": None, "send": None}
    asked = {service["command"][-1] for service in machines.values() if "healthcheck" not in service}
    assert asked == {"receive"}


def test_the_cluster_sends_to_the_orthanc_of_the_other_file(
    cluster: dict[str, dict[str, Any]], configuration: Configuration, of_cluster: Configuration
) -> None:
    assert cluster["orthanc"] == {"extends": {"file": "docker-compose.yml", "service": "orthanc"}}
    assert of_cluster.destinations == configuration.destinations
    assert of_cluster.routes == configuration.routes


def test_every_volume_of_the_cluster_is_declared(cluster: dict[str, dict[str, Any]]) -> None:
    mounted = [volume for service in cluster.values() for volume in service.get("volumes", [])]
    named = {volume.partition(":")[0] for volume in mounted if not volume.startswith(".")}
    assert named | {"orthanc"} == set(composed("docker-compose.cluster.yml")["volumes"])
