"""What became of what a modality has had Success for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydicom import dcmread

from tests.support.burned_in import is_clean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path


class Balance(NamedTuple):
    """Counts of instances, and of files that arrived.

    Attributes
    ----------
    delivered, held, lost : int
        Instances that had Success: they arrived, wait for an operator with a reason, or neither.
    unclean : int
        Files that arrived with ink of the identity, or with anything else touched.
    resends : int
        Files that arrived beside the first of their instance.
    unlike : int
        Of the resends, those that are not byte for byte the first.
    strangers : int
        Instances that arrived and that nobody sent.
    """

    delivered: int
    held: int
    lost: int
    unclean: int
    resends: int
    unlike: int
    strangers: int


def balance(confirmed: Collection[str], held: Collection[str], arrivals: Mapping[str, Sequence[Path]]) -> Balance:
    """Compare what had Success, by SOP Instance UID, with what arrived and what is held."""
    sent = set(confirmed)
    files = [path for paths in arrivals.values() for path in paths]
    resends = [(paths[0], again) for paths in arrivals.values() for again in paths[1:]]
    return Balance(
        delivered=len(sent & set(arrivals)),
        held=len(sent & set(held)),
        lost=len(sent - set(arrivals) - set(held)),
        unclean=sum(not is_clean(path) for path in files),
        resends=len(resends),
        unlike=sum(first.read_bytes() != again.read_bytes() for first, again in resends),
        strangers=len(set(arrivals) - sent),
    )


def data_set_of(path: Path) -> bytes:
    """Return the encoded data set of a file, without preamble and File Meta Information."""
    meta = dcmread(path, specific_tags=["SOPInstanceUID"]).file_meta
    return path.read_bytes()[144 + meta.FileMetaInformationGroupLength :]
