"""Claims: one file per system with its published claim as a small experiment, and the recorded results."""
