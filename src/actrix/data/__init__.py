"""Typed batches, replay, datasets."""
