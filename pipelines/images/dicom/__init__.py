"""DICOM: series, phases, multi-frame objects, regions."""
