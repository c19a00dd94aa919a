"""``dicom-node demo``: a hospital in one command, with nobody's data.

Made-up identity is burned into sample images of pydicom; a node cleans them on their way to a receiving AE; one picture
shows before, found regions and after, side by side.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import yaml
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom import AE, StoragePresentationContexts, build_context, evt

from dicom_node.config.receive import LEAST_FREE
from dicom_node.errors import DicomNodeError
from dicom_node.redaction import Policy, redact
from dicom_node.redaction.detect import Engine, make_detector
from dicom_node.redaction.fill import extremes
from dicom_node.redaction.frames import open_frames, sample_of, stored_values
from dicom_node.redaction.render import Renderer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pydicom import Dataset
    from pynetdicom.presentation import PresentationContext

    from dicom_node.model import Region

SAMPLES = ("J2K_pixelrep_mismatch.dcm", "examples_overlay.dcm", "examples_rgb_color.dcm")
"""A CT in JPEG 2000, an MR with an overlay, an ultrasound in RGB: all in pydicom's wheel."""

IDENTITY = ("DOE^JANE Q", "MRN 4711-0815", "DOB 1970-01-02", "EXAMPLE HOSPITAL")
POLICY = "all-text"
WAIT_SECONDS = 120.0
_HEIGHT = 420


def run(picture: Path) -> int:
    """Show it; return the exit code.

    Raises
    ------
    DicomNodeError
        When the node does not come up, or what was sent does not arrive.
    """
    burned = [burn_in(dcmread(str(get_testdata_file(name))), IDENTITY) for name in SAMPLES]
    with tempfile.TemporaryDirectory() as folder, _receiving_ae() as (port, arrived), _node(Path(folder), port) as node:
        print(f"sending {len(burned)} images with made-up identity to a node on port {node}")
        for dataset in burned:
            _send(dataset, node)
        _wait_for(arrived, len(burned))
    detector = make_detector(Engine())
    rows = []
    for dataset in burned:
        after = arrived[dataset.SOPInstanceUID]
        before = displayed(dataset)
        regions = redact(dataset, Policy(POLICY), detector).regions
        rows.append(side_by_side(before, regions, displayed(after)))
    cv2.imwrite(str(picture), _stacked(rows)[..., ::-1])
    print(f"{len(arrived)} clean instances arrived at the destination; before, found and after: {picture}")
    return 0


def burn_in(dataset: Dataset, lines: tuple[str, ...]) -> Dataset:
    """Burn lines of text into every frame, lower left, in what is displayed white; returns the data set."""
    frames = open_frames(dataset)
    pixels = frames.pixels
    mask = _mask(pixels.rows, pixels.columns, lines)
    for index in range(pixels.frames):
        samples = frames.read(index)
        values = stored_values(samples, pixels)
        white = extremes(dataset, pixels, int(values.min()), int(values.max())).white
        painted = [sample_of(value, samples, pixels) for value in white]
        samples[mask] = painted if pixels.samples > 1 else painted[0]
        frames.write(index, samples, ())
    frames.store(dataset)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return dataset


def _mask(rows: int, columns: int, lines: tuple[str, ...]) -> NDArray[np.bool_]:
    mask = np.zeros((rows, columns), np.uint8)
    pitch = max(14, rows // 22)
    for number, line in enumerate(lines):
        cv2.putText(
            mask, line, (6, rows * 3 // 4 + number * pitch), cv2.FONT_HERSHEY_SIMPLEX, pitch / 34, 255, 1, cv2.LINE_AA
        )
    return mask > 100  # noqa: PLR2004 - the middle of the letters' soft edges


@contextmanager
def _receiving_ae() -> Iterator[tuple[int, dict[str, Dataset]]]:
    """Run a Storage SCP that keeps what it gets; yields its port and the instances by SOP Instance UID."""
    arrived: dict[str, Dataset] = {}

    def keep(event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        arrived[dataset.SOPInstanceUID] = dataset
        return 0x0000

    ae = AE("DEMO_DEST")
    for context in StoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, _any_syntax(context))
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    try:
        yield server.server_address[1], arrived
    finally:
        server.shutdown()


def _any_syntax(context: PresentationContext) -> list[str]:
    compressed = {
        str(dcmread(str(get_testdata_file(n)), stop_before_pixels=True).file_meta.TransferSyntaxUID) for n in SAMPLES
    }
    return sorted(compressed | set(context.transfer_syntax))


@contextmanager
def _node(folder: Path, destination_port: int) -> Iterator[int]:
    """Run a node as a user would; yields its port."""
    port = _free_port()
    configuration = {
        "data_dir": str(folder / "data"),
        "receive": {"host": "127.0.0.1", "port": port, "minimum_free_bytes": LEAST_FREE},
        "destinations": {"demo": {"ae_title": "DEMO_DEST", "host": "127.0.0.1", "port": destination_port}},
        "routes": [{"name": "demo", "policy": POLICY, "destinations": ["demo"]}],
    }
    path = folder / "demo.yaml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    process = subprocess.Popen(  # noqa: S603 - this interpreter, this package
        [sys.executable, "-m", "dicom_node", "serve", "--config", str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None or not process.stdout.readline():
            msg = "the node did not start; see above"
            raise DicomNodeError(msg)
        yield port
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _send(dataset: Dataset, port: int) -> None:
    ae = AE("DEMO_MODALITY")
    ae.requested_contexts = [build_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)]
    association = ae.associate("127.0.0.1", port, ae_title="DICOM_NODE")
    status = association.send_c_store(dataset) if association.is_established else None
    association.release()
    if not status or status.Status != 0x0000:
        msg = "the node did not take a sample image"
        raise DicomNodeError(msg)


def _wait_for(arrived: dict[str, Dataset], count: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while len(arrived) < count:
        if time.monotonic() > deadline:
            msg = f"only {len(arrived)} of {count} instances arrived in {WAIT_SECONDS:.0f} s"
            raise DicomNodeError(msg)
        time.sleep(0.1)


def displayed(dataset: Dataset) -> NDArray[np.uint8]:
    """Render the first frame as a person sees it: uint8, shape (rows, columns, 3)."""
    frames = open_frames(dataset)
    picture = Renderer(dataset, frames.pixels).pictures([frames.read(0)])[0]
    return picture if frames.pixels.samples > 1 else np.repeat(picture[..., :1], 3, axis=2)


def side_by_side(before: NDArray[Any], regions: tuple[Region, ...], after: NDArray[Any]) -> NDArray[Any]:
    """Put before, found regions and after beside each other."""
    found = before.copy()
    for region in regions:
        end = (region.column + region.width - 1, region.row + region.height - 1)
        cv2.rectangle(found, (region.column, region.row), end, (255, 64, 64), 1)
    width = round(before.shape[1] * _HEIGHT / before.shape[0])
    gap = np.full((_HEIGHT, 8, 3), 255, np.uint8)
    shown = [cv2.resize(p, (width, _HEIGHT), interpolation=cv2.INTER_AREA) for p in (before, found, after)]
    return np.hstack([shown[0], gap, shown[1], gap, shown[2]])


def _stacked(rows: list[NDArray[Any]]) -> NDArray[Any]:
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 8), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.vstack(padded)
