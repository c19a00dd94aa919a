"""Digests of this release and of older ones."""

from __future__ import annotations

import hashlib

import pytest

from dicom_node.queue.digest import Digest

EMPTY = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
ABC = "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"


@pytest.mark.parametrize(("content", "text"), [(b"", EMPTY), (b"abc", ABC)])
def test_it_is_blake3_and_says_so(content: bytes, text: str) -> None:
    assert Digest(content).text == text
    assert Digest(content, like=text).text == text


@pytest.mark.parametrize("like", [EMPTY, hashlib.sha256(b"other").hexdigest(), ""])
def test_it_is_the_same_in_one_piece_and_in_several(like: str) -> None:
    digest = Digest(b"a", like)
    digest.update(memoryview(b"b"))
    digest.update(bytearray(b"c"))
    assert digest.text == Digest(b"abc", like).text


def test_what_an_older_release_wrote_is_compared_in_its_own_way() -> None:
    theirs = hashlib.sha256(b"abc").hexdigest()
    assert Digest(b"abc", theirs).text == theirs
    assert Digest(b"abd", theirs).text != theirs
