"""What `benchmark.py` measures: equal work in jdiff and in other libraries.

Each function returns a contest: {name: call}, jdiff first, where a call does the work
once and waits for it; and how many items a call handles. Libraries that are not
installed do not take part.
"""

import argparse
import importlib.util
import math
import sys
from typing import NamedTuple
from unittest import mock

import compare_toy
import fit_linear
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jdiff

NUM_IMAGES = 10_000  # that linear models are fitted to


class Contest(NamedTuple):
    """Calls that do equal work, how much a call does, and its FLOPs if known."""

    calls: dict
    items: str
    num_items: int
    flops: float = math.nan


def flops_of(function, *inputs) -> float:
    """Returns the FLOPs of a program, with convolutions computed in the plain way.

    That is what the work amounts to; the fast way needs fewer, and takes the credit.
    """
    with mock.patch("jdiff.networks.convolution.MIN_CHANNELS", math.inf):
        lowered = jax.jit(lambda *inputs: function(*inputs)).lower(*inputs)
    return lowered.cost_analysis()["flops"]


def unet_training(args: argparse.Namespace, model) -> Contest:
    """Steps of training of the shipped UNet, with all that `train_unet.py` does."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2000, *model.image_shape), np.uint8)
    labels = np.arange(2000) % len(model.classes)
    loss_fn = jdiff.make_diffusion_loss(
        model.apply, model.schedule, model.prediction, len(model.classes), 0.1
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3, b2=0.99))
    train_step = jdiff.make_train_step(loss_fn, optimizer, 0.999)
    data = jdiff.balance(images, labels)

    def step(state, data):
        key = jax.random.fold_in(jax.random.key(0), state.step)
        return train_step(state, jdiff.draw_batch(key, data, args.batch_size))

    params = jax.tree.map(jnp.array, model.params)
    state = [jdiff.init_train_state(jax.random.key(0), params, optimizer)]
    flops = flops_of(step, state[0], data)
    step = jax.jit(step, donate_argnums=0)

    def call():
        state[0], metrics = step(state[0], data)
        metrics["loss"].block_until_ready()

    def torch_call(network):
        import torch_unet

        return torch_unet.make_train_step(network, model, images, labels, args)

    calls = {"jdiff": call} | by_torch(args, model, torch_call)
    return Contest(calls, "images", args.batch_size, flops)


def unet_denoising(args: argparse.Namespace, model) -> Contest:
    """Calls of the shipped UNet."""
    x_t = jnp.ones((args.batch_size, *model.image_shape))
    log_snr, label = jnp.zeros(args.batch_size), jnp.zeros(args.batch_size, jnp.int32)
    apply = jax.jit(model.apply)
    inputs = jax.tree.map(jnp.asarray, model.params), x_t, log_snr, label
    flops = flops_of(model.apply, *inputs)

    def torch_call(network):
        import torch

        x_t = torch.ones(args.batch_size, 1, *model.image_shape[:2])
        x_t = x_t.to(memory_format=torch.channels_last)
        inputs = x_t, torch.zeros(args.batch_size), torch.zeros(args.batch_size).long()

        def call():
            with torch.no_grad():
                network(*inputs)

        return call

    calls = {"jdiff": lambda: apply(*inputs).block_until_ready()}
    calls |= by_torch(args, model, torch_call)
    return Contest(calls, "images", args.batch_size, flops)


def by_torch(args: argparse.Namespace, model, make_call) -> dict:
    """Returns the calls that `make_call` makes of PyTorch's networks; or nothing."""
    if not importlib.util.find_spec("torch"):
        return {}
    import torch
    import torch_unet

    # haiku's stand-in for flax refuses to be looked at, which torch.compile does.
    sys.modules.pop("haiku.experimental.flax", None)

    def network():
        facts = jdiff.storage.load_weights(jdiff.models.SHIPPED["unet"])[1]
        sizes = facts["num_channels"], facts["num_blocks"]
        net = torch_unet.UNet(len(model.classes), *sizes)
        net = torch_unet.load(net, model.params).to(memory_format=torch.channels_last)
        check_equal(net, model)
        return net

    calls = {"PyTorch, eager": make_call(network())}
    if not args.quick:  # it needs a C++ compiler and a minute
        calls["PyTorch, compiled"] = make_call(torch.compile(network()))
    return calls


def check_equal(net, model) -> None:
    """Raises ValueError unless both networks say the same."""
    import torch

    x_t = np.random.default_rng(0).normal(size=(2, *model.image_shape))
    x_t, log_snr, label = np.float32(x_t), np.float32([-2, 3]), np.int32([1, 62])
    ours = np.asarray(model.apply(model.params, x_t, log_snr, label))
    with torch.no_grad():
        inputs = torch.from_numpy(x_t).permute(0, 3, 1, 2), torch.from_numpy(log_snr)
        theirs = net(*inputs, torch.from_numpy(label).long()).permute(0, 2, 3, 1)
    error = np.abs(ours - theirs.numpy()).max() / np.abs(ours).max()
    numbers = sum(leaf.numel() for leaf in net.parameters())
    if numbers != sum(np.size(leaf) for leaf in jax.tree.leaves(model.params)):
        raise ValueError(f"networks must have equal sizes, got {numbers} parameters.")
    if not error < 1e-4:
        raise ValueError(f"networks must be equal, got a difference of {error:.1e}.")


def linear_fit(args: argparse.Namespace) -> Contest:
    """The article's linear model: principal axes of images, and a regression."""
    num = 500 if args.quick else NUM_IMAGES
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (num, 28, 28), np.uint8)
    labels = np.arange(num) % 10
    calls = {"jdiff": lambda: jdiff.closed_form.linear.fit(images, labels)}
    if importlib.util.find_spec("sklearn"):
        calls["scikit-learn"] = lambda: fit_linear.fit_by_scikit_learn(images, labels)
    return Contest(calls, "images", num)


def points_training(args: argparse.Namespace) -> Contest:
    """Epochs of the tutorial's network of points in the plane."""
    loops, num_points = compare_toy.make_loops([])
    return Contest(loops, "points", num_points)
