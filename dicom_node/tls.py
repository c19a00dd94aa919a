"""TLS as PS3.15 B.12 has it (BCP 195: RFC 8996, RFC 9325): version 1.2 or 1.3, forward secrecy, authenticated ciphers.

The one place that makes contexts and reads certificates. What a configuration names is read here once before anything
starts, so that a file that is missing, or that others may read, is told by its key.
"""

from __future__ import annotations

import hashlib
import ssl
import stat
from typing import TYPE_CHECKING, Any

from dicom_node.errors import ConfigurationError

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from dicom_node.config import Configuration, DestinationTLS, ReceiveTLS

Context = ssl.SSLContext

_CIPHERS = ":".join(
    f"ECDHE-{signature}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384")
    for signature in ("ECDSA", "RSA")
)
"""Those of RFC 9325 4.2 for TLS 1.2; what TLS 1.3 has is all allowed."""


def check(configuration: Configuration) -> None:
    """Read every file that the configuration names for TLS.

    Raises
    ------
    ConfigurationError
        With the key, the file and what is allowed.
    """
    if configuration.receive.tls:
        receiving(configuration.receive.tls)
    for name, destination in configuration.destinations.items():
        if tls := getattr(destination, "tls", None):
            sending(tls, name)


def receiving(tls: ReceiveTLS) -> Context:
    """Make the context of the receiver.

    Raises
    ------
    ConfigurationError
        With the key, the file and what is allowed.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    _load_own(context, "receive.tls", tls.certificate, tls.key)
    if tls.ca:
        _load_ca(context, "receive.tls", tls.ca)
        context.verify_mode = ssl.CERT_REQUIRED if tls.require_client_certificate else ssl.CERT_OPTIONAL
    return context


def sending(tls: DestinationTLS, name: str) -> Context:
    """Make the context of the sender to a destination: its certificate has to be of ``ca``, and for its name.

    Raises
    ------
    ConfigurationError
        With the key, the file and what is allowed.
    """
    key = f"destinations.{name}.tls"
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    _load_ca(context, key, tls.ca)
    if tls.certificate and tls.key:
        _load_own(context, key, tls.certificate, tls.key)
    return context


def speaks_tls(peer: socket.socket) -> bool:
    """Whether TLS is spoken on a connection."""
    return isinstance(peer, ssl.SSLSocket)


def names_of(peer: socket.socket) -> frozenset[str]:
    """Return what a verified certificate of a peer calls it: common name, alternative names, SHA-256 fingerprint.

    All in lower case, the fingerprint without colons. Without TLS, or without a certificate, there are none.
    """
    if not isinstance(peer, ssl.SSLSocket) or not (encoded := peer.getpeercert(binary_form=True)):
        return frozenset()
    fields: dict[str, Any] = peer.getpeercert() or {}
    common = {value.lower() for names in fields.get("subject", ()) for key, value in names if key == "commonName"}
    others = {value.lower() for _, value in fields.get("subjectAltName", ())}
    return frozenset({*common, *others, hashlib.sha256(encoded).hexdigest()})


def failure_of(error: BaseException | None) -> str:
    """Say why TLS failed, in words of OpenSSL; empty when the error is not one of TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    return str(error.reason or "failed").lower().replace("_", " ") if isinstance(error, ssl.SSLError) else ""


def _context(protocol: ssl._SSLMethod) -> Context:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def _load_ca(context: Context, key: str, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError:
        msg = f"{key}.ca: {ca}: has to be one or more certificates in PEM"
        raise ConfigurationError(msg) from None
    except OSError as error:
        raise _unreadable(key, "ca", ca, error) from None


def _load_own(context: Context, key: str, certificate: Path, private: Path) -> None:
    for what, path in (("certificate", certificate), ("key", private)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise _unreadable(key, what, path, error) from None
    if private.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        msg = f"{key}.key: {private}: others may read or write it; allowed is mode 0600 (chmod 600)"
        raise ConfigurationError(msg)
    try:
        # A password of no characters: without one, OpenSSL would ask for it on the terminal.
        context.load_cert_chain(certificate, private, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            msg = f"{key}.key: {private}: has to be the private key of {certificate}"
        else:
            msg = (
                f"{key}.certificate, {key}.key: {certificate}, {private}: have to be a certificate (and those between "
                "it and its CA), and its private key without a password, both in PEM"
            )
        raise ConfigurationError(msg) from None


def _unreadable(key: str, what: str, path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{key}.{what}: {path}: cannot be read: {error.strerror}; has to be a file in PEM")
