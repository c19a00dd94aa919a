"""An S3-compatible store: where it is and by whose word it is entered, and whether it keeps what a spool needs.

Endpoint, region and credentials are AWS's own environment variables and files, as every client has them. Keys are read
by obstore itself, or here from AWS's file: none comes from a configuration, from argv, or into a log.
"""

from __future__ import annotations

import configparser
import re
import uuid
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from dicom_node.errors import ConfigurationError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

    from dicom_node.model import Store

TIMEOUT = timedelta(seconds=20)
"""Of one request, its body included; no body is longer than :data:`AT_ONCE`. A sender waits for two of them at most."""

AT_ONCE = 8 << 20
"""Bytes of a request. Longer instances go and come in parts, so that memory does not grow with them."""

_CONNECT = timedelta(seconds=5)
_RETRIES = 3
_STATUS = re.compile(r"status code: (\d{3})")
_FROM_FILE = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}

REFUSALS = (BaseError, OSError)
"""What obstore raises; what is not there is a FileNotFoundError, also where it is the bucket."""


def open_store(store: Store, timeout: timedelta = TIMEOUT) -> S3Store:
    """Open a store; nothing is asked of it yet.

    Raises
    ------
    ConfigurationError
        When what AWS's variables name cannot be used.
    """
    settings: S3Config = {"endpoint": store.endpoint} if store.endpoint else {}
    # Without TLS only where the endpoint itself says so, whatever else is set.
    options: ClientConfig = {
        "allow_http": store.endpoint.startswith("http://"),
        "timeout": timeout,
        "connect_timeout": min(_CONNECT, timeout),
    }
    retries: RetryConfig = {"max_retries": _RETRIES, "retry_timeout": timeout}
    try:
        if store.authorities:
            options["root_certificate"] = Path(store.authorities).read_bytes()
        settings.update(_from_file(store))
        return S3Store.from_url(store.url, config=settings, client_options=options, retry_config=retries)
    except (BaseError, OSError, ValueError, configparser.Error) as error:  # not its text: it can have a secret in it
        msg = f"spool: {store.url}: the AWS variables or files cannot be used: {type(error).__name__}"
        raise ConfigurationError(msg) from None


def check(store: S3Store) -> None:
    """Try what a spool needs: write once, list at once what was written, read it, delete it.

    Raises
    ------
    ConfigurationError
        With what the store does not do.
    """
    # The name of a clean file without an original: if it stays, the next sweep takes it.
    probe, doing = f"redacted/{uuid.uuid4().hex}.0.dcm", "written"
    try:
        store.put(probe, b"first", mode="create")
        doing = "told to keep what it has (If-None-Match)"
        is_kept = _is_refused(store, probe)
        doing = "listed"
        is_listed = any(each["path"] == probe for some in store.list("redacted", chunk_size=1000) for each in some)
        doing = "read"
        is_kept &= store.get(probe).bytes() == b"first"
        doing = "deleted"
        store.delete([probe])
    except REFUSALS as error:
        raise _unfit(store, f"cannot be {doing}: {answer(error)}") from None
    if not is_kept:
        raise _unfit(store, "overwrites what was to be created (If-None-Match: *): allowed are stores that refuse")
    if not is_listed:
        raise _unfit(store, "does not list at once what was written: allowed are stores with strong consistency")


def answer(error: BaseException) -> str:
    """Say what the store answered; not in its own words, which no one here can vouch for."""
    status = _STATUS.search(str(error))
    return f"the store answered {status[1]}" if status else "the store did not answer"


def _is_refused(store: S3Store, probe: str) -> bool:
    try:
        store.put(probe, b"second", mode="create")
    except AlreadyExistsError:
        return True
    return False


def _unfit(store: S3Store, what: str) -> ConfigurationError:
    where = "/".join(filter(None, (store.config.get("bucket"), store.prefix)))
    return ConfigurationError(f"spool: s3://{where}: {what}")


def _from_file(store: Store) -> S3Config:
    """Read AWS's file of credentials, where there is one: a machine can have its keys elsewhere (its role)."""
    path = Path(store.credentials).expanduser()
    if not path.is_file():
        return {}
    profiles = configparser.ConfigParser(interpolation=None)
    profiles.read_string(path.read_text(encoding="utf-8"))
    section = profiles[store.profile] if profiles.has_section(store.profile) else {}
    found: S3Config = {}
    for name, ours in _FROM_FILE.items():
        if name in section:
            found[ours] = section[name]  # type: ignore[literal-required]  # the three values of _FROM_FILE
    return found
