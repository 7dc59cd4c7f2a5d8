"""The memory of 4,000 characters is that of a few, if nobody keeps them."""

import subprocess
import sys
from pathlib import Path

import pytest

# A process of its own, whose peak is its own; the network is nothing but a function, so
# that the images and their paths are all there is to be held.
PROGRAM = """
import jax
import jax.numpy as jnp
import numpy as np
import jdiff

def apply(params, x_t, log_snr, label):
    return jnp.tanh(x_t - 0.1 * label[:, None, None, None])

def peak():
    (line,) = (s for s in open("/proc/self/status") if s.startswith("VmHWM"))
    return 1024 * int(line.split()[1])

def draw(num):
    labels = np.arange(num) % 62
    batches = jdiff.generate(jax.random.key(0), model, labels, num_steps=10)
    return sum(len(batch.x_0) for batch in batches)

schedule, chars = jdiff.cosine_schedule(1000), jdiff.EMNIST_CHARS
model = jdiff.Model(apply, {}, schedule, jdiff.PREDICT_V, chars, (28, 28, 1))
assert draw(100) == 100
few = peak()
assert draw(4000) == 4000
print(peak() - few)
"""


# Not `resource`: its peak begins with that of the parent, which may be pytest's.
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the peak from Linux' /proc"
)
def test_4000_characters_need_no_more_memory_than_100():
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    paths = 4000 * 11 * 28 * 28 * 4
    assert int(done.stdout) < paths / 8
