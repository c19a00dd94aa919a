"""Which route an instance takes: the first whose every line fits."""

from __future__ import annotations

from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom import Dataset

    from dicom_node.config import Route
    from dicom_node.model import Origin


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


def _fits(route: Route, origin: Origin, header: Dataset) -> bool:
    return _is_in(route.networks, origin.peer_address) and all(
        any(fnmatchcase(value, pattern) for value in _values(key, origin, header) for pattern in patterns)
        for key, patterns in route.match.items()
    )


def _is_in(networks: tuple[str, ...], address: str) -> bool:
    """Whether an address is in one of these networks, or anywhere when there are none."""
    if not networks:
        return True
    peer = ip_address(address)
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return any(peer in ip_network(network) for network in networks)


def _values(key: str, origin: Origin, header: Dataset) -> list[str]:
    if key == "CalledAETitle":
        return [origin.called_ae_title]
    if key == "CallingAETitle":
        return [origin.calling_ae_title]
    value: Any = header.get(key)
    if value is None:
        return [""]
    several = isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue"
    return [str(v) for v in (value if several else [value])]
