"""The family of grey-tone differences."""
