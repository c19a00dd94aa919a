"""How fast instances come in: the node, dcmtk's storescp and Orthanc beside each other, on one disk, in one run."""
