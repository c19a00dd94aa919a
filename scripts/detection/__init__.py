"""The measure of text detection: labelled sets (scripts/burn_in_phi) and figures (scripts/benchmark detection)."""
