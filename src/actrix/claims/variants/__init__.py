"""Learners that claims compare systems with: ablations and baselines that are wanted nowhere else.

A claim names them as "module:class" of this package, so that it can be read without torch.
"""
