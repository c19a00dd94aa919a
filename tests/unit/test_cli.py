from __future__ import annotations

import io
import json
import socket
import uuid
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.cli import main
from dicom_node.config import load
from dicom_node.model import Origin, SOPInstance, State
from dicom_node.queue import open_queue
from tests.support.spools import WholeFile
from tests.unit.redaction.made import image

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.queue import Queue

CONFIGURATION = """
data_dir: {data}
destinations: {{clean: {{folder: clean}}, pacs: {{ae_title: PACS, host: 127.0.0.1, port: {port}}}}}
routes: [{{name: all, destinations: [clean]}}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    with socket.socket() as probe:  # a port on which nothing listens
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "node.yaml"
    path.write_text(CONFIGURATION.format(data=tmp_path / "data", port=port), encoding="utf-8")
    return path


@pytest.fixture
def queue(config: Path) -> Queue:
    configuration = load(config)
    return open_queue(configuration.data_dir, configuration.ledger_url)


def held(queue: Queue) -> str:
    incoming = WholeFile(queue.spool.incoming / uuid.uuid4().hex, b"an instance")
    instance = SOPInstance("1.2.3", f"1.2.{uuid.uuid4().int}", "1.2.4", "1.2.5", "1.2.840.10008.1.2.1")
    entry_id, _ = queue.accept(incoming, instance, Origin("MODALITY", "DICOM_NODE", "127.0.0.1", 1e9))
    queue.ledger.hold(entry_id, "no route fits")
    return entry_id


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_queue_list_shows_what_is_held_and_why(config: Path, queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    entry_id = held(queue)
    assert run("queue", "list", "--state", "HELD", "--config", config) == 0
    shown = capsys.readouterr()
    assert entry_id[:12] in shown.out
    assert "no route fits" in shown.out
    on_the_disk = queue.spool.used_bytes()
    assert shown.err == f"1 HELD\nbytes: 0 waiting, 11 held, {on_the_disk} on the disk\n"


def test_queue_show_tells_where_an_instance_came_from(
    config: Path, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    entry_id = held(queue)
    assert run("queue", "show", entry_id[:8], "--config", config) == 0
    shown = capsys.readouterr().out
    assert "MODALITY at 127.0.0.1" in shown
    assert "no route fits" in shown


def test_queue_release_takes_a_policy_and_known_destinations_only(
    config: Path, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    entry_id = held(queue)
    assert run("queue", "release", entry_id, "--policy", "all-text", "--to", "claen", "--config", config) == 1
    assert "there are: clean, pacs" in capsys.readouterr().err
    assert run("queue", "release", entry_id, "--policy", "all-text", "--to", "clean", "--config", config) == 0
    entry = queue.ledger.entry(entry_id).entry
    assert (entry.state, entry.policy, entry.destinations) == (State.RECEIVED, "all-text", ("clean",))


def test_queue_retry_tries_again_what_is_held_and_nothing_else(config: Path, queue: Queue) -> None:
    entry_id = held(queue)
    assert run("queue", "retry", entry_id, "--config", config) == 0
    assert queue.ledger.entry(entry_id).state is State.RECEIVED
    assert run("queue", "retry", entry_id, "--config", config) == 1


def test_queue_drop_deletes_the_bytes_and_keeps_the_trace(config: Path, queue: Queue) -> None:
    entry_id = held(queue)
    assert run("queue", "drop", entry_id, "--config", config) == 0
    assert queue.ledger.entry(entry_id).state is State.DROPPED
    assert not queue.spool.has_original(entry_id)
    assert run("queue", "drop", entry_id, "--config", config) == 1


def test_an_id_that_no_entry_has_is_an_error(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("queue", "show", "abc", "--config", config) == 1
    assert "no entry has an id that begins so" in capsys.readouterr().err


def test_check_tells_file_key_and_what_is_allowed(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", "--config", config) == 0
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(config.read_text(encoding="utf-8").replace("name: all,", "name: all, policy: none,"))
    assert run("check", "--config", wrong) == 1
    said = capsys.readouterr().err
    assert f"{wrong}: routes.0.policy: " in said
    assert "'keep-safe-text'" in said


def test_echo_says_why_a_destination_does_not_answer(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("echo", "pacs", "--config", config) == 1
    assert "dicom-node: " in capsys.readouterr().err
    assert run("echo", "nobody", "--config", config) == 1
    assert "there are: clean, pacs" in capsys.readouterr().err


def test_echo_of_a_folder_destination_sees_that_it_can_be_written(config: Path) -> None:
    assert run("echo", "clean", "--config", config) == 0


def test_an_unknown_role_is_an_error_that_names_the_roles(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--role", "recieve", "--config", config) == 1
    assert "allowed are receive, redact, send" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["source", "source/inside"])
def test_clean_refuses_to_write_into_its_source(
    tmp_path: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source").mkdir()
    assert run("clean", tmp_path / "source", tmp_path / target) == 1
    assert "has to be outside" in capsys.readouterr().err


RULES = "- {name: banner, match: {Modality: CT}, regions: [{left: 0, top: 0, width: 5, height: 3}]}\n"


@pytest.mark.parametrize("option", ["--overlays=keep", "--second-look=yes", "--policy=pass", "--fill=blue"])
def test_clean_takes_no_word_that_it_does_not_know(tmp_path: Path, option: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run("clean", tmp_path, tmp_path.parent / "out", option)
    assert caught.value.code == 2


def test_clean_says_which_rule_file_is_wrong_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source").mkdir()
    rules = tmp_path / "banner.yaml"
    rules.write_text(RULES.replace("width: 5", "width: 0"), encoding="utf-8")
    assert run("clean", tmp_path / "source", tmp_path / "target", "--rules", rules) == 1
    assert f"dicom-node: {rules}: rules: rule 1 'banner'" in capsys.readouterr().err
    assert not (tmp_path / "target").exists()


def test_clean_carries_out_rules_and_looks_twice(tmp_path: Path) -> None:
    frame = np.random.default_rng(1).integers(100, 120, (1, 64, 64)).astype("u1")
    dataset = image(frame)
    dataset.save_as(tmp_path / "source.dcm")
    rules = tmp_path / "banner.yaml"
    rules.write_text(RULES, encoding="utf-8")
    options = ("--rules", rules, "--second-look", "--overlays", "redact", "--fill", "7", "--processes", "1")
    report = tmp_path / "report.jsonl"
    assert run("clean", tmp_path / "source.dcm", tmp_path / "clean.dcm", "--report", report, *options) == 0
    frame[0, :3, :5] = 7
    assert np.array_equal(dcmread(tmp_path / "clean.dcm").pixel_array, frame[0])
    (line,) = report.read_text(encoding="utf-8").splitlines()
    assert [region["source"] for region in json.loads(line)["regions"]] == ["rule"]
    assert "second_look" in json.loads(line)["seconds"]


def test_check_reads_the_rule_files(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "banner.yaml"
    told = config.read_text(encoding="utf-8").replace("name: all,", f"name: all, rules: [{rules}],")
    config.write_text(told, encoding="utf-8")
    assert run("check", "--config", config) == 1
    assert f"{rules}: cannot be read" in capsys.readouterr().err
    rules.write_text(RULES, encoding="utf-8")
    assert run("check", "--config", config) == 0


def held_by_thousands(queue: Queue, **reasons: int) -> dict[str, list[str]]:
    """Hold instances, so many for each reason."""
    ids = {reason: [held(queue) for _ in range(count)] for reason, count in reasons.items()}
    for reason, each in ids.items():
        for entry_id in each:
            queue.ledger.hold(entry_id, reason)
    return ids


def states(queue: Queue) -> dict[str, int]:
    return {state: count for state, count in queue.ledger.counts().items() if count}


def test_a_command_on_many_says_first_what_it_would_do_and_changes_nothing(
    config: Path, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    held_by_thousands(queue, decoding=2, routing=3)
    for command in (["retry"], ["release", "--policy", "all-text"], ["drop"], ["drop", "--overwrite"]):
        assert run("queue", *command, "--all", "--dry-run", "--config", config) == 0
        said = capsys.readouterr().out
        assert [line.split() for line in said.splitlines()[:2]] == [["3", "HELD", "routing"], ["2", "HELD", "decoding"]]
        assert said.endswith("5 instances; nothing was changed\n")
    assert states(queue) == {"HELD": 5}


def test_many_are_chosen_by_reason_sender_age_and_number(config: Path, queue: Queue) -> None:
    ids = held_by_thousands(queue, decoding=2, routing=3)
    chosen: list[list[object]] = [
        ["--reason", "DECOD", "--calling-ae-title", "NOBODY"],
        ["--reason", "_"],
        ["--newer-than", "1h"],
        ["--destination", "clean"],
    ]
    for none in chosen:
        assert run("queue", "retry", *none, "--config", config) == 0
        assert states(queue) == {"HELD": 5}
    assert run("queue", "retry", "--reason", "DECOD", "--older-than", "30d", "--config", config) == 0
    assert {queue.ledger.entry(entry_id).state for entry_id in ids["decoding"]} == {State.RECEIVED}
    assert run("queue", "release", "--limit", "2", "--policy", "pass", "--yes", "--config", config) == 0
    assert states(queue) == {"HELD": 1, "RECEIVED": 4}


def test_what_deletes_or_lets_out_many_asks_first_and_without_an_answer_does_nothing(
    config: Path, queue: Queue, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held_by_thousands(queue, routing=3)
    for command in (["drop"], ["release", "--policy", "pass"]):
        assert run("queue", *command, "--all", "--config", config) == 1
        assert "nobody can be asked here: --yes, or --dry-run" in capsys.readouterr().err
    monkeypatch.setattr("dicom_node.cli_queue.sys.stdin", Terminal("n\n"))
    assert run("queue", "drop", "--all", "--config", config) == 1
    assert "delete 3 instances? [y/N]" in capsys.readouterr().err
    assert states(queue) == {"HELD": 3}
    monkeypatch.setattr("dicom_node.cli_queue.sys.stdin", Terminal("y\n"))
    assert run("queue", "drop", "--all", "--config", config) == 0
    assert states(queue) == {"DROPPED": 3}
    assert not list(queue.spool.entry_ids())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["retry"], "which ones?"),
        (["drop", "abc", "--all"], "not both"),
        (["drop", "abc", "--reason", "x"], "not both"),
        (["drop", "--all", "--overwrite", "--state", "RECEIVED"], "only what is HELD"),
    ],
)
def test_a_command_that_does_not_say_which_ones_is_an_error(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run("queue", *arguments, "--config", config) == 1
    assert said in capsys.readouterr().err


def test_a_summary_counts_by_state_and_reason(config: Path, queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    held_by_thousands(queue, routing=3)
    queue.ledger.retry(held_by_thousands(queue, decoding=1)["decoding"][0])
    assert run("queue", "list", "--summary", "--config", config) == 0
    listed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert listed == [["3", "HELD", "routing"], ["1", "RECEIVED", "-"]]


def test_an_original_that_was_kept_is_purged(config: Path, queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    entry_id = held(queue)
    assert run("queue", "purge", entry_id, "--config", config) == 1
    assert queue.spool.has_original(entry_id)
    assert run("queue", "purge", "--all", "--yes", "--config", config) == 0
    assert "originals deleted: 0 of 0 instances" in capsys.readouterr().out
