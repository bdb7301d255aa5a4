"""`memory_bandwidth`: how many bytes a second this machine's memory gives to one process, measured in a moment.

What is measured is what a decoder's step does most: a matrix that fits into no cache, times a vector. Over as many
threads as the linear algebra takes, which `OMP_NUM_THREADS` says for it as for torch.
"""

from __future__ import annotations

import time

import numpy as np

BYTES = 1 << 28
TRIES = 5
COLUMNS = 4096


def memory_bandwidth(size_bytes: int = BYTES) -> float:
    """Bytes a second, the best of some tries: others may be using the machine meanwhile. Takes half a second."""
    matrix = np.ones((max(1, size_bytes // 4 // COLUMNS), COLUMNS), dtype=np.float32)
    vector, out = np.ones(COLUMNS, dtype=np.float32), np.empty(len(matrix), dtype=np.float32)
    best = float("inf")
    for _ in range(TRIES):
        start = time.perf_counter()
        np.dot(matrix, vector, out=out)
        best = min(best, time.perf_counter() - start)
    return matrix.nbytes / best
