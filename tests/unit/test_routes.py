from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest
from pydicom import Dataset
from pydicom.data import get_testdata_file

from dicom_node.config import Route
from dicom_node.model import Origin, Priority, SOPInstance
from dicom_node.routes import early_priority, matching_route

if TYPE_CHECKING:
    from collections.abc import Callable

ORIGIN = Origin(calling_ae_title="ECHO_1", called_ae_title="TEACHING", peer_address="192.0.2.1", received_at=0.0)


def reading(path: Path) -> Callable[[], BinaryIO]:
    return lambda: path.open("rb")


def header() -> Dataset:
    dataset = Dataset()
    dataset.Modality = "US"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "INVALID"]
    return dataset


def route(name: str, **match: object) -> Route:
    return Route.model_validate({"name": name, "match": match, "destinations": ["somewhere"]})


def test_the_first_route_that_fits_decides() -> None:
    routes = [route("ct", Modality="CT"), route("us", Modality="US"), route("all")]
    assert matching_route(routes, ORIGIN, header()) is routes[1]


def test_no_route_is_taken_when_none_fits() -> None:
    assert matching_route([route("ct", Modality="CT")], ORIGIN, header()) is None


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({"Modality": "U?"}, True),
        ({"Modality": "us"}, False),
        ({"Modality": ["CT", "US"]}, True),
        ({"CallingAETitle": "ECHO_*"}, True),
        ({"CallingAETitle": "ECHO"}, False),
        ({"CalledAETitle": "TEACHING", "Modality": "US"}, True),
        ({"CalledAETitle": "TEACHING", "Modality": "CT"}, False),
        ({"ImageType": "PRIMARY"}, True),
        ({"Manufacturer": "*"}, True),
        ({"Manufacturer": "?*"}, False),
    ],
)
def test_every_line_of_a_match_has_to_fit(match: dict[str, object], fits: bool) -> None:  # noqa: FBT001 - a table's column
    assert (matching_route([route("one", **match)], ORIGIN, header()) is not None) == fits


@pytest.mark.parametrize(
    ("networks", "address", "fits"),
    [
        ([], "192.0.2.1", True),
        (["198.51.100.0/24", "192.0.2.0/24"], "192.0.2.1", True),
        (["192.0.2.0/24"], "::ffff:192.0.2.1", True),
        (["198.51.100.0/24"], "192.0.2.1", False),
        (["2001:db8::/32"], "2001:db8::7", True),
    ],
)
def test_a_route_of_some_networks_takes_only_what_was_sent_from_there(
    networks: list[str], address: str, *, fits: bool
) -> None:
    only = route("us", Modality="US").model_copy(update={"networks": tuple(networks)})
    assert (matching_route([only], replace(ORIGIN, peer_address=address), header()) is only) is fits


def test_a_network_does_not_replace_what_else_has_to_fit() -> None:
    only = route("ct", Modality="CT").model_copy(update={"networks": ("192.0.2.0/24",)})
    assert matching_route([only], ORIGIN, header()) is None


CT = Path(str(get_testdata_file("CT_small.dcm")))
ABSENT = Path("no such file")
INSTANCE = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")


def with_priority(priority: str, networks: tuple[str, ...] = (), **match: object) -> Route:
    content = {"name": priority, "match": match, "networks": networks, "destinations": ["pacs"], "priority": priority}
    return Route.model_validate(content)


@pytest.mark.parametrize(
    ("routes", "priority"),
    [
        ([with_priority("high", CalledAETitle="TEACHING"), with_priority("low")], Priority.HIGH),
        ([with_priority("high", CalledAETitle="STAT"), with_priority("low")], Priority.LOW),
        ([with_priority("high", networks=("198.51.100.0/24",)), with_priority("low")], Priority.LOW),
        ([with_priority("high", CalledAETitle="STAT", Modality="CT"), with_priority("low")], Priority.LOW),
        ([with_priority("low"), with_priority("high", Modality="CT")], Priority.LOW),
        ([with_priority("high", Modality="CT"), with_priority("high")], Priority.HIGH),
        ([with_priority("high", CalledAETitle="STAT")], Priority.MEDIUM),
    ],
)
def test_a_priority_that_the_association_tells_needs_no_look_at_the_file(
    routes: list[Route], priority: Priority
) -> None:
    assert early_priority(routes, INSTANCE, ORIGIN, reading(ABSENT)) is priority


@pytest.mark.parametrize(("modality", "priority"), [("CT", Priority.HIGH), ("US", Priority.LOW)])
def test_a_priority_that_depends_on_the_header_is_read_there(modality: str, priority: Priority) -> None:
    routes = [with_priority("high", Modality=modality), with_priority("low")]
    assert early_priority(routes, INSTANCE, ORIGIN, reading(CT)) is priority


def test_what_cannot_be_read_for_its_priority_has_the_middle_one_and_is_no_error() -> None:
    routes = [with_priority("high", Modality="CT"), with_priority("low")]
    assert early_priority(routes, INSTANCE, ORIGIN, reading(ABSENT)) is Priority.MEDIUM
    deflated = replace(INSTANCE, transfer_syntax_uid="1.2.840.10008.1.2.1.99")
    assert early_priority(routes, deflated, ORIGIN, reading(CT)) is Priority.MEDIUM
