"""Actors: who proposes. Each says by its methods what it can do: `act`, `sample`, `log_prob`, `imitate`."""
