"""Several processes that train as one.

Run as a program this file is one of two, which have a device each:
`python tests/runs/test_processes.py FOLDER ID PORT`. The first is told where they
meet; the other finds out as under SLURM.
"""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jdiff
from jdiff.runs import processes

sys.path.append(str(Path(__file__).parents[1]))  # as a program
from commands import (  # noqa: E402
    TINY,
    contents,
    losses_of,
    train_linear,
    write_data,
)

pytest.importorskip("orbax.checkpoint", reason="needs jdiffusion[train]")
PAIR = ["--num-processes", 2, "--process-id"]
RUN = [*TINY, "--steps", 50, "--save-minutes", 10]


def train(folder, index, port):
    """Leaves in the folder what the tests below look at."""
    data = ["--data", folder / "tiny.npz"]
    if index == 0:
        data += ["--coordinator", f"127.0.0.1:{port}", "--num-processes", 2]
        data += ["--process-id", 0]
    else:
        names = {"JOB_ID": port - 61440, "STEP_NODELIST": "127.0.0.1", "NTASKS": 2}
        names |= {"STEP_NUM_TASKS": 2, "PROCID": 1, "LOCALID": 1}
        os.environ |= {f"SLURM_{name}": str(value) for name, value in names.items()}
    results = {
        "odd": train_linear(*data, *RUN, "--batch-size", 9, "--out", folder / "odd")
    }
    time.sleep(3 * index)  # who is late finds no run that the first has just begun
    results["whole"] = train_linear(*data, *RUN, "--out", folder / "whole")
    # The first one writes: when it has come here, nothing more is to change.
    before = contents(folder / "whole")
    results["again"] = train_linear(*data, *RUN, "--out", folder / "whole")
    assert index or contents(folder / "whole") == before
    pieces = [*data, *RUN, "--shard-parameters", "--out", folder / "stopped"]
    # It is the second that is told to stop.
    results["stopped"] = train_linear(*pieces, stop_at=20 if index else None)
    (folder / f"results_{index}.json").write_text(json.dumps(results))


def free_port():
    """One of those where JAX meets under SLURM, which the number of the job chooses."""
    while True:
        port = random.randrange(61440, 65536)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    from cases import COMPILES_FAST  # computes, which the two may not before they meet

    folder, port = tmp_path_factory.mktemp("two"), free_port()
    write_data(folder)
    env = COMPILES_FAST | {"JAX_PLATFORMS": "cpu"}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder), str(k), str(port)], env=env
        )
        for k in range(2)
    ]
    try:
        assert [process.wait(timeout=300) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
    return folder


def results(folder, name):
    """What the two processes said at the end of a command, which they must agree on."""
    both = [json.loads((folder / f"results_{k}.json").read_text()) for k in range(2)]
    (code, _, error), (same_code, _, _) = (each[name] for each in both)
    assert code == same_code
    return code, error


@pytest.fixture(scope="module")
def one(two, tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "run"
    assert train_linear("--data", two / "tiny.npz", *RUN, "--out", out)[0] == 0
    return out


def assert_same_run(got, expected):
    np.testing.assert_allclose(losses_of(got), losses_of(expected), rtol=1e-5)
    assert len(losses_of(got)) == 5
    weights = [
        jdiff.storage.load_ema_weights(out / "checkpoints" / "50")[0]
        for out in (got, expected)
    ]
    got, expected = (ravel_pytree(params)[0] for params in weights)
    np.testing.assert_allclose(got, expected, rtol=0.0, atol=1e-4)


@pytest.mark.slow
def test_two_processes_train_as_one(two, one):
    assert results(two, "whole")[0] == 0
    assert_same_run(two / "whole", one)


@pytest.mark.slow
def test_the_first_process_alone_writes(two, one):
    names = [
        [path.name.split(".")[0] for path in out.iterdir()]
        for out in (two / "whole", one)
    ]
    assert sorted(names[0]) == sorted(names[1])


@pytest.mark.slow
def test_a_signal_to_one_of_two_ends_both_and_one_goes_on(two, one, tmp_path):
    assert results(two, "stopped")[0] == 0
    assert os.listdir(two / "stopped" / "checkpoints") == ["20"]
    shutil.copytree(two / "stopped", tmp_path / "run")
    assert train_linear("--resume", "--out", tmp_path / "run")[0] == 0
    assert_same_run(tmp_path / "run", one)


@pytest.mark.slow
def test_two_processes_refuse_alike(two):
    code, error = results(two, "odd")
    assert code == 2 and not (two / "odd").exists()
    assert error.endswith("by the number of devices, 2, got 9.")
    code, error = results(two, "again")
    assert code == 2 and "holds a run" in error


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--num-processes", 2], "need --coordinator"),
        (["--coordinator", "localhost:1234"], "needs --num-processes and --process-id"),
        (["--coordinator", "localhost", *PAIR, 0], "must be HOST:PORT, got localhost."),
        (["--coordinator", "localhost:0", *PAIR, 0], "must be HOST:PORT"),
        (["--coordinator", "localhost:1234", *PAIR, 2], r"must be in [0, 1], got 2."),
        (["--coordinator", "localhost:1234", *PAIR, -1], r"must be in [0, 1], got -1."),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, argv, says):
    data = write_data(tmp_path)
    code, _, error = train_linear("--data", data, *argv, "--out", tmp_path / "run")
    assert code == 2 and says in error and not (tmp_path / "run").exists()


@pytest.mark.parametrize("index", [0, 1])
def test_a_process_that_nobody_joins_says_so(index):
    where = f"127.0.0.1:{free_port()}"
    program = "from jdiff.runs import processes; processes.SECONDS_TO_JOIN = 1;"
    program += f"processes.join({where!r}, 2, {index})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 2
    says = f"process {index} must join all others at {where} within 1 seconds"
    assert says in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("environment", "is_in_cluster"),
    [
        ({}, False),
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_NTASKS": "4"}, False),  # a batch script, not `srun`
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
    ],
)
def test_a_cluster_is_what_starts_several_processes(
    monkeypatch, environment, is_in_cluster
):
    for name in processes.COUNTS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes.glob, "glob", lambda pattern: [])  # no TPU
    assert processes.in_cluster() == is_in_cluster


def test_one_process_decides_for_itself():
    assert processes.agree([], 1.5) == (False, 1.5)
    assert processes.agree([15], 0.1) == (True, 0.1)


if __name__ == "__main__":
    train(Path(sys.argv[1]), *map(int, sys.argv[2:]))
