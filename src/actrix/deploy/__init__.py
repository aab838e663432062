"""Policies out of the library: files that other programs run."""
