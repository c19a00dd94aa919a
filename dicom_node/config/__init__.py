"""Frozen, validated configuration from YAML, and the only reader of the environment.

Nothing starts half-configured: :func:`load` returns a whole :class:`Configuration` or raises
:class:`~dicom_node.errors.ConfigurationError`, which names the file, the key and what is allowed.
"""

from dicom_node.config.configuration import Configuration
from dicom_node.config.destinations import DestinationTLS, DicomDestination, FolderDestination
from dicom_node.config.file import load, read_rule_items
from dicom_node.config.node import Queue, Redact, Retention
from dicom_node.config.receive import Receive, ReceiveTLS
from dicom_node.config.routes import NEVER_SAFE, Route

__all__ = [
    "NEVER_SAFE",
    "Configuration",
    "DestinationTLS",
    "DicomDestination",
    "FolderDestination",
    "Queue",
    "Receive",
    "ReceiveTLS",
    "Redact",
    "Retention",
    "Route",
    "load",
    "read_rule_items",
]
