"""File formats other than DICOM: their headers, read before ITK sees them."""
