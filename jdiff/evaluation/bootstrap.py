"""Estimates with bootstrap intervals: how far would another draw have led?

To draw N things again with replacement is to give each a count, so a resample is a
vector of counts, and whatever a metric computes from sums it computes for all
resamples at once by matrix products (Efron & Tibshirani 1993).
"""

from typing import NamedTuple

import numpy as np

NUM_RESAMPLES = 100


class Estimate(NamedTuple):
    """A figure and the bounds of its 95% bootstrap interval."""

    value: float
    low: float
    high: float


def resample_counts(num: int, num_resamples: int, seed: int) -> np.ndarray:
    """Returns how often each of num things counts, float64[1 + num_resamples, num].

    Row 0 is the set itself, all ones. Each further row is a resample, drawn from
    Multinomial(num; 1/num, ..., 1/num). All rows sum to num.
    """
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(num, np.full(num, 1.0 / num), num_resamples)
    return np.vstack([np.ones(num), counts])


def resample_pair(
    samples: np.ndarray, reference: np.ndarray, num_resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns independent `resample_counts` of two sets."""
    return (
        resample_counts(len(samples), num_resamples, seed),
        resample_counts(len(reference), num_resamples, seed + 1),
    )


def centred_estimate(draws: np.ndarray) -> Estimate:
    """Returns draws[0] with the 95% spread of its resamples, draws[1:], around it.

    A resample holds fewer different things than the sample, so a distance between
    samples, which has a bias of 1/N, has twice that bias when resampled. Hence the
    spread of the resamples counts, not where they lie. Between equal distributions it
    is too wide, by the root of 3 in theory: the errors of the sample and of its
    resample add up before they are squared. Without resamples it has no width.
    """
    _, low, high = percentile_estimate(draws)
    shift = draws[0] - draws[1:].mean() if len(draws) > 1 else 0.0
    return Estimate(float(draws[0]), low + shift, high + shift)


def percentile_estimate(draws: np.ndarray) -> Estimate:
    """Returns draws[0] with the 95% interval of draws[1:]; none: no width."""
    resamples = draws[1:] if len(draws) > 1 else draws
    return Estimate(*map(float, (draws[0], *np.quantile(resamples, [0.025, 0.975]))))


def bootstrap_fraction(
    hits: np.ndarray,
    strata: np.ndarray | int = 0,
    seed: int = 0,
    num_resamples: int = 2000,
) -> Estimate:
    """Returns the fraction of hits with a 95% percentile bootstrap interval.

    Things are drawn again within each stratum, as the samples were: so many of each
    class. To draw n_k hits or misses again is to draw Binomial(n_k, p_k), so nothing
    is resampled one by one. Where all are hits, or none, the interval has no width.

    Args:
        hits: bool[N], N >= 1.
        strata: int[N], the class of each; or one class for all.
        seed: >= 0.
        num_resamples: >= 0; without any the interval has no width.
    """
    strata = np.broadcast_to(strata, len(hits))
    _, stratum, counts = np.unique(strata, return_inverse=True, return_counts=True)
    fractions = np.bincount(stratum, hits) / counts
    rng = np.random.default_rng(seed)
    draws = rng.binomial(counts, fractions, (num_resamples, len(counts))).sum(-1)
    return percentile_estimate(np.append(np.mean(hits), draws / len(hits)))
