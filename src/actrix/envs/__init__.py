"""Adapters that turn environments into canonical rows (see `spec`), and the bundled worlds."""
