"""Learning from preferences: one file per system."""
