"""The paper's own algorithm: a dense matrix for every window."""
