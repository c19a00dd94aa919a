"""One process, one role: ``python -m dicom_node.roles.receive`` and its like, started by :mod:`dicom_node.node`."""

import gc

# Importing makes hundreds of thousands of objects that all stay: looking through them for garbage, again and again,
# costs a fifth of the start. ``process.run`` turns it on again.
gc.disable()
