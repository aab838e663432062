"""Agents that act with tools, and search."""
