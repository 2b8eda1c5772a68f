"""How far a synthetic map can be trusted: model cards, the check of a map, error bands, possible values."""
