"""Critics: who judges."""
