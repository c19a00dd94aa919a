"""The commands of ``dicom-node queue``: what an operator sees, and does to one instance or to thousands."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from dicom_node.errors import ConfigurationError
from dicom_node.model import PolicyName, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dicom_node.config import Configuration
    from dicom_node.model import Delivery, Kept
    from dicom_node.queue import EntrySummary, Queue, Selection

OK, ERROR, HELD = 0, 1, 2

_AT_ONCE = 500
"""Instances in one transaction: a worker that claims one waits for no longer than that takes."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser of ``queue``."""
    listed = commands.add_parser("list", help="the latest instances")
    listed.add_argument("--limit", type=int, default=100)
    listed.add_argument("--summary", action="store_true", help="how many for each state and reason, instead")
    listed.set_defaults(command=_list)
    shown = commands.add_parser("show", help="one instance and its deliveries")
    shown.add_argument("id", help="the beginning of an id is enough")
    shown.set_defaults(command=_show)
    for name, command, text in (
        ("retry", _retry, "try again what is held"),
        ("release", _release, "let held instances take another policy"),
        ("drop", _drop, "delete instances that have not been sent"),
        ("purge", _purge, "delete originals that are kept of what was sent"),
    ):
        parser = commands.add_parser(name, help=text)
        parser.add_argument("id", nargs="?", help="the beginning of an id is enough; or say which ones")
        parser.add_argument("--all", action="store_true", help="all that the command can be used on")
        parser.add_argument("--limit", type=int, help="at most so many, the oldest first")
        parser.add_argument("--dry-run", action="store_true", help="count what would be done, for each reason")
        parser.add_argument("--yes", action="store_true", help="without a question")
        parser.set_defaults(command=command)
    release, drop = commands.choices["release"], commands.choices["drop"]
    release.add_argument("--policy", choices=get_args(PolicyName), required=True)
    release.add_argument("--to", action="append", metavar="DESTINATION", help="all destinations by default")
    drop.add_argument("--overwrite", action="store_true", help="what is held: write over the bytes, forget the UIDs")
    for parser in (listed, drop):
        parser.add_argument("--state", choices=[state.value for state in State], action="append")
    for name in ("list", "retry", "release", "drop", "purge"):
        _takes_selection(commands.choices[name])
    for parser in commands.choices.values():
        takes_configuration(parser)


def takes_configuration(parser: argparse.ArgumentParser) -> None:
    """Let a command be told which node it is about."""
    parser.add_argument("--config", type=Path, default=Path("config/node.yaml"))
    parser.add_argument("--data-dir", type=Path, help="instead of data_dir")


def configuration_of(arguments: argparse.Namespace) -> Configuration:
    """Read the configuration that a command is told of."""
    from dicom_node.config import load

    port = getattr(arguments, "port", None)
    return load(arguments.config, data_dir=arguments.data_dir, port=port)


def _takes_selection(parser: argparse.ArgumentParser) -> None:
    which = parser.add_argument_group("which ones", "all that is given has to hold")
    which.add_argument("--reason", default="", help="a part of the reason, as `list` shows it; case does not count")
    which.add_argument("--destination", default="", help="where it goes; retry tries only this one again")
    which.add_argument("--calling-ae-title", default="", help="who sent it")
    which.add_argument("--older-than", type=_age, metavar="AGE", help="received so long ago: 90s, 15m, 12h, 30d")
    which.add_argument("--newer-than", type=_age, metavar="AGE", help="received since then")


def _age(text: str) -> float:
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text):
        return float(match[1]) * _SECONDS[match[2]]
    msg = "a number and s, m, h or d: 90s, 15m, 12h, 30d"
    raise argparse.ArgumentTypeError(msg)


def _selection(arguments: argparse.Namespace, *states: State) -> Selection:
    from dicom_node.queue import Selection

    now = time.time()
    return Selection(
        states=states,
        reason=arguments.reason,
        destination=arguments.destination,
        calling_ae_title=arguments.calling_ae_title,
        received_before=None if arguments.older_than is None else now - arguments.older_than,
        received_after=None if arguments.newer_than is None else now - arguments.newer_than,
    )


def _open(arguments: argparse.Namespace) -> tuple[Configuration, Queue]:
    from dicom_node.queue import open_queue

    configuration = configuration_of(arguments)
    return configuration, open_queue(configuration.data_dir, configuration.ledger_url, store=configuration.store)


# --- looking ----------------------------------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:
    _, queue = _open(arguments)
    selection = _selection(arguments, *map(State, arguments.state or ()))
    if arguments.summary:
        _print_summary(queue, queue.ledger.ids(selection))
    else:
        for summary in queue.ledger.entries(limit=arguments.limit, selection=selection):
            print(_row(summary))
    counted = ", ".join(f"{count} {state}" for state, count in queue.ledger.counts().items() if count)
    print(counted or "empty", file=sys.stderr)
    if used := queue.spool.used_bytes():
        print(_usage(queue.ledger.kept(), used), file=sys.stderr)
    return OK


def _usage(kept: dict[State, Kept], used: int) -> str:
    """Say what the spool's bytes wait for; what is on the disk beside is being received or written, or is left over."""
    size = {state: each.original_bytes + each.clean_bytes for state, each in kept.items()}
    waiting = sum(size[state] for state in (State.RECEIVED, State.REDACTED, State.STORED))
    return f"bytes: {waiting} waiting, {size[State.HELD]} held, {used} on the disk"


def _row(summary: EntrySummary) -> str:
    entry = summary.entry
    received = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.origin.received_at))
    fields = [entry.id[:12], received, f"{summary.state.value:8}", f"{entry.size:>10}", entry.origin.calling_ae_title]
    return "  ".join(fields) + (f"  {summary.reason}" if summary.reason else "")


def _show(arguments: argparse.Namespace) -> int:
    _, queue = _open(arguments)
    summary = queue.ledger.entry(arguments.id)
    entry = summary.entry
    shown = {
        "id": entry.id,
        "state": summary.state.value,
        "reason": summary.reason or "-",
        "received": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.origin.received_at)),
        "from": f"{entry.origin.calling_ae_title} at {entry.origin.peer_address}",
        "called": entry.origin.called_ae_title,
        "SOP class": entry.instance.sop_class_uid,
        "transfer syntax": entry.instance.transfer_syntax_uid,
        "bytes": entry.size,
        "attempts": entry.attempts,
        "released to": entry.policy or "-",
        "same UID, other bytes": "yes" if entry.conflict else "no",
    }
    for name, value in shown.items():
        print(f"{name:22} {value}")
    for delivery in summary.deliveries:
        print(f"{'delivery':22} {_delivery_row(delivery)}")
    return OK


def _delivery_row(delivery: Delivery) -> str:
    status = "" if delivery.status is None else f"  {delivery.status:04X}H"
    return f"{delivery.destination}  {delivery.state.value}{status}  {delivery.reason or ''}".rstrip()


def _print_summary(queue: Queue, ids: Sequence[str]) -> None:
    found = Counter(
        (each.state.value, each.reason or "-") for some in _batches(ids) for each in queue.ledger.entries_of(some)
    )
    for (state, reason), count in found.most_common():
        print(f"{count:>8}  {state:8}  {reason}")


# --- doing ------------------------------------------------------------------------------------------------------------


def _retry(arguments: argparse.Namespace) -> int:
    _, queue = _open(arguments)

    def retry(ids: Sequence[str]) -> int:
        return queue.ledger.retry_all(ids, arguments.destination)

    return _do(arguments, queue, (State.HELD,), retry, ("try again", "tried again"))


def _release(arguments: argparse.Namespace) -> int:
    configuration, queue = _open(arguments)
    destinations = arguments.to or list(configuration.destinations)
    unknown = [name for name in destinations if name not in configuration.destinations]
    if unknown:
        msg = f"--to: no destination {', '.join(unknown)}; there are: {', '.join(configuration.destinations)}"
        raise ConfigurationError(msg)

    def release(ids: Sequence[str]) -> int:
        return queue.ledger.release_all(ids, arguments.policy, destinations)

    words = f"release to {arguments.policy}, for {', '.join(destinations)}:", f"released to {arguments.policy}"
    return _do(arguments, queue, (State.HELD,), release, words, asks=True)


def _drop(arguments: argparse.Namespace) -> int:
    configuration, queue = _open(arguments)
    states = tuple(map(State, arguments.state or [State.HELD]))
    if arguments.overwrite and configuration.store:
        msg = "--overwrite: only files of a spool in data_dir; what stands in a store cannot be overwritten"
        raise ConfigurationError(msg)
    if arguments.overwrite and states != (State.HELD,):
        msg = "--overwrite: only what is HELD: the bytes of other instances may be on their way"
        raise ConfigurationError(msg)

    def drop(ids: Sequence[str]) -> int:
        return queue.drop_all(ids, overwrite=arguments.overwrite)

    words = "overwrite and delete" if arguments.overwrite else "delete", "dropped, and their bytes deleted"
    return _do(arguments, queue, states, drop, words, asks=True)


def _purge(arguments: argparse.Namespace) -> int:
    _, queue = _open(arguments)

    def purge(ids: Sequence[str]) -> int:
        return sum(queue.purge(entry_id) for entry_id in ids)

    words = "delete the originals, where they are kept, of", "originals deleted"
    return _do(arguments, queue, (State.SENT,), purge, words, asks=True)


def _do(
    arguments: argparse.Namespace,
    queue: Queue,
    states: tuple[State, ...],
    change: Callable[[Sequence[str]], int],
    words: tuple[str, str],
    *,
    asks: bool = False,
) -> int:
    """Carry a command out on one instance, or on all that are meant; ``words`` say what it will do, and has done."""
    ids = _meant(arguments, queue, states)
    if arguments.id is None or arguments.dry_run:
        _print_summary(queue, ids)
    if arguments.dry_run:
        print(f"would {words[0]} {_counted(ids)}; nothing was changed")
        return OK
    if asks and ids and arguments.id is None and not (arguments.yes or _agreed(f"{words[0]} {_counted(ids)}?")):
        print("nothing was changed", file=sys.stderr)
        return ERROR
    changed = sum(change(some) for some in _batches(ids))
    print(f"{words[1]}: {changed} of {_counted(ids)}")
    return ERROR if arguments.id is not None and not changed else OK


def _meant(arguments: argparse.Namespace, queue: Queue, states: tuple[State, ...]) -> list[str]:
    chosen = _selection(arguments, *states)
    is_chosen = chosen != _selection_of_all(states) or arguments.limit is not None or getattr(arguments, "state", None)
    if arguments.id is not None:
        if is_chosen or arguments.all:
            msg = "an id, or which ones: not both"
            raise ConfigurationError(msg)
        return [queue.ledger.entry(arguments.id).entry.id]
    if not (is_chosen or arguments.all):
        msg = "which ones? an id, --reason, --destination, --calling-ae-title, --older-than, --newer-than, or --all"
        raise ConfigurationError(msg)
    return queue.ledger.ids(chosen, arguments.limit)


def _selection_of_all(states: tuple[State, ...]) -> Selection:
    from dicom_node.queue import Selection

    return Selection(states)


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        msg = f"{question} nobody can be asked here: --yes, or --dry-run"
        raise ConfigurationError(msg)
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _counted(ids: Sequence[str]) -> str:
    return f"{len(ids)} instance{'' if len(ids) == 1 else 's'}"


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
