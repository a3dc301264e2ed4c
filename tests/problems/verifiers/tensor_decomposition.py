"""Matrix multiplication: write the tensor of n x m by m x p matrices as a sum of few products of rank 1.

Improve `construct`, which returns three matrices with a column for each product: n m, m p and p n rows. Entries are
halves of Gaussian integers, as int, float or complex. The identity is checked in whole numbers.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Rank of matrix multiplication, 2 x 4 by 4 x 5"
# inputs = [[2, 4, 5]]
# score_name = "minus the multiplications"
#
# [tool.overnight.known]
# start = -40
# ///

from collections.abc import Sequence

import funsearch
import numpy as np

LARGEST = 64
"""Entries are smaller, so that sums of their products fit into 64 bits."""


@funsearch.run
def evaluate(n: int, m: int, p: int) -> int:
    """Return minus the number of products."""
    return value_of(construct(n, m, p), n, m, p)


def value_of(factors: Sequence[np.ndarray], n: int, m: int, p: int) -> int:
    """Return minus the number of products of a given decomposition."""
    a, b, c = (doubled(factor) for factor in factors)
    rank = a.shape[-1]
    if (a.shape[1:], b.shape[1:], c.shape[1:]) != ((n * m, rank), (m * p, rank), (p * n, rank)) or rank > n * m * p:
        raise ValueError(f"the factors must have {n * m}, {m * p} and {p * n} rows, and a column for each product")
    pairs = times(a[:, :, None], b[:, None])
    whole = times(pairs.reshape(2, -1, 1, rank), c[:, None]).sum(axis=-1).reshape(2, n, m, m, p, p, n)
    i, j, k = np.indices((n, m, p)).reshape(3, -1)
    whole[0, i, j, j, k, k, i] -= 8
    if whole.any():
        raise ValueError("the products do not add up to matrix multiplication")
    return -rank


def doubled(factor: np.ndarray) -> np.ndarray:
    """Return twice a matrix in whole numbers, real and imaginary parts, shape (2, rows, columns)."""
    values = np.array(factor, dtype=complex)
    parts = 2 * np.array([values.real, values.imag])
    if values.ndim != 2 or not np.all(np.abs(parts) < LARGEST) or (parts != np.round(parts)).any():
        raise ValueError(f"a factor must be a matrix of halves of Gaussian integers below {LARGEST // 2}")
    return parts.astype(np.int64)


def times(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Multiply Gaussian integers."""
    return np.array([x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]])


@funsearch.evolve
def construct(n: int, m: int, p: int) -> list[np.ndarray]:
    """Return the three factors; entry (k, i) of the product has the row k n + i of the last one."""
    i, j, k = np.indices((n, m, p)).reshape(3, -1)
    return [np.eye(n * m)[i * m + j].T, np.eye(m * p)[j * p + k].T, np.eye(p * n)[k * n + i].T]
