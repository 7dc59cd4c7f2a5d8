"""Estimates with bootstrap intervals: how far would another draw have led?

To draw N things again with replacement is to give each a count, so a resample is a
vector of counts, and whatever a metric computes from sums it computes for all
resamples at once by matrix products (Efron & Tibshirani 1993).
"""

from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A figure and the bounds of its 95% bootstrap interval."""

    value: float
    low: float
    high: float


def resample_counts(num: int, num_resamples: int, seed: int) -> np.ndarray:
    """Returns how often each of num things is drawn, int[num_resamples, num].

    Each row sums to num; a row is Multinomial(num; 1/num, ..., 1/num).
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(num, np.full(num, 1.0 / num), num_resamples)


def centred_estimate(value: float, draws: np.ndarray) -> Estimate:
    """Returns the value with the 95% spread of its resamples around it.

    A resample holds fewer different things than the sample, so a distance between
    samples, which has a bias of 1/N, has twice that bias when resampled. Hence the
    spread of the resamples counts, not where they lie. Between equal distributions it
    is too wide, by the root of 3 in theory: the errors of the sample and of its
    resample add up before they are squared. Without resamples it has no width.
    """
    if not len(draws):
        return Estimate(float(value), float(value), float(value))
    low, high = np.quantile(draws - np.mean(draws), [0.025, 0.975])
    return Estimate(float(value), float(value + low), float(value + high))


def percentile_estimate(value: float, draws: np.ndarray) -> Estimate:
    """Returns the value with the 95% interval of its resamples; none: no width."""
    low, high = np.quantile(draws, [0.025, 0.975]) if len(draws) else (value, value)
    return Estimate(float(value), float(low), float(high))


def bootstrap_fraction(
    hits: np.ndarray, strata: np.ndarray, seed: int = 0, num_resamples: int = 2000
) -> Estimate:
    """Returns the share of hits with a 95% percentile bootstrap interval.

    Things are drawn again within each stratum, as the samples were: so many of each
    class. To draw n_k hits or misses again is to draw Binomial(n_k, p_k), so nothing
    is resampled one by one. Where all are hits, or none, the interval has no width.

    Args:
        hits: bool[N], N >= 1.
        strata: int[N], the class of each.
        seed: >= 0.
        num_resamples: >= 0; without any the interval has no width.
    """
    _, stratum, counts = np.unique(strata, return_inverse=True, return_counts=True)
    shares = np.bincount(stratum, hits) / counts
    rng = np.random.default_rng(seed)
    draws = rng.binomial(counts, shares, (num_resamples, len(counts))).sum(-1)
    return percentile_estimate(np.mean(hits), draws / len(hits))
