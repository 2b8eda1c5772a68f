"""What every command shares: options, errors, progress, outputs."""
