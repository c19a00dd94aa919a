"""Nodes and destinations that end with their test, however it ends."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.node import Node
from tests.support.peers import StoreSCP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Make a node; without routes, everything is cleaned by ``all-text`` and goes to every destination."""
    with ExitStack() as stack:

        def make(destinations: dict[str, Any], routes: list[dict[str, Any]] | None = None, **others: Any) -> Node:  # noqa: ANN401 - Node's
            everything = {"name": "all", "policy": "all-text", "destinations": list(destinations)}
            node = Node(tmp_path / "node", routes or [everything], destinations, **others)
            stack.callback(node.kill)
            return node

        yield make


@pytest.fixture
def make_pacs(tmp_path: Path) -> Iterator[Callable[..., StoreSCP]]:
    """Make destinations, by their AE titles; they are not started yet."""
    with ExitStack() as stack:

        def make(ae_title: str = "PACS") -> StoreSCP:
            pacs = StoreSCP(tmp_path / ae_title, ae_title)
            stack.callback(pacs.end)
            return pacs

        yield make


@pytest.fixture
def pacs(make_pacs: Callable[..., StoreSCP]) -> StoreSCP:
    """Return a destination that listens."""
    one = make_pacs()
    one.start()
    return one
