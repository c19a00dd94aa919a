"""dicom_node: receives DICOM instances, takes burned-in identity out of the pixels, forwards the clean instance."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("dicom-node")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0"
