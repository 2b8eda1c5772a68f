"""Which maps repeat, which are at their ceiling, and which say the same as another."""
