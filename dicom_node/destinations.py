"""From a destination in the configuration to what sends there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.config import FolderDestination
from dicom_node.folder import FolderSender
from dicom_node.model import RemoteAE
from dicom_node.storage_scu import StorageSCU
from dicom_node.storage_scu_commitment import StorageCommitmentSCU
from dicom_node.tls import sending

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.config import Configuration, DicomDestination
    from dicom_node.model import CommitmentReport
    from dicom_node.tls import Context

Sender = StorageSCU | FolderSender


def sender_to(ae_title: str, host: str, port: int) -> StorageSCU:
    """Make a sender to an address that is in no configuration."""
    return StorageSCU(RemoteAE(ae_title=ae_title, host=host, port=port, calling_ae_title="DICOM_NODE"))


def make_sender(configuration: Configuration, name: str) -> Sender:
    """Make the sender for a destination by its name in the configuration.

    Raises
    ------
    ConfigurationError
        When its TLS files cannot be used.
    """
    destination = configuration.destinations[name]
    if isinstance(destination, FolderDestination):
        return FolderSender(configuration.data_dir / destination.folder)
    return StorageSCU(*_peer(configuration, name, destination))


def make_commitment_scu(
    configuration: Configuration, name: str, take: Callable[[CommitmentReport], int]
) -> StorageCommitmentSCU:
    """Make what asks a destination for its commitment; ``take`` writes down what it reports at once.

    Raises
    ------
    ConfigurationError
        When its TLS files cannot be used.
    """
    return StorageCommitmentSCU(*_peer(configuration, name, configuration.committing[name]), take)


def _peer(
    configuration: Configuration, name: str, destination: DicomDestination
) -> tuple[RemoteAE, tuple[Context, str] | None]:
    remote = RemoteAE(
        ae_title=destination.ae_title,
        host=destination.host,
        port=destination.port,
        calling_ae_title=destination.calling_ae_title or configuration.receive.ae_title,
        connect_timeout=destination.connect_timeout,
        acse_timeout=destination.acse_timeout,
        dimse_timeout=destination.dimse_timeout,
    )
    tls = destination.tls
    return remote, (sending(tls, name), tls.server_name or destination.host) if tls else None
