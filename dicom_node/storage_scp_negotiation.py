"""A-ASSOCIATE (PS3.8 9.3.2 to 9.3.4): who asks, whether he gets in, and what he may send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification

from dicom_node.storage_commitment import PUSH_MODEL
from dicom_node.storage_scp_commitment import REPORT_SYNTAXES, granted_role, offers_reports, takes_reports

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pydicom.uid import UID

_PIXEL_SYNTAXES = frozenset(
    "1.2.840.10008.1.2" + suffix
    for suffix in (
        *("", ".1", ".1.99", ".2", ".5"),  # native, deflated, big endian; RLE
        *(".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81"),  # JPEG, JPEG-LS
        *(".4.90", ".4.91", ".4.92", ".4.93", ".4.201", ".4.202", ".4.203"),  # JPEG 2000, its part 2, HTJ2K
        *(f".4.{number}{fragmentable}" for number in range(100, 107) for fragmentable in ("", ".1")),  # MPEG2, MPEG-4
        *(".4.107", ".4.108"),  # HEVC
    )
)
"""Transfer syntaxes that carry the pixels themselves (PS3.5 A): JPIP does not, and private ones are anybody's guess."""

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_ACCEPTED, _ABSTRACT_SYNTAX_NOT_SUPPORTED, _TRANSFER_SYNTAXES_NOT_SUPPORTED = 0x00, 0x03, 0x04

Rejection = tuple[int, int, int]
"""Result, source and reason (PS3.8 9.3.4)."""

CALLED_AE_TITLE_NOT_RECOGNISED: Rejection = (0x01, 0x01, 0x07)
CALLING_AE_TITLE_NOT_RECOGNISED: Rejection = (0x01, 0x01, 0x03)
USER_IDENTITY: Rejection = (0x02, 0x02, 0x01)
LOCAL_LIMIT_EXCEEDED: Rejection = (0x02, 0x03, 0x02)
REASONS = {
    CALLED_AE_TITLE_NOT_RECOGNISED: "called AE title",
    CALLING_AE_TITLE_NOT_RECOGNISED: "calling AE title",
    USER_IDENTITY: "user identity",
    LOCAL_LIMIT_EXCEEDED: "local limit",
}


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


class Request:
    """An A-ASSOCIATE-RQ.

    Parameters
    ----------
    content : bytes
        The PDU, with its header.
    reporters : collection of str
        Calling AE Titles that may report on storage commitment.

    Raises
    ------
    Exception
        Whatever pynetdicom raises when it is none.
    """

    def __init__(self, content: bytes, reporters: Collection[str] = ()) -> None:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(content)
        self._primitive = pdu.to_primitive()
        self._items = self._primitive.user_information
        self.calling_ae_title = str(self._primitive.calling_ae_title)
        self.called_ae_title = str(self._primitive.called_ae_title)
        self.maximum_length = int(self._item(MaximumLengthNotification).maximum_length_received)
        offered = {PUSH_MODEL} if self.calling_ae_title in reporters and offers_reports(self._items) else set()
        self._answers = [
            _answered(context, offered) for context in self._primitive.presentation_context_definition_list
        ]

    @property
    def has_user_identity(self) -> bool:
        """Whether it wants a user to be recognised (PS3.7 D.3.3.7): the node knows none."""
        return self._item(UserIdentityNegotiation) is not None

    @property
    def contexts(self) -> Mapping[int, Context]:
        """The presentation contexts that are accepted, by their ids."""
        accepted = [context for context in self._answers if context.result == _ACCEPTED]
        return {
            context.context_id: Context(str(context.abstract_syntax), str(context.transfer_syntax[0]))
            for context in accepted
        }

    def accepted(self, maximum_length: int) -> bytes:
        """Encode the A-ASSOCIATE-AC."""
        primitive = self._answer(0x00, 0x01)
        primitive.presentation_context_definition_results_list = self._answers
        length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
        version, window = ImplementationVersionNameNotification(), AsynchronousOperationsWindowNegotiation()
        length.maximum_length_received = maximum_length
        implementation.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
        version.implementation_version_name = PYNETDICOM_IMPLEMENTATION_VERSION
        # PS3.7 D.3.3.3: C-STORE is answered in the order it comes.
        window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 1
        is_asked = self._item(AsynchronousOperationsWindowNegotiation) is not None
        roles = [granted_role()] if any(map(takes_reports, self.contexts.values())) else []
        primitive.user_information = [length, implementation, version, *([window] if is_asked else []), *roles]
        return _encoded(A_ASSOCIATE_AC(), primitive)

    def rejected(self, rejection: Rejection) -> bytes:
        """Encode the A-ASSOCIATE-RJ."""
        result, source, diagnostic = rejection
        primitive = self._answer(result, source)
        primitive.diagnostic = diagnostic
        return _encoded(A_ASSOCIATE_RJ(), primitive)

    def _answer(self, result: int, source: int) -> A_ASSOCIATE:
        primitive = A_ASSOCIATE()
        primitive.application_context_name = _APPLICATION_CONTEXT
        primitive.calling_ae_title = self._primitive.calling_ae_title
        primitive.called_ae_title = self._primitive.called_ae_title
        primitive.result, primitive.result_source = result, source
        return primitive

    def _item(self, kind: type) -> Any:  # noqa: ANN401 - an item of user information, of this kind
        return next((item for item in self._items if isinstance(item, kind)), None)


def _answered(requested: PresentationContext, offered: Collection[str]) -> PresentationContext:
    """Answer a presentation context (PS3.8 9.3.3.2): the requestor's first transfer syntax that is of use.

    Parameters
    ----------
    requested : PresentationContext
    offered : collection of str
        Abstract syntaxes of reports that are accepted beside storage.
    """
    is_report = requested.abstract_syntax in offered
    syntaxes = REPORT_SYNTAXES if is_report else _PIXEL_SYNTAXES
    receivable = [syntax for syntax in requested.transfer_syntax if syntax in syntaxes]
    answer = PresentationContext()
    answer.context_id = requested.context_id
    answer.abstract_syntax = requested.abstract_syntax
    answer.transfer_syntax = (receivable or requested.transfer_syntax)[:1]
    if not (is_report or _is_served(requested.abstract_syntax)):
        answer.result = _ABSTRACT_SYNTAX_NOT_SUPPORTED
    else:
        answer.result = _ACCEPTED if receivable else _TRANSFER_SYNTAXES_NOT_SUPPORTED
    return answer


def _is_served(sop_class: UID) -> bool:
    """Whether this is Verification, or storage; a class that PS3.6 does not name is taken for storage."""
    name = sop_class.name
    is_storage = "Storage" in name and "Storage Commitment" not in name
    return name in {"", sop_class} or sop_class == Verification or is_storage


def _encoded(pdu: Any, primitive: A_ASSOCIATE) -> bytes:  # noqa: ANN401 - pynetdicom's PDUs have no common type
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())
