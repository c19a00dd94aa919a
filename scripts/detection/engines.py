"""The engines that are measured, each in a process of its own: python -m detection.engines ENGINE RESULTS < files.

A codec or an OCR engine can end its process: the caller then sees which file has no result.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import dcmread

from dicom_node.model import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydicom import Dataset

    Engine = Callable[[Dataset], Sequence[Region]]

NODE = {
    "thorough": ("all-text", "thorough"),
    "fast": ("all-text", "fast"),
    "keep-safe-text": ("keep-safe-text", "thorough"),
    "phi-only": ("phi-only", "thorough"),
}
"""Policy and profile of the engines that are the node."""

PRESIDIO = "presidio"
ENGINES = (*NODE, PRESIDIO)
LEVER = "lever:"
"""Before the name of a part of looking (:mod:`.levers`), measured under ``all-text``."""

_LOADING = "loading"


@dataclass(frozen=True, slots=True)
class Result:
    """What an engine made of one file.

    Attributes
    ----------
    regions : tuple of Region
        What it painted; nothing when it raised.
    cpu_seconds, peak_mib : float
        Of the process and the programs it started; the peak so far, the largest program's added.
    failure : str
        Name of what it raised, or ``killed``.
    """

    file: str
    regions: tuple[Region, ...] = ()
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    failure: str = ""


def measure(engine: str, files: Sequence[Path], results: Path) -> tuple[Result, list[Result]]:
    """Run an engine over files.

    Parameters
    ----------
    results : Path
        A file that is made; each result is appended as soon as it is known.

    Returns
    -------
    tuple
        What loading cost, and one result a file.
    """
    left, loading, found = list(files), None, []
    while left:
        results.unlink(missing_ok=True)
        command = [sys.executable, "-m", "detection.engines", engine, str(results.resolve())]
        environment = {
            **os.environ,
            "OMP_THREAD_LIMIT": "1",
        }  # Tesseract's threads wait in loops, and these would count
        names = "\n".join(str(path.resolve()) for path in left)
        scripts = Path(__file__).parents[1]
        subprocess.run(command, input=names, text=True, cwd=scripts, env=environment, check=False)  # noqa: S603 - ours
        first, *done = _read(results)
        loading = loading or first
        found += done
        left = left[len(done) :]
        if left:
            found.append(Result(left.pop(0).name, failure="killed"))
    return loading or Result(_LOADING), found


def _read(results: Path) -> list[Result]:
    if not results.exists():
        msg = "the engine could not be loaded; what it said is above"
        raise SystemExit(msg)
    contents = (json.loads(line) for line in results.read_text(encoding="utf-8").splitlines())
    return [Result(**{**content, "regions": tuple(Region(**r) for r in content["regions"])}) for content in contents]


def _node(policy: str, profile: str) -> Engine:
    from dicom_node.redaction import PaddleDetector, Policy, redact  # noqa: PLC0415 - loading is measured
    from dicom_node.redaction.memory import keep_freed_memory  # noqa: PLC0415 - as above
    from dicom_node.redaction.pp_ocr import PROFILES  # noqa: PLC0415 - as above

    keep_freed_memory()  # as the node's processes do
    detector = PaddleDetector(PROFILES[profile])
    return lambda dataset: redact(dataset, Policy(policy), detector).regions


def _lever(name: str) -> Engine:
    from detection.levers import LEVERS  # noqa: PLC0415 - loading is measured
    from dicom_node.redaction import Policy, redact  # noqa: PLC0415 - as above
    from dicom_node.redaction.memory import keep_freed_memory  # noqa: PLC0415 - as above

    keep_freed_memory()
    detector_of = LEVERS[name]()
    return lambda dataset: redact(dataset, Policy("all-text"), detector_of(dataset)).regions


def _presidio() -> Engine:
    """Load DicomImageRedactorEngine as it is, but for the language model, which would have to be downloaded.

    Presidio's ``SlimSpacyNlpEngine`` on a blank spaCy pipeline stands in for it: the predefined pattern recognizers and
    the deny-list of header values are at work, and names are found by the header only.
    """
    import spacy  # noqa: PLC0415 - loading is measured
    from presidio_analyzer import AnalyzerEngine  # noqa: PLC0415 - as above
    from presidio_analyzer.nlp_engine import SlimSpacyNlpEngine  # noqa: PLC0415 - as above
    from presidio_image_redactor import DicomImageRedactorEngine, ImageAnalyzerEngine  # noqa: PLC0415 - as above

    with tempfile.TemporaryDirectory() as blank:
        spacy.blank("en").to_disk(blank)
        language = SlimSpacyNlpEngine(models=[{"lang_code": "en", "model_name": blank}])
        analyzer = AnalyzerEngine(nlp_engine=language, supported_languages=["en"])
    engine = DicomImageRedactorEngine(ImageAnalyzerEngine(analyzer))
    return lambda dataset: [_region(box) for box in engine.redact_and_return_bbox(dataset)[1]]


def _region(box: dict[str, Any]) -> Region:
    return Region(int(box["top"]), int(box["left"]), int(box["height"]), int(box["width"]))


def _used() -> tuple[float, float]:
    """Return CPU seconds and peak memory in MiB so far."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages), sum(u.ru_maxrss for u in usages) / 1024


def _look(engine: Engine, path: Path) -> Result:
    before, _ = _used()
    regions: tuple[Region, ...] = ()
    failure = ""
    try:
        regions = tuple(engine(dcmread(path)))
    except Exception as error:  # noqa: BLE001 - whatever an engine raises is a result
        failure = type(error).__name__
    after, peak = _used()
    return Result(path.name, regions, after - before, peak, failure)


def _engine(name: str) -> Engine:
    if name.startswith(LEVER):
        return _lever(name.removeprefix(LEVER))
    return _presidio() if name == PRESIDIO else _node(*NODE[name])


def main() -> None:
    """Load the engine, then look at each file of standard input."""
    warnings.simplefilter("ignore")
    name, results = sys.argv[1], Path(sys.argv[2])
    engine = _engine(name)
    with results.open("w", encoding="utf-8") as file:
        seconds, peak = _used()
        print(json.dumps(asdict(Result(_LOADING, (), seconds, peak))), file=file, flush=True)
        for line in sys.stdin.read().splitlines():
            print(json.dumps(asdict(_look(engine, Path(line)))), file=file, flush=True)


if __name__ == "__main__":
    main()
