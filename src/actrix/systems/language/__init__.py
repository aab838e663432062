"""Systems of this family."""
