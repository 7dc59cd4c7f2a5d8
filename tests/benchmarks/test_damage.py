"""The table of the ladder of damage."""

import damage
import numpy as np
import pytest

from jdiff.evaluation import LADDER, Estimate


def test_ranks_are_those_of_spearman():
    assert damage.spearman(np.array([1.0, 2, 3, 4, 9])) == pytest.approx(1.0)
    assert damage.spearman(np.array([9.0, 4, 3, 2, 1])) == pytest.approx(-1.0)
    assert np.isnan(damage.spearman(np.ones(5)))
    # Ranks 2.5, 2.5, 1, 5, 4: Pearson's correlation with 1 .. 5, by hand.
    values = np.array([1.0, 1.0, 0.5, 3.0, 2.0])
    assert damage.spearman(values) == pytest.approx(5.5 / np.sqrt(9.5 * 10.0))


def test_a_cell_says_from_which_strength_on_a_figure_leaves_the_interval():
    floor = {"sees": Estimate(1, 0, 2), "blind": Estimate(1, 0, 2)}
    # Ranks 4, 1, 2, 3, 5 of 1 .. 5: 1 - 6 * 12 / 120 = 0.4.
    rungs = [
        {"sees": value, "blind": 1.0, "missing characters": 0.0}
        for value in (5.0, 1.0, 3.0, 4.0, 6.0)  # the first by chance
    ]
    whole = {"floor": floor, "rungs": {rung.name: rungs for rung in LADDER}}
    lines = damage.format_table(whole).splitlines()
    sees, blind = (
        next(line for line in lines if line.startswith(f"| {name} "))
        for name in ("sees", "blind")
    )
    assert sees.split("|")[2].split() == ["3", "+0.4"]
    assert blind.split("|")[2].split() == ["-"]
