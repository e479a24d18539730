"""Random numbers without a state: the n-th number of a key is a function of the two, in any order and any process.

SplitMix64 (Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number Generators", figure 16), whose n-th number
is the mix of key + n * GAMMA.
"""

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)
BITS = 53  # of a number, as many as a float has


def keys(seed: int, numbers: np.ndarray) -> np.ndarray:
    """A key (uint64) for each of the numbers (at least 0), as different as those of other seeds below 2^64."""
    return mixed(mixed(np.array([seed], np.uint64)) + (numbers.astype(np.uint64) + np.uint64(1)) * GAMMA)


def draw(keys: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Number ``numbers`` (at least 0) of each key: integers (int64) from 0 to 2^53 - 1, all equally probable."""
    bits = mixed(keys + (numbers.astype(np.uint64) + np.uint64(1)) * GAMMA)
    return (bits >> np.uint64(64 - BITS)).astype(np.int64)


def mixed(x: np.ndarray) -> np.ndarray:
    """64 bits, each of which depends on all bits of ``x``; different for different ``x``."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
