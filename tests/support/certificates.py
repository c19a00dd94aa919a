"""Certificates made by the program openssl: a CA, and what it has signed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, both PEM."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256, as openssl prints it."""
        return _openssl("x509", "-in", str(self.certificate), "-noout", "-fingerprint", "-sha256").split("=")[1].strip()


class Authority:
    """A CA of its own."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._own = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
        _openssl(*_NEW_KEY, "-x509", "-days", "2", "-subj", f"/CN=Made-up {name}", *_files(self._own))
        self.ca = self._own.certificate

    def sign(self, name: str, common_name: str, alternative: str = "IP:127.0.0.1", days: int = 2) -> Certificate:
        """Make a certificate for a name, and an alternative name as openssl writes it."""
        one = Certificate(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request = self._folder / f"{name}.csr"
        _openssl(*_NEW_KEY, "-subj", f"/CN={common_name}", "-keyout", str(one.key), "-out", str(request))
        extension = self._folder / f"{name}.ext"
        extension.write_text(f"subjectAltName={alternative}\n", encoding="ascii")
        signing = ["-CA", str(self.ca), "-CAkey", str(self._own.key), "-CAcreateserial", "-days", str(days)]
        _openssl(
            "x509", "-req", "-in", str(request), *signing, "-extfile", str(extension), "-out", str(one.certificate)
        )
        one.key.chmod(0o600)
        return one


_NEW_KEY = ("req", "-newkey", "rsa:2048", "-nodes", "-batch")


def _files(one: Certificate) -> list[str]:
    return ["-keyout", str(one.key), "-out", str(one.certificate)]


def _openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True, timeout=60).stdout
