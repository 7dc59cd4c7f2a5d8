"""Commands run in this process, on small data and a network that compiles at once."""

import contextlib
import io
import json
import os
import signal

import haiku as hk
import numpy as np
import pytest

from jdiff import models, networks
from jdiff.cli import main
from jdiff.runs import log

# Options of `jdiff train unet`.
TINY = ["--num-channels", "16", "--batch-size", "8", "--num-steps", "20"]


def write_data(folder):
    """Images of two classes, 8 x 8: bright above, bright below."""
    images = np.random.default_rng(0).integers(0, 60, (40, 8, 8), np.uint8)
    labels = np.arange(40) % 2
    images[labels == 0, :4] += 190
    images[labels == 1, 4:] += 190
    np.savez(folder / "tiny.npz", images=images, labels=labels, chars="ab")
    return folder / "tiny.npz"


def linear_network(num_classes, *sizes):
    """In place of the UNet where the network does not matter: it compiles at once."""

    def network(x_t, log_snr, label):
        pixels = x_t.reshape(len(x_t), -1)
        shift = hk.Embed(num_classes + 1, pixels.shape[1])(label)
        return (hk.Linear(pixels.shape[1])(pixels) + shift).reshape(x_t.shape)

    return hk.without_apply_rng(hk.transform(network))


def train(*argv, stop_at=None):
    """(exit code, stdout, last line of stderr) of `jdiff train`, in this process.

    A SIGTERM comes with the line of the log at step `stop_at`.
    """
    report = log.report

    def report_and_stop(opened, step, metrics):
        report(opened, step, metrics)
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(log, "report", report_and_stop)
        try:
            main(["train", *map(str, argv)])
            code = 0
        except SystemExit as stop:
            code = stop.code
    return code, out.getvalue(), (err.getvalue().strip().splitlines() or [""])[-1]


def train_linear(*argv, stop_at=None):
    """The same of `jdiff train unet`, with the linear network in place of the UNet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "make_unet", linear_network)
        patch.setattr(models.model, "make_unet", linear_network)
        return train("unet", *argv, stop_at=stop_at)


def contents(folder):
    """Every file below a folder, with its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def log_of(out):
    """The lines of a run's log."""
    lines = (out / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def losses_of(out):
    return [line["loss"] for line in log_of(out)]


def steps_of(out):
    """Steps of the checkpoints that bear their names."""
    names = (path.name for path in (out / "checkpoints").glob("*"))
    return sorted(int(name) for name in names if name.isdigit())
