"""The whole configuration: its sections agree with each other."""

from __future__ import annotations

import os
import re
from collections import Counter
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dicom_node.config.destinations import Destination, DicomDestination, FolderDestination
from dicom_node.config.node import Queue, Redact, Retention
from dicom_node.config.receive import Receive
from dicom_node.config.routes import Route
from dicom_node.config.types import Frozen, Name, listed
from dicom_node.model import Store

_STORE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")

LogLevel = Literal["debug", "info", "warning", "error"]


class Configuration(Frozen):
    """Everything the node is told."""

    data_dir: Path = Path("data")
    ledger: str = ""
    spool: str = ""
    log_level: LogLevel = "info"
    receive: Receive = Receive()
    queue: Queue = Queue()
    retention: Retention = Retention()
    redact: Redact = Redact()
    destinations: Annotated[dict[Name, Destination], Field(min_length=1)]
    routes: Annotated[tuple[Route, ...], Field(min_length=1)]

    @property
    def redactors(self) -> int:
        """Redactor processes: one per core unless it is configured."""
        return self.redact.processes or os.cpu_count() or 1

    @property
    def committing(self) -> dict[str, DicomDestination]:
        """Destinations that have to commit to the storage of what they are sent."""
        return {
            name: destination
            for name, destination in self.destinations.items()
            if isinstance(destination, DicomDestination) and destination.storage_commitment
        }

    @property
    def reporters(self) -> dict[str, list[str]]:
        """AE titles that may report on storage commitment, and the destinations that each reports for."""
        titles = {name: destination.ae_title for name, destination in self.committing.items()}
        return {title: [name for name in titles if titles[name] == title] for title in titles.values()}

    def address(self, name: str) -> str:
        """Say where a destination is, for people."""
        destination = self.destinations[name]
        if isinstance(destination, FolderDestination):
            return f"folder {self.data_dir / destination.folder}"
        return f"AE title {destination.ae_title} on {destination.host}, port {destination.port}"

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger; SQLite beside the spool when none is configured."""
        return self.ledger or f"sqlite:///{self.data_dir / 'ledger.db'}"

    @property
    def store(self) -> Store | None:
        """The store of the spool, if it has one, as this process's environment says how to reach it.

        Keys in the environment are obstore's to read: they are not in here.
        """
        told = os.environ
        if not self.spool:
            return None
        has_keys = "AWS_ACCESS_KEY_ID" in told
        return Store(
            url=self.spool,
            endpoint=told.get("AWS_ENDPOINT_URL_S3") or told.get("AWS_ENDPOINT_URL", ""),
            authorities=told.get("AWS_CA_BUNDLE", ""),
            credentials="" if has_keys else told.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
            profile=told.get("AWS_PROFILE", "default"),
        )

    @field_validator("ledger")
    @classmethod
    def _is_supported(cls, url: str) -> str:
        """Refuse what the ledger cannot use; the URL is not quoted, because a password can be in it."""
        if url and not url.startswith(("sqlite:///", "postgresql+psycopg://")):
            msg = "allowed are sqlite:///<file>, postgresql+psycopg://<user>@<host>/<database>, or nothing"
            raise ValueError(msg)
        if url.startswith("postgresql") and not any(distributions(name="psycopg")):
            msg = "PostgreSQL needs psycopg, which is not installed: pip install 'dicom-node[postgresql]'"
            raise ValueError(msg)
        return url

    @field_validator("spool")
    @classmethod
    def _is_a_store(cls, url: str) -> str:
        """Refuse what names no bucket; the URL is not quoted, because somebody may have put a key into it."""
        if url and not _STORE.fullmatch(url):
            msg = "allowed are s3://<bucket>, s3://<bucket>/<prefix>, or nothing; keys come from the AWS_ variables"
            raise ValueError(msg)
        if url and not any(distributions(name="obstore")):
            msg = "an S3-compatible store needs obstore, which is not installed: pip install 'dicom-node[s3]'"
            raise ValueError(msg)
        return url

    @model_validator(mode="after")
    def _reports_get_in(self) -> Self:
        """Refuse what would keep out the report of a destination that is to commit."""
        receive = self.receive
        for name, destination in self.committing.items():
            called = destination.calling_ae_title or receive.ae_title
            if receive.calling_ae_titles and destination.ae_title not in receive.calling_ae_titles:
                msg = f"destinations.{name}.storage_commitment: its reports come from {destination.ae_title}: "
                raise ValueError(msg + "receive.calling_ae_titles has to have it")
            if not receive.any_called_ae_title and called not in {receive.ae_title, *receive.called_ae_titles}:
                msg = f"destinations.{name}.storage_commitment: its reports go to {called}: "
                raise ValueError(msg + "receive.called_ae_titles has to have it")
        return self

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        for index, route in enumerate(self.routes):
            for name in route.destinations:
                if name not in self.destinations:
                    msg = (
                        f"routes.{index}.destinations: no destination {name!r}; there are: {listed(self.destinations)}"
                    )
                    raise ValueError(msg)
        for name, count in Counter(route.name for route in self.routes).items():
            if count > 1:
                msg = f"routes: the name {name!r} is used {count} times; names are unique"
                raise ValueError(msg)
        return self
