"""A revision is never changed once it is released, and takes nothing from ``schema.py``, which goes on."""
