"""Two-player preference games with a price on divergence from a reference: value, best response, gap, and solution.

    V(p, q) = P(p > q) - beta KL(p || ref) + beta KL(q || ref),    P [n, n] with P + P' = 1

By symmetry V(p, q) + V(q, p) = 1: the solution is one policy that answers itself best, and its value is 1/2.
Everything is float64 numpy; policies are log-probabilities [n].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actrix.errors import ActrixError

Array = NDArray[np.float64]


def normalise(logits: Array) -> Array:
    """Log-probabilities of logits."""
    top = logits.max()
    out: Array = logits - top - np.log(np.exp(logits - top).sum())
    return out


def divergence(logp: Array, logq: Array) -> float:
    """KL(p || q), nats."""
    return float(np.exp(logp) @ (logp - logq))


def best_response(matrix: Array, logp: Array, reference: Array, beta: float) -> Array:
    """The policy that does best against p: ref exp(P p / beta), normalised."""
    return normalise(reference + matrix @ np.exp(logp) / beta)


def duality_gap(matrix: Array, logp: Array, reference: Array, beta: float) -> float:
    """max_q V(q, p) - min_q V(p, q) = 2 max_q V(q, p) - 1: at least 0, and 0 at the solution only.

    With q* the best response, max_q V(q, p) - 1/2 = beta KL(p || q*), which is how it is computed: no digits cancel.
    """
    return 2 * beta * divergence(logp, best_response(matrix, logp, reference, beta))


def nash(matrix: Array, reference: Array, beta: float, tolerance: float = 1e-14) -> Array:
    """The solution's log-probabilities, by Newton's method on logits = ref + P p / beta, from large beta downwards.

    ActrixError where it does not converge (never seen for beta above 1e-3).
    """
    n = len(reference)
    if matrix.shape != (n, n) or np.abs(matrix + matrix.T - 1).max() > 1e-12:
        raise ActrixError("a preference matrix must be square, with P(a > b) + P(b > a) = 1")
    logits = normalise(reference)
    steps = max(1, int(np.ceil(np.log2(max(1.0, 2 / beta)))))
    for level in np.geomspace(max(2.0, beta), beta, steps + 1):
        for _ in range(200):
            p = np.exp(normalise(logits))
            error = logits - reference - matrix @ p / level
            error -= error.mean()
            if np.abs(error).max() < tolerance * max(1.0, np.abs(logits).max()):
                break
            slope = np.eye(n) - (matrix * p - np.outer(matrix @ p, p)) / level
            move = np.linalg.solve(slope, error)
            move -= move.mean()
            size = 1.0
            while size > 1e-6:  # shorter steps where a full one makes it worse
                trial = logits - size * move
                after = trial - reference - matrix @ np.exp(normalise(trial)) / level
                after -= after.mean()
                if np.abs(after).max() < np.abs(error).max():
                    break
                size /= 2
            else:
                break  # as good as rounding lets it be
            logits = trial
    if np.abs(error).max() > 1e-9 * max(1.0, np.abs(logits).max()):
        raise ActrixError(f"the game's solution was not found (error {np.abs(error).max():.1e})", "use a larger beta")
    return normalise(logits)
