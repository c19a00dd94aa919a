from __future__ import annotations

from dataclasses import replace

import pytest
from pydicom import Dataset

from dicom_node.config import Route
from dicom_node.model import Origin
from dicom_node.routes import matching_route

ORIGIN = Origin(calling_ae_title="ECHO_1", called_ae_title="TEACHING", peer_address="192.0.2.1", received_at=0.0)


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
