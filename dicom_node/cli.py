"""argv in, exit code out. Commands import what they need: ``echo`` needs no codec, ``check`` no network."""

from __future__ import annotations

import argparse
import os
import re
import resource
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from dicom_node import __version__, log
from dicom_node.cli_queue import ERROR, HELD, OK, add_commands, configuration_of, takes_configuration
from dicom_node.errors import ConfigurationError, DicomNodeError
from dicom_node.model import PolicyName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_node.config import Configuration
    from dicom_node.destinations import Sender


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns
    -------
    int
        0 when it did what was asked, 1 when it could not work, 2 when something is held.
    """
    arguments = _parser().parse_args(argv)
    log.configure("info" if arguments.command is _serve else "error")
    _dump_no_cores()
    try:
        code: int = arguments.command(arguments)
    except (DicomNodeError, LookupError) as error:
        print(f"dicom-node: {error.args[0]}", file=sys.stderr)
        return ERROR
    except BrokenPipeError:  # `queue list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


def _dump_no_cores() -> None:
    """Leave no memory with identity in it on a disk when this process, or one that it starts, is ended by a signal."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dicom-node", description="Takes burned-in identity out of DICOM images.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the node: receive, clean, forward")
    takes_configuration(serve)
    serve.add_argument("--port", type=int, help="instead of receive.port")
    serve.add_argument("--role", help="of receive, redact and send, comma-separated; all by default")
    serve.set_defaults(command=_serve)

    _add_clean(commands)

    add_commands(
        commands.add_parser("queue", help="what is in the node, and what is held").add_subparsers(required=True)
    )

    check = commands.add_parser("check", help="check a configuration")
    takes_configuration(check)
    check.set_defaults(command=_check)

    echo = commands.add_parser("echo", help="verify a destination by C-ECHO")
    echo.add_argument("destination", help="a name in the configuration, or AE_TITLE@host:port")
    takes_configuration(echo)
    echo.set_defaults(command=_echo)

    demo = commands.add_parser("demo", help="see it work on made-up PHI")
    demo.add_argument("--picture", type=Path, default=Path("demo.png"), help="before, found regions and after")
    demo.set_defaults(command=_demo)
    return parser


def _add_clean(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
        configuration = configuration_of(arguments)
        log.configure(configuration.log_level)
        _check_files(arguments.config, configuration)
        return configuration

    named = {role.strip() for role in (arguments.role or ",".join(ROLES)).split(",")}
    if not named <= set(ROLES):
        msg = f"--role: {', '.join(sorted(named - set(ROLES)))}: allowed are {', '.join(ROLES)}"
        raise ConfigurationError(msg)
    return serve(configured, [role for role in ROLES if role in named], lambda text: print(text, flush=True))


def _check(arguments: argparse.Namespace) -> int:
    configuration = configuration_of(arguments)
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
    configuration = configuration_of(arguments)
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
