"""One process, one role: ``python -m dicom_node.roles.receive`` and its like, started by :mod:`dicom_node.node`."""
