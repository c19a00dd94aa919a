"""Starting, stopping and dying: the supervisor and its role processes."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from pydicom import dcmread

from tests.support.images import copies_of, pydicom_file, uid_of
from tests.support.modality import Modality
from tests.support.node import AE_TITLE, COMMAND_SECONDS, run_command
from tests.support.peers import storescu
from tests.support.processes import ROOT, end_marked, environment, free_port, marked, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.node import Node
    from tests.support.peers import StoreSCP

DEFAULT = ROOT / "config" / "node.yaml"


def test_sigterm_lets_the_association_in_flight_end_normally_and_loses_nothing(
    make_node: Callable[..., Node], pacs: StoreSCP, tmp_path: Path
) -> None:
    node = make_node({"pacs": pacs.destination})
    node.start()
    images = copies_of(pydicom_file("MR_small.dcm"), tmp_path / "images", 20)

    def stop_in_the_middle(_: Path) -> None:
        if len(modality.confirmed) == 5:
            node.terminate()

    modality = Modality(node.port, images, stop_in_the_middle)
    modality.start()
    modality.wait()  # all of it on the one association: nobody listens any more
    assert modality.resent == 0
    assert node.wait() == 0
    assert not node.roles()
    node.start()
    node.wait_for(SENT=len(images))
    assert set(pacs.files()) == set(map(uid_of, images))


def test_the_roles_of_a_supervisor_that_was_killed_end_by_themselves(
    make_node: Callable[..., Node], pacs: StoreSCP
) -> None:
    node = make_node({"pacs": pacs.destination})
    node.start()
    assert len(node.roles()) == 3
    node.kill_supervisor()
    wait_until("the roles are gone", lambda: not node.roles(), node.roles)


def test_a_receiver_alone_accepts_and_keeps_and_what_it_kept_is_delivered_later_by_the_others(
    make_node: Callable[..., Node], pacs: StoreSCP, tmp_path: Path
) -> None:
    node = make_node({"pacs": pacs.destination})
    node.start("--role", "receive")
    images = copies_of(pydicom_file("CT_small.dcm"), tmp_path / "images", 3)
    storescu(node.port, *images)
    assert node.stop() == 0
    assert node.counts() == {"RECEIVED": 3}
    assert not pacs.files()
    said = node.start("--role", "redact,send")
    assert "redact, send" in said
    assert not node.roles("receive")
    node.wait_for(SENT=3)
    wait_until("nothing of it is left in the spool", lambda: not node.spooled(), node.spooled)
    assert set(pacs.files()) == set(map(uid_of, images))


def test_with_the_configuration_as_it_ships_an_image_lands_in_the_folder_clean(tmp_path: Path) -> None:
    port, data_dir = free_port(), tmp_path / "data"
    told = ["serve", "--config", str(DEFAULT), "--data-dir", str(data_dir), "--port", str(port)]
    with (tmp_path / "output").open("wb") as output:
        node = subprocess.Popen(
            [sys.executable, "-m", "dicom_node", *told],
            env=environment(tmp_path),
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
    try:
        wait_until("it is ready", lambda: b"ready" in (tmp_path / "output").read_bytes())
        image = pydicom_file("CT_small.dcm")
        storescu(port, image)
        sent = dcmread(image)
        landed = data_dir / "clean" / sent.StudyInstanceUID / sent.SeriesInstanceUID / f"{sent.SOPInstanceUID}.dcm"
        wait_until("the image has landed", landed.exists)
        assert dcmread(landed).PixelData == sent.PixelData
        node.terminate()
        assert node.wait(COMMAND_SECONDS) == 0
        assert not marked(tmp_path)
    finally:
        end_marked(tmp_path)
        node.wait(COMMAND_SECONDS)


def test_a_port_that_is_taken_is_an_error_in_one_clear_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))  # noqa: S104 - the default configuration listens there
        other.listen()
        port = other.getsockname()[1]
        done = run_command(
            tmp_path, "serve", "--config", str(DEFAULT), "--data-dir", str(tmp_path / "data"), "--port", str(port)
        )
    assert done.returncode == 1
    assert f"port {port}: cannot be listened on: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr
    assert not marked(tmp_path)


def test_the_node_and_its_destination_answer_the_command_echo(make_node: Callable[..., Node], pacs: StoreSCP) -> None:
    node = make_node({"pacs": pacs.destination})
    node.start("--role", "receive")
    itself = node.command("echo", f"{AE_TITLE}@127.0.0.1:{node.port}")
    its_destination = node.command("echo", "pacs")
    assert (itself.returncode, its_destination.returncode) == (0, 0), itself.stderr + its_destination.stderr
