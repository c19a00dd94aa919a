"""Section ``destinations``: where clean instances go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Discriminator, Field, PositiveFloat, Tag, model_validator

from dicom_node.config.types import AETitle, Frozen, Order, Port


class DestinationTLS(Frozen):
    """Who has signed the destination's certificate, and the node's own where the destination asks for one; all PEM.

    The certificate has to be for ``server_name``, or else for the destination's ``host``.
    """

    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    @model_validator(mode="after")
    def _is_a_pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            msg = "certificate and key: allowed are both or neither"
            raise ValueError(msg)
        return self


class DicomDestination(Frozen):
    """A destination AE: clean instances go out by C-STORE.

    With ``storage_commitment``, an instance is sent only once the destination has committed to its storage (PS3.4 J);
    after ``storage_commitment_timeout`` seconds without a report it is asked again.
    ``order`` is in what order instances go: ``any``, or those of a study as they were received (``study``).
    """

    ae_title: AETitle
    host: Annotated[str, Field(min_length=1)]
    port: Port
    calling_ae_title: AETitle | None = None
    connect_timeout: PositiveFloat = 10.0
    acse_timeout: PositiveFloat = 30.0
    dimse_timeout: PositiveFloat = 60.0
    storage_commitment: bool = False
    storage_commitment_timeout: PositiveFloat = 3600.0
    order: Order = "any"
    tls: DestinationTLS | None = None


class FolderDestination(Frozen):
    """A folder: clean instances become ``<study>/<series>/<instance>.dcm`` below it."""

    folder: Path
    order: Order = "any"


def _kind_of_destination(value: object) -> str:
    return "folder" if isinstance(value, FolderDestination) or (isinstance(value, dict) and "folder" in value) else "ae"


# Told apart by their keys, so that a mistake in one kind is not reported as missing keys of the other.
Destination = Annotated[
    Annotated[DicomDestination, Tag("ae")] | Annotated[FolderDestination, Tag("folder")],
    Discriminator(_kind_of_destination),
]
