"""Every command of the README does what it says there, as it stands there (but for port and folder)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from pydicom.data import get_testdata_file

from dicom_node import config
from tests.support.processes import ROOT, end_marked, environment, free_port, is_listening, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = tuple(line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines())
SECONDS = 120


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder as a user has it, with the node's configuration and images in it."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "images").mkdir()
    for name in ("CT_small.dcm", "examples_rgb_color.dcm"):
        shutil.copy(str(get_testdata_file(name)), tmp_path / "images")
    shutil.copy(str(get_testdata_file("CT_small.dcm")), tmp_path / "image.dcm")
    yield tmp_path
    end_marked(tmp_path)


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    variables = environment(folder)
    path = f"{Path(sys.executable).parent}:{variables['PATH']}"
    return subprocess.run(
        command.split(),
        cwd=folder,
        env={**variables, "PATH": path},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_commands_are_those_that_are_tested_here() -> None:
    assert COMMANDS == (
        "scripts/run",
        "storescu -aec DICOM_NODE localhost 11112 image.dcm",
        "dicom-node check",
        "dicom-node echo pacs",
        "dicom-node demo",
        "dicom-node clean images/ clean/ --report report.jsonl",
        "dicom-node queue list --state HELD",
    )


def test_run_starts_a_node_to_which_storescu_sends_an_image(folder: Path) -> None:
    port = free_port()
    told = ["--data-dir", str(folder / "data"), "--port", str(port)]
    with (folder / "said").open("wb") as said:
        node = subprocess.Popen([ROOT / "scripts/run", *told], cwd=folder, env=environment(folder), stdout=said)
    wait_until("the node is ready", lambda: "ready" in (folder / "said").read_text(encoding="utf-8"))
    says = (folder / "said").read_text(encoding="utf-8")
    assert f"listens as AE title DICOM_NODE on 0.0.0.0, port {port}" in says
    assert f"go to folder {folder / 'data' / 'clean'}" in says
    assert f"storescu -aec DICOM_NODE localhost {port} image.dcm" in says
    assert run(folder, COMMANDS[1].replace("11112", str(port))).returncode == 0
    (clean,) = wait_until("it is there", lambda: list((folder / "data" / "clean").glob("*/*/*.dcm")))
    assert clean.stat().st_size > 0
    node.terminate()
    assert node.wait(SECONDS) == 0


def test_check_says_that_the_configuration_is_good(folder: Path) -> None:
    checked = run(folder, "dicom-node check")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_echo_finds_the_pacs(folder: Path) -> None:
    port = free_port()
    path = folder / "config" / "node.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("port: 104", f"port: {port}"), encoding="utf-8")
    with subprocess.Popen(["storescp", "-aet", "PACS", "-od", str(folder), str(port)], env=environment(folder)) as pacs:
        wait_until("storescp listens", lambda: is_listening(port))
        echoed = run(folder, "dicom-node echo pacs")
        pacs.terminate()
    assert (echoed.returncode, echoed.stderr) == (0, "")
    assert echoed.stdout.startswith("pacs: answers in ")


def test_demo_draws_before_found_and_after(folder: Path) -> None:
    shown = run(folder, "dicom-node demo")
    assert shown.returncode == 0
    assert "3 clean instances arrived" in shown.stdout
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_clean_cleans_a_folder(folder: Path) -> None:
    cleaned = run(folder, "dicom-node clean images/ clean/ --report report.jsonl")
    assert (cleaned.returncode, cleaned.stderr) == (0, "")
    assert {path.name for path in (folder / "clean").iterdir()} == {"CT_small.dcm", "examples_rgb_color.dcm"}
    assert len((folder / "report.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_queue_list_of_a_new_node_is_empty(folder: Path) -> None:
    listed = run(folder, "dicom-node queue list --state HELD")
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "", "empty\n")


def test_the_example_of_a_route_is_a_valid_configuration(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "node.yaml"
    path.write_text(example, encoding="utf-8")
    (route,) = config.load(path).routes
    assert route.policy == yaml.safe_load(example)["routes"][0]["policy"]
