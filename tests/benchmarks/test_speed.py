"""The benchmark of speed runs; no time is asserted. What it compares is equal."""

import json

import jax
import numpy as np
import pytest

import jdiff

pytest.importorskip("optax", reason="needs jdiffusion[train]")
import speed  # noqa: E402, which needs optax


@pytest.mark.slow
def test_the_quick_benchmark_runs_and_writes_its_figures(tmp_path, capsys):
    out = tmp_path / "bench.json"
    speed.main(["--quick", "--out", str(out)])
    figures, printed = json.loads(out.read_text()), capsys.readouterr().out
    for work in ("training", "denoising", "linear fit", "2-D training"):
        assert figures[work]["jdiff"]["per_s"] > 0
        assert f"\n{work}" in printed
    assert figures["peak_gflops"] > 0
    assert set(figures["start_up_s"]) == {"import jax", "import jdiff", "jdiff write"}
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--rounds", "0"], "--rounds must be >= 1, got 0"),
        (["--batch-size", "0"], "--batch-size must be >= 1, got 0"),
        (["--out", "bench.txt"], "must end in .json"),
        (["--out", "nowhere/bench.json"], "nowhere"),
    ],
)
def test_bad_input_is_refused_before_any_work(argv, says):
    with pytest.raises(ValueError, match=says):
        speed.main(["--quick", *argv])


def test_the_network_in_pytorch_is_the_same_function():
    torch = pytest.importorskip("torch", reason="needs jdiffusion[peers]")
    import torch_unet

    network = jdiff.networks.make_unet(5, num_channels=32, num_blocks=2)
    params = jdiff.models.init_params(jax.random.key(0), network, (8, 12, 1))
    rng = np.random.default_rng(0)
    # Layers that begin at 0 would hide what comes before them.
    params = jax.tree.map(
        lambda leaf: np.float32(leaf + 0.1 * rng.normal(size=leaf.shape)), params
    )
    x_t = np.float32(rng.normal(size=(3, 8, 12, 1)))
    log_snr, label = np.float32([-30, 0, 30]), np.int32([0, 4, 5])
    expected = network.apply(params, x_t, log_snr, label)
    peer = torch_unet.load(torch_unet.UNet(5, 32, 2), params)
    inputs = torch.from_numpy(x_t).permute(0, 3, 1, 2), torch.from_numpy(log_snr)
    with torch.no_grad():
        got = peer(*inputs, torch.from_numpy(label).long()).permute(0, 2, 3, 1)
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(got, expected, atol=1e-4 * scale)
    sizes = [sum(map(np.size, jax.tree.leaves(params)))]
    assert [sum(leaf.numel() for leaf in peer.parameters())] == sizes
