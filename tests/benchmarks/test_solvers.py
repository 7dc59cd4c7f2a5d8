"""The table of the solvers' errors."""

import pytest
import solvers

import jdiff


@pytest.mark.slow
def test_second_order_solvers_need_fewer_steps():
    def error(solver, num_steps):
        times = jdiff.timesteps(solvers.SCHEDULE, num_steps)
        return float(solvers.gaussian_error(times, solver))

    for solver in (jdiff.dpmpp_2m, jdiff.unipc):
        assert error(solver, 40) < error(jdiff.ddim, 40) / 3
        assert error(solver, 40) < error(solver, 20) / 2


def test_a_table_of_no_samples_is_refused():
    with pytest.raises(ValueError, match="--num-samples must be >= 1, got 0"):
        solvers.main(["--num-samples", "0"])
