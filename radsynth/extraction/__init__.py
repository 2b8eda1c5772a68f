"""What pyradiomics' extractor does around the features: settings, images, diagnostics."""
