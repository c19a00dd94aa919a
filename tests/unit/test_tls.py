"""The files for TLS: what is wrong with them is told by key and file, before anything starts."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from dicom_node import config, tls
from dicom_node.config import DestinationTLS, ReceiveTLS
from dicom_node.errors import ConfigurationError
from tests.support.certificates import Authority, Certificate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def own(authority: Authority) -> Certificate:
    return authority.sign("node", "node.example")


def receiving(own: Certificate, ca: Path | None = None) -> None:
    tls.receiving(ReceiveTLS(certificate=own.certificate, key=own.key, ca=ca))


def test_good_files_are_taken(authority: Authority, own: Certificate) -> None:
    receiving(own, authority.ca)
    tls.sending(DestinationTLS(ca=authority.ca, certificate=own.certificate, key=own.key), "pacs")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_key_that_others_may_read_is_refused(own: Certificate, mode: int) -> None:
    own.key.chmod(mode)
    with pytest.raises(ConfigurationError, match=r"receive\.tls\.key: .*node\.key: .*allowed is mode 0600"):
        receiving(own)


def test_files_that_are_not_there_are_named(own: Certificate, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(ConfigurationError, match=r"receive\.tls\.key: .*gone: cannot be read: No such file"):
        receiving(Certificate(own.certificate, gone))
    with pytest.raises(ConfigurationError, match=r"receive\.tls\.certificate: .*gone: cannot be read"):
        receiving(Certificate(gone, own.key))
    with pytest.raises(ConfigurationError, match=r"destinations\.pacs\.tls\.ca: .*gone: cannot be read"):
        tls.sending(DestinationTLS(ca=gone), "pacs")


def test_a_key_of_another_certificate_is_refused(authority: Authority, own: Certificate) -> None:
    other = authority.sign("other", "other.example")
    with pytest.raises(ConfigurationError, match=r"receive\.tls\.key: .*other\.key: has to be the private key of"):
        receiving(Certificate(own.certificate, other.key))


def test_what_is_no_certificate_is_refused(own: Certificate, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not PEM", encoding="ascii")
    with pytest.raises(ConfigurationError, match=r"receive\.tls\.certificate, receive\.tls\.key: .* in PEM"):
        receiving(Certificate(text, own.key))
    with pytest.raises(ConfigurationError, match=r"receive\.tls\.ca: .*text: has to be one or more certificates"):
        receiving(own, text)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(own: Certificate, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    told = ["openssl", "rsa", "-aes256", "-passout", "pass:secret", "-in", str(own.key), "-out", str(locked)]
    subprocess.run(told, check=True, capture_output=True)
    locked.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"without a password"):
        receiving(Certificate(own.certificate, locked))


def test_the_configuration_is_checked_with_its_files_and_its_fingerprints_are_read_as_openssl_prints_them(
    authority: Authority, own: Certificate, tmp_path: Path
) -> None:
    path = tmp_path / "node.yaml"
    path.write_text(
        f"""
receive:
  tls:
    certificate: {own.certificate}
    key: {own.key}
    ca: {authority.ca}
    require_client_certificate: true
    calling_ae_titles: {{"{own.fingerprint}": [CT1], CT2.Example: [CT2]}}
destinations: {{pacs: {{ae_title: PACS, host: pacs.example, port: 104, tls: {{ca: {tmp_path / "gone"}}}}}}}
routes: [{{name: all, destinations: [pacs]}}]
""",
        encoding="utf-8",
    )
    configuration = config.load(path)
    assert configuration.receive.tls is not None
    assert configuration.receive.tls.calling_ae_titles == {
        own.fingerprint.replace(":", "").lower(): ("CT1",),
        "ct2.example": ("CT2",),
    }
    with pytest.raises(ConfigurationError, match=r"destinations\.pacs\.tls\.ca: .*gone: cannot be read"):
        tls.check(configuration)
