"""argv in, exit code out. Commands import what they need: ``echo`` needs no codec, ``check`` no network."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from dicom_node import __version__, log
from dicom_node.errors import ConfigurationError, DicomNodeError
from dicom_node.model import PolicyName, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_node.config import Configuration
    from dicom_node.destinations import Sender
    from dicom_node.model import Delivery, Kept
    from dicom_node.queue import EntrySummary, Queue

OK, ERROR, HELD = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns
    -------
    int
        0 when it did what was asked, 1 when it could not work, 2 when something is held.
    """
    arguments = _parser().parse_args(argv)
    log.configure("info" if arguments.command is _serve else "error")
    try:
        code: int = arguments.command(arguments)
    except (DicomNodeError, LookupError) as error:
        print(f"dicom-node: {error.args[0]}", file=sys.stderr)
        return ERROR
    except BrokenPipeError:  # `queue list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dicom-node", description="Takes burned-in identity out of DICOM images.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the node: receive, clean, forward")
    _takes_configuration(serve)
    serve.add_argument("--port", type=int, help="instead of receive.port")
    serve.add_argument("--role", help="of receive, redact and send, comma-separated; all by default")
    serve.set_defaults(command=_serve)

    clean = commands.add_parser("clean", help="clean a file or a folder tree, without a node")
    clean.add_argument("source", type=Path, metavar="IN")
    clean.add_argument("target", type=Path, metavar="OUT")
    clean.add_argument("--report", type=Path, help="JSON lines, one a file")
    clean.add_argument("--policy", choices=[name for name in get_args(PolicyName) if name != "pass"])
    clean.add_argument("--fill", type=_fill, default="black", help="black, background, contrast or a stored value")
    clean.add_argument("--detector", choices=["pp-ocr", "tesseract"], default="pp-ocr")
    clean.add_argument("--profile", choices=["thorough", "fast"], default="thorough", help="how pp-ocr looks")
    clean.add_argument("--language", default="eng", help="of tesseract")
    clean.add_argument("--reading-language", default="", help="of tesseract, to read again what pp-ocr finds")
    clean.add_argument(
        "--rules", type=Path, action="append", default=[], help="fixed regions: YAML, CTP script, deid recipe"
    )
    clean.add_argument("--ultrasound-regions", action="store_true", help="clean all outside them as well")
    clean.add_argument("--overlays", choices=["remove", "redact"], default="remove")
    clean.add_argument("--second-look", action="store_true", help="hold what still has text when looked at again")
    clean.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    clean.set_defaults(command=_clean, policy="keep-safe-text")

    _add_queue(commands.add_parser("queue", help="what is in the node, and what is held").add_subparsers(required=True))

    check = commands.add_parser("check", help="check a configuration")
    _takes_configuration(check)
    check.set_defaults(command=_check)

    echo = commands.add_parser("echo", help="verify a destination by C-ECHO")
    echo.add_argument("destination", help="a name in the configuration, or AE_TITLE@host:port")
    _takes_configuration(echo)
    echo.set_defaults(command=_echo)

    demo = commands.add_parser("demo", help="see it work on made-up PHI")
    demo.add_argument("--picture", type=Path, default=Path("demo.png"), help="before, found regions and after")
    demo.set_defaults(command=_demo)
    return parser


def _add_queue(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    listed = commands.add_parser("list", help="the latest instances")
    listed.add_argument("--state", choices=[state.value for state in State], action="append")
    listed.add_argument("--limit", type=int, default=100)
    listed.set_defaults(command=_queue_list)
    for name, command, text in (
        ("show", _queue_show, "one instance and its deliveries"),
        ("retry", _queue_retry, "try again what is held"),
        ("release", _queue_release, "let a held instance take another policy"),
        ("drop", _queue_drop, "delete an instance that has not been sent"),
    ):
        parser = commands.add_parser(name, help=text)
        parser.add_argument("id", help="the beginning of an id is enough")
        parser.set_defaults(command=command)
    release = commands.choices["release"]
    release.add_argument("--policy", choices=get_args(PolicyName), required=True)
    release.add_argument("--to", action="append", metavar="DESTINATION", help="all destinations by default")
    for parser in commands.choices.values():
        _takes_configuration(parser)


def _takes_configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, default=Path("config/node.yaml"))
    parser.add_argument("--data-dir", type=Path, help="instead of data_dir")


def _configuration(arguments: argparse.Namespace) -> Configuration:
    from dicom_node.config import load

    port = getattr(arguments, "port", None)
    return load(arguments.config, data_dir=arguments.data_dir, port=port)


def _fill(text: str) -> str | int:
    if text in {"black", "background", "contrast"}:
        return text
    if re.fullmatch(r"-?\d{1,10}", text):
        return int(text)
    msg = "black, background, contrast or a whole number"
    raise argparse.ArgumentTypeError(msg)


# --- the node ---------------------------------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    from dicom_node.node import ROLES, serve

    def configured() -> Configuration:
        configuration = _configuration(arguments)
        log.configure(configuration.log_level)
        _check_files(arguments.config, configuration)
        return configuration

    named = {role.strip() for role in (arguments.role or ",".join(ROLES)).split(",")}
    if not named <= set(ROLES):
        msg = f"--role: {', '.join(sorted(named - set(ROLES)))}: allowed are {', '.join(ROLES)}"
        raise ConfigurationError(msg)
    return serve(configured, [role for role in ROLES if role in named], lambda text: print(text, flush=True))


def _check(arguments: argparse.Namespace) -> int:
    configuration = _configuration(arguments)
    _check_files(arguments.config, configuration)
    print(
        f"{arguments.config}: good: {len(configuration.routes)} routes, {len(configuration.destinations)} destinations"
    )
    return OK


def _check_files(path: Path, configuration: Configuration) -> None:
    """Read the files of rules and for TLS, where there are some: nothing starts with half of them."""
    from dicom_node import tls

    try:
        tls.check(configuration)
    except ConfigurationError as error:
        msg = f"{path}: {error}"
        raise ConfigurationError(msg) from None
    if any(route.rules for route in configuration.routes):
        from dicom_node.policies import policies

        policies(configuration)


def _echo(arguments: argparse.Namespace) -> int:
    print(f"{arguments.destination}: answers in {_sender(arguments).echo():.3f} s")
    return OK


def _sender(arguments: argparse.Namespace) -> Sender:
    from dicom_node.destinations import make_sender, sender_to

    if match := re.fullmatch(r"(.{1,16})@(.+):(\d{1,5})", arguments.destination):
        return sender_to(match[1], match[2], int(match[3]))
    configuration = _configuration(arguments)
    if arguments.destination not in configuration.destinations:
        msg = f"no destination {arguments.destination!r}; there are: {', '.join(configuration.destinations)}"
        raise ConfigurationError(msg)
    return make_sender(configuration, arguments.destination)


def _demo(arguments: argparse.Namespace) -> int:
    from dicom_node.demo import run

    return run(arguments.picture)


# --- files ------------------------------------------------------------------------------------------------------------


def _clean(arguments: argparse.Namespace) -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from dicom_node.clean import Report, Settings, check_paths, clean_tree, count_files, write_line
    from dicom_node.policies import load_rules
    from dicom_node.redaction import Policy
    from dicom_node.redaction.detect import Engine, make_detector

    check_paths(arguments.source, arguments.target)
    engine = Engine(arguments.detector, arguments.profile, arguments.language, arguments.reading_language)
    make_detector(engine)  # here a missing program or model is one error, not one a file
    policy = Policy(
        name=arguments.policy,
        fill=arguments.fill,
        rules=load_rules(arguments.rules),
        ultrasound_regions=arguments.ultrasound_regions,
        overlays=arguments.overlays,
        second_look=arguments.second_look,
    )
    settings = Settings(policy, engine)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        report_file = stack.enter_context(arguments.report.open("w", encoding="utf-8")) if arguments.report else None
        progress = stack.enter_context(Progress(*columns, disable=not sys.stderr.isatty()))
        task = progress.add_task("cleaning", total=count_files(arguments.source))

        def done(report: Report) -> None:
            progress.advance(task)
            if report.outcome == "held":
                # One file, one line: rich would break it where a terminal ends, also in a pipe.
                progress.console.print(
                    f"held: {report.path}: {report.reason}", markup=False, highlight=False, soft_wrap=True
                )
            if report_file:
                write_line(report_file, report)

        held = clean_tree(arguments.source, arguments.target, settings, max(1, arguments.processes), done)
    return HELD if held else OK


# --- the queue --------------------------------------------------------------------------------------------------------


def _open(arguments: argparse.Namespace) -> tuple[Configuration, Queue]:
    from dicom_node.queue import open_queue

    configuration = _configuration(arguments)
    return configuration, open_queue(configuration.data_dir, configuration.ledger_url, store=configuration.store)


def _queue_list(arguments: argparse.Namespace) -> int:
    _, queue = _open(arguments)
    states = {State(state) for state in arguments.state} if arguments.state else None
    for summary in queue.ledger.entries(states, arguments.limit):
        print(_row(summary))
    counted = ", ".join(f"{count} {state}" for state, count in queue.ledger.counts().items() if count)
    print(counted or "empty", file=sys.stderr)
    if used := queue.spool.used_bytes():
        print(_usage(queue.ledger.kept(), used), file=sys.stderr)
    return OK


def _usage(kept: dict[State, Kept], used: int) -> str:
    """Say what the spool's bytes wait for; what is on the disk beside is being received or written, or is left over."""
    size = {state: each.original_bytes + each.clean_bytes for state, each in kept.items()}
    waiting = size[State.RECEIVED] + size[State.REDACTED]
    return f"bytes: {waiting} waiting, {size[State.HELD]} held, {used} on the disk"


def _row(summary: EntrySummary) -> str:
    entry = summary.entry
    received = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.origin.received_at))
    fields = [entry.id[:12], received, f"{summary.state.value:8}", f"{entry.size:>10}", entry.origin.calling_ae_title]
    return "  ".join(fields) + (f"  {summary.reason}" if summary.reason else "")


def _queue_show(arguments: argparse.Namespace) -> int:
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


def _queue_retry(arguments: argparse.Namespace) -> int:
    _, queue = _open(arguments)
    entry_id = queue.ledger.entry(arguments.id).entry.id
    return _said(queue.ledger.retry(entry_id), entry_id, "is tried again", "is not held")


def _queue_release(arguments: argparse.Namespace) -> int:
    configuration, queue = _open(arguments)
    destinations = arguments.to or list(configuration.destinations)
    unknown = [name for name in destinations if name not in configuration.destinations]
    if unknown:
        msg = f"--to: no destination {', '.join(unknown)}; there are: {', '.join(configuration.destinations)}"
        raise ConfigurationError(msg)
    entry_id = queue.ledger.entry(arguments.id).entry.id
    released = queue.ledger.release(entry_id, arguments.policy, destinations)
    return _said(released, entry_id, f"is released to {arguments.policy}", "is not held")


def _queue_drop(arguments: argparse.Namespace) -> int:
    _, queue = _open(arguments)
    entry_id = queue.ledger.entry(arguments.id).entry.id
    return _said(queue.drop(entry_id), entry_id, "is dropped, its bytes are deleted", "is sent or dropped already")


def _said(did: bool, entry_id: str, yes: str, no: str) -> int:  # noqa: FBT001 - what the ledger answered
    print(f"{entry_id} {yes if did else no}")
    return OK if did else ERROR
