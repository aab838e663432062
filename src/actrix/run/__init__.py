"""Learners, where their batches come from, and the trainer that drives both."""
