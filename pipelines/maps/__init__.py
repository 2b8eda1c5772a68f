"""Maps made: exact and synthetic, of one image or a cohort."""
