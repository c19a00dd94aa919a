"""Which of the found text goes.

A policy decides by what a box says and by how surely that was read. Whatever is not sure goes: an empty or doubtful
reading is never a reason to leave pixels as they are. Header values only ever force redaction, they never spare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dicom_node.errors import Hold
from dicom_node.redaction.header import HeaderValues
from dicom_node.redaction.identity import kind_of_identity
from dicom_node.redaction.readings import is_legible, normal
from dicom_node.redaction.safe_text import is_safe

if TYPE_CHECKING:
    from pydicom import Dataset

    from dicom_node.model import Kind
    from dicom_node.redaction.reading import Reading

SURE = 0.85
"""Confidence from which a reading may spare text; in ``phi-only`` text that is not known to be safe."""

SURE_OF_MARK = 0.9
"""The same for a mark of one or two letters: specks and parts of organs read as those."""

MARK = 2


class Verdict(NamedTuple):
    """Whether a box goes, and what kind of identity it told."""

    goes: bool
    kind: Kind = ""


class Decision:
    """Decides for one instance.

    Parameters
    ----------
    policy : str
        ``all-text``, ``keep-safe-text`` or ``phi-only``.
    dataset : pydicom.Dataset
        Its header values are looked for in the readings.
    safe_text : tuple of str
        Regular expressions of text that is safe as well.
    spacy_model : str
        An installed spaCy pipeline that looks for names and places, in ``phi-only``; empty for none.

    Raises
    ------
    Hold
        For any other policy: nothing is sent on a word that is not understood.
    """

    def __init__(self, policy: str, dataset: Dataset, safe_text: tuple[str, ...] = (), spacy_model: str = "") -> None:
        if policy not in {"all-text", "keep-safe-text", "phi-only"}:
            msg = f"no such policy: {policy}"
            raise Hold(msg)
        self._policy = policy
        self._safe_text, self._spacy_model = safe_text, spacy_model
        if self.reads:
            self._header = HeaderValues(dataset)

    @property
    def reads(self) -> bool:
        """Whether the decision depends on what the text says."""
        return self._policy != "all-text"

    def goes(self, reading: Reading) -> bool:
        """Whether the box with this reading is painted."""
        return self.verdict(reading).goes

    def verdict(self, reading: Reading) -> Verdict:
        """Decide about the box with this reading."""
        text = normal(reading.text)
        if self._policy == "phi-only" and self._header.is_unreadable:
            return Verdict(goes=True)  # the name would read as other letters, and not be known
        if not is_legible(text, reading.confidence):
            return Verdict(goes=True)
        if kind := self._header.kind_of(text):
            return Verdict(goes=True, kind=kind)
        if is_safe(text, self._safe_text):
            return Verdict(goes=self._policy == "keep-safe-text" and not _is_sure(text, reading.confidence))
        kind = kind_of_identity(text, self._safe_text, self._spacy_model)
        stays = self._policy == "phi-only" and not kind and reading.confidence >= SURE
        return Verdict(goes=not stays, kind=kind)


def _is_sure(text: str, confidence: float) -> bool:
    return confidence >= (SURE_OF_MARK if len(text) <= MARK else SURE)
