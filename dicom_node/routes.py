"""Which route an instance takes: the first whose every line fits."""

from __future__ import annotations

from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, BinaryIO

from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_node.model import Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pydicom import Dataset

    from dicom_node.config import Route
    from dicom_node.model import Origin, SOPInstance

_OF_THE_ASSOCIATION = ("CalledAETitle", "CallingAETitle")


def matching_route(routes: Iterable[Route], origin: Origin, header: Dataset) -> Route | None:
    """Return the first route that fits, None when none does: such an instance is held.

    Parameters
    ----------
    routes : iterable of Route
        In the order of the configuration.
    origin : Origin
        AE titles and peer address of the association.
    header : pydicom.Dataset
        Attributes; absent ones fit no pattern but ``*``.
    """
    return next((route for route in routes if _fits(route, origin, header)), None)


def priority_of(route: Route) -> Priority:
    """Return the priority that a route gives."""
    return Priority[route.priority.upper()]


def early_priority(
    routes: Sequence[Route], instance: SOPInstance, origin: Origin, read: Callable[[], BinaryIO]
) -> Priority:
    """Return the priority of a received instance before it is routed: only the order of the work depends on it.

    The header is read only if the routes that are left, by AE titles and networks, differ in their priorities.

    Parameters
    ----------
    routes : sequence of Route
        In the order of the configuration.
    instance, origin : SOPInstance, Origin
        What was received, and how.
    read : callable
        Opens its file.

    Returns
    -------
    Priority
        MEDIUM when no route fits, the header cannot be read, or only inflating a whole data set would tell.
    """
    candidates = _candidates(routes, origin)
    priorities = {priority_of(route) for route in candidates} or {Priority.MEDIUM}
    if len(priorities) == 1:
        return priorities.pop()
    if instance.transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        return Priority.MEDIUM
    keys = sorted({key for route in candidates for key in _header_keys(route)})
    try:
        with read() as file:
            header = dcmread(file, stop_before_pixels=True, specific_tags=keys)
        route = matching_route(candidates, origin, header)
    except Exception:  # noqa: BLE001 - whatever it is, the redactor will say so; the receiver has the instance as it is
        return Priority.MEDIUM
    return priority_of(route) if route else Priority.MEDIUM


def _candidates(routes: Iterable[Route], origin: Origin) -> list[Route]:
    """List the routes that may be an instance's as far as the association tells, up to the first that surely fits."""
    candidates = []
    for route in routes:
        if _fits(route, origin, None):
            candidates.append(route)
            if not _header_keys(route):
                break
    return candidates


def _header_keys(route: Route) -> list[str]:
    return [key for key in route.match if key not in _OF_THE_ASSOCIATION]


def _fits(route: Route, origin: Origin, header: Dataset | None) -> bool:
    """Whether every line fits; without a header, those that ask for none of it."""
    return _is_in(route.networks, origin.peer_address) and all(
        any(fnmatchcase(value, pattern) for value in _values(key, origin, header) for pattern in patterns)
        for key, patterns in route.match.items()
        if header is not None or key in _OF_THE_ASSOCIATION
    )


def _is_in(networks: tuple[str, ...], address: str) -> bool:
    """Whether an address is in one of these networks, or anywhere when there are none."""
    if not networks:
        return True
    peer = ip_address(address)
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return any(peer in ip_network(network) for network in networks)


def _values(key: str, origin: Origin, header: Dataset | None) -> list[str]:
    if key == "CalledAETitle":
        return [origin.called_ae_title]
    if key == "CallingAETitle":
        return [origin.calling_ae_title]
    value: Any = None if header is None else header.get(key)
    if value is None:
        return [""]
    several = isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue"
    return [str(v) for v in (value if several else [value])]
