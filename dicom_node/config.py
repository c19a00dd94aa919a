"""Frozen, validated configuration from YAML, and the only reader of the environment.

Nothing starts half-configured: :func:`load` returns a whole :class:`Configuration` or raises
:class:`~dicom_node.errors.ConfigurationError`, which names the file, the key and what is allowed.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections import Counter
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from dicom_node.errors import ConfigurationError
from dicom_node.model import PolicyName, Store, WaterMarks

AE_TITLE_LENGTH = 16

NEVER_SAFE = (
    "", " ", "SMITH", "SMITH JOHN", "DOE^JANE", "ROE, A.", "4711-0815", "1234567", "A1234567", "1970-01-02",
    "02.01.1970", "2 JAN 1970", "12:34:56", "35", "056Y",
)  # fmt: skip
"""Made-up identity, and nothing at all: no pattern of safe text may match it."""

_STORE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")

LogLevel = Literal["debug", "info", "warning", "error"]
Order = Literal["any", "study"]


def _ae_title(value: str) -> str:
    """PS3.5 6.2, VR AE: at most 16 characters, no backslash or control character, not only spaces."""
    title = value.strip()
    if not title or len(title) > AE_TITLE_LENGTH or "\\" in title or not (title.isascii() and title.isprintable()):
        msg = "an AE title is 1 to 16 printable ASCII characters without a backslash"
        raise ValueError(msg)
    return title


def _network(value: str) -> str:
    ipaddress.ip_network(value)
    return value


AETitle = Annotated[str, AfterValidator(_ae_title)]
Networks = tuple[Annotated[str, AfterValidator(_network)], ...]
Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_FINGERPRINT = re.compile(r"(sha256:)?[0-9a-f]{2}(:?[0-9a-f]{2}){31}")


class ReceiveTLS(_Frozen):
    """The receiver's certificate and key in PEM, and whose certificates it wants to see.

    Keys of ``calling_ae_titles`` are names in the peer's certificate (subject CN, subject alternative names) or its
    SHA-256 fingerprint, values the Calling AE Titles that it may use. Where there are some, no other gets in.
    """

    certificate: Path
    key: Path
    ca: Path | None = None
    require_client_certificate: bool = False
    calling_ae_titles: dict[str, tuple[AETitle, ...]] = {}

    @field_validator("calling_ae_titles")
    @classmethod
    def _as_certificates_have_them(cls, titles: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        lower = {name.lower(): allowed for name, allowed in titles.items()}
        return {
            name.removeprefix("sha256:").replace(":", "") if _FINGERPRINT.fullmatch(name) else name: allowed
            for name, allowed in lower.items()
        }

    @model_validator(mode="after")
    def _is_sure(self) -> Self:
        """Refuse to ask for a certificate that could not be verified, or to go by one that need not be there."""
        if self.require_client_certificate and not self.ca:
            msg = "require_client_certificate: needs ca, the file of the CA that has signed the peers' certificates"
            raise ValueError(msg)
        if self.calling_ae_titles and not self.require_client_certificate:
            msg = "calling_ae_titles: needs require_client_certificate: true"
            raise ValueError(msg)
        return self


class Receive(_Frozen):
    """How the node is called, and by whom."""

    ae_title: AETitle = "DICOM_NODE"
    host: str = "0.0.0.0"  # noqa: S104 - modalities are other machines; `networks` and `calling_ae_titles` narrow it
    port: Port = 11112
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    any_called_ae_title: bool = False
    called_ae_titles: tuple[AETitle, ...] = ()
    calling_ae_titles: tuple[AETitle, ...] = ()
    networks: Networks = ()
    maximum_associations: PositiveInt = 50
    maximum_associations_per_peer: PositiveInt = 40
    maximum_pdu_length: Annotated[int, Field(ge=4096, le=1 << 20)] = 131072
    network_timeout: PositiveFloat = 60.0
    minimum_free_bytes: Annotated[int, Field(ge=0)] = 1 << 30
    resume_free_bytes: Annotated[int, Field(ge=0)] = 0
    high_water_bytes: Annotated[int, Field(ge=0)] = 0
    low_water_bytes: Annotated[int, Field(ge=0)] = 0
    tls: ReceiveTLS | None = None

    @property
    def water_marks(self) -> WaterMarks:
        """The four bounds; what is 0 follows from its neighbour, an eighth further on."""
        least, high = self.minimum_free_bytes, self.high_water_bytes
        resume, low = self.resume_free_bytes or least + least // 8, self.low_water_bytes or high - high // 8
        return WaterMarks(least, resume, high, low)

    @model_validator(mode="after")
    def _marks_are_in_order(self) -> Self:
        if 0 < self.resume_free_bytes < self.minimum_free_bytes:
            msg = f"resume_free_bytes: allowed are 0 and {self.minimum_free_bytes} (minimum_free_bytes) or more"
            raise ValueError(msg)
        if self.low_water_bytes > self.high_water_bytes:
            msg = f"low_water_bytes: allowed are 0 to {self.high_water_bytes} (high_water_bytes)"
            raise ValueError(msg)
        return self


class Queue(_Frozen):
    """Spool, ledger and how long things take."""

    lease_seconds: PositiveFloat = 20.0
    poll_seconds: PositiveFloat = 0.5
    retry_seconds: PositiveFloat = 5.0
    retry_maximum_seconds: PositiveFloat = 600.0
    drain_seconds: PositiveFloat = 30.0


Days = Annotated[float, Field(ge=0)] | Literal["keep"]
_SECONDS_OF_A_DAY = 86400.0


class Retention(_Frozen):
    """How many days things stay that are done: ``originals`` of instances that are sent, and ``rows`` of the ledger.

    Originals go before their rows: a row without bytes is history, bytes without a row have just arrived.
    """

    originals: Days = 0.0
    rows: Days = 90.0

    @property
    def originals_seconds(self) -> float:
        """How long an original stays; infinity when only an operator deletes it."""
        return _seconds(self.originals)

    @property
    def rows_seconds(self) -> float:
        """How long a row stays; infinity for ever."""
        return _seconds(self.rows)

    @model_validator(mode="after")
    def _rows_stay_longer(self) -> Self:
        if self.rows_seconds < self.originals_seconds:
            msg = "rows: allowed is not less than originals: a row is what says that an original is done"
            raise ValueError(msg)
        return self


def _seconds(days: float | str) -> float:
    return math.inf if isinstance(days, str) else days * _SECONDS_OF_A_DAY


class Redact(_Frozen):
    """How text is found and what is put in its place."""

    detector: Literal["pp-ocr", "tesseract"] = "pp-ocr"
    profile: Literal["thorough", "fast"] = "thorough"
    processes: Annotated[int, Field(ge=0)] = 0
    fill: Literal["black", "background", "contrast"] | Annotated[int, Field(ge=-(1 << 31), lt=1 << 32)] = "black"
    tesseract_language: str = "eng"
    spacy_model: str = ""
    reading_language: str = ""
    maximum_bytes: PositiveInt = 2 << 30
    limit_seconds: PositiveFloat = 1800.0

    @field_validator("spacy_model")
    @classmethod
    def _is_installed(cls, name: str) -> str:
        """Refuse what spaCy would not find, or Presidio's engine would download."""
        if name and not (name.isidentifier() and any(distributions(name=name))):
            msg = f"no spaCy pipeline {name!r} is installed; install it as a package (pip install), or leave it empty"
            raise ValueError(msg)
        return name


class DestinationTLS(_Frozen):
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


class DicomDestination(_Frozen):
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


class FolderDestination(_Frozen):
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


class Route(_Frozen):
    """The first route whose every ``match`` line fits an instance decides its policy and destinations.

    ``networks``, where there are some, are those of which the peer's address has to be in one. Keys of ``match`` are
    ``CalledAETitle``, ``CallingAETitle`` or attribute keywords (PS3.6); values are wildcard patterns (``*``, ``?``) or
    lists of them, of which one has to fit. Case counts. ``second_look`` is what ``strict`` says unless it is given.
    ``priority`` is that of a C-STORE-RQ (PS3.7): ``high`` is worked on as if it had come a day earlier, ``low`` as if a
    day later.
    """

    name: Name
    match: dict[str, tuple[str, ...]] = {}
    networks: Networks = ()
    policy: PolicyName = "keep-safe-text"
    rules: tuple[Path, ...] = ()
    ultrasound_regions: bool = False
    safe_text: tuple[str, ...] = ()
    overlays: Literal["remove", "redact"] = "remove"
    documents: Literal["hold", "remove"] = "hold"
    annotations: Literal["hold", "remove"] = "hold"
    strict: bool = False
    second_look: bool | None = None
    priority: Literal["low", "medium", "high"] = "medium"
    destinations: Annotated[tuple[Name, ...], Field(min_length=1)]

    @field_validator("match", mode="before")
    @classmethod
    def _as_lists(cls, match: object) -> object:
        if not isinstance(match, dict):
            return match
        return {key: [value] if isinstance(value, (str, int, float)) else value for key, value in match.items()}

    @field_validator("match", mode="after")
    @classmethod
    def _known_keys(cls, match: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        unknown = set(match) - {"CalledAETitle", "CallingAETitle"}
        if unknown:
            from pydicom.datadict import tag_for_keyword  # noqa: PLC0415 - a second, which the default need not wait

            unknown = {key for key in unknown if tag_for_keyword(key) is None}
        if unknown:
            msg = f"{_listed(sorted(unknown))}: neither CalledAETitle, CallingAETitle nor an attribute keyword of PS3.6"
            raise ValueError(msg)
        return match

    @field_validator("safe_text")
    @classmethod
    def _is_narrow(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse what is no regular expression, or would spare what is about a person."""
        for pattern in patterns:
            try:
                spared = [text for text in NEVER_SAFE if re.fullmatch(pattern, text, re.IGNORECASE)]
            except re.error as error:
                msg = f"{pattern!r} is not a regular expression: {error}"
                raise ValueError(msg) from None
            if spared:
                msg = f"{pattern!r} would also spare {spared[0]!r}; allowed are patterns of one technical text"
                raise ValueError(msg)
        return patterns


class Configuration(_Frozen):
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
                        f"routes.{index}.destinations: no destination {name!r}; there are: {_listed(self.destinations)}"
                    )
                    raise ValueError(msg)
        for name, count in Counter(route.name for route in self.routes).items():
            if count > 1:
                msg = f"routes: the name {name!r} is used {count} times; names are unique"
                raise ValueError(msg)
        return self


def load(path: Path, **overrides: Any) -> Configuration:  # noqa: ANN401 - values as YAML or argv gives them
    """Read a configuration file.

    Parameters
    ----------
    path : Path
        The YAML file. Relative folders in it are relative to the working directory.
    **overrides
        ``data_dir``, ``port``, ``log_level``: what the command line said; ``None`` leaves the file's value. The
        environment's ``LOG_LEVEL`` and ``DICOM_NODE_DATA_DIR`` come between the two.

    Raises
    ------
    ConfigurationError
        With the file, each key that is wrong and what is allowed there.
    """
    content = _read(path)
    data_dir = overrides.get("data_dir") or os.environ.get("DICOM_NODE_DATA_DIR")
    log_level = overrides.get("log_level") or os.environ.get("LOG_LEVEL", "").lower()
    if data_dir:
        content["data_dir"] = data_dir
    if log_level:
        content["log_level"] = log_level
    if overrides.get("port") is not None:
        content["receive"] = {**(content.get("receive") or {}), "port": overrides["port"]}
    try:
        return Configuration.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(_explained(path, error)) from None


def read_rule_items(path: Path) -> list[Any]:
    """Read a file of rules in YAML; each rule is checked by redaction's own reader.

    Raises
    ------
    ConfigurationError
        When it cannot be read, is not YAML, or is not a list.
    """
    items = _parsed(path)
    if not isinstance(items, list):
        msg = f"{path}: has to be a list of rules"
        raise ConfigurationError(msg)
    return items


def _read(path: Path) -> dict[str, Any]:
    content = _parsed(path)
    if not isinstance(content, dict):
        msg = f"{path}: has to be a mapping with the keys {_listed(Configuration.model_fields)}"
        raise ConfigurationError(msg)
    return content


def _parsed(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise ConfigurationError(msg) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f"{path}: is not YAML: {error}"
        raise ConfigurationError(msg) from None


def _explained(path: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        kinds = {"ae", "folder"} if "destinations" in problem["loc"] else set()
        key = ".".join(str(part) for part in problem["loc"] if part not in kinds) or "(the whole file)"
        said = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            said = f"no such key; allowed are {_listed(_fields_at(problem['loc'][:-1]))}"
        lines.append(f"{path}: {key}: {said}")
    return "\n".join(lines)


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """List the keys that are allowed where an unknown one was found."""
    sections: dict[str, type[BaseModel]] = {
        "receive": Receive,
        "queue": Queue,
        "retention": Retention,
        "redact": Redact,
        "routes": Route,
        "ae": DicomDestination,
        "folder": FolderDestination,
    }
    if location and location[-1] == "tls":
        return list((ReceiveTLS if "receive" in location else DestinationTLS).model_fields)
    for part in reversed(location):
        if part in sections:
            return list(sections[str(part)].model_fields)
    return list(Configuration.model_fields)


def _listed(names: Any) -> str:  # noqa: ANN401 - any iterable of strings
    return ", ".join(names)
