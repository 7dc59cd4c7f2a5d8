"""Where the arrays of a run lie, on one device or on many, and what a step costs.

The devices form a mesh of one axis, "data", as JAX's own `jax.sharding` has it. Every
batch is cut along it; the training state lies whole on each device, or in pieces. One
device is a mesh of one: there is no second path.
"""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

NUM_TIMED = 5  # steps behind the time per epoch


def make_mesh(devices=None) -> Mesh:
    """Returns the mesh of some devices, by default those of all processes."""
    devices = jax.devices() if devices is None else devices
    return Mesh(np.array(devices), ("data",))


def replicated(mesh: Any) -> NamedSharding:
    """Returns the sharding of what each device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def by_example(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch: its first axis, in equal parts."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size: int, num_devices: int) -> None:
    """Raises ValueError unless a batch is so many equal parts."""
    if batch_size % num_devices:
        raise ValueError(
            f"batch_size must be divisible by the number of devices, {num_devices}, "
            f"got {batch_size}."
        )


def layout(tree, mesh: Mesh, shard_parameters: bool = False):
    """Returns the sharding of every leaf of a tree of arrays, or of their shapes.

    Each is copied to every device, or cut along the largest of the axes that the number
    of devices divides, if there is one.
    """

    def sharding(leaf):
        axes = [k for k, size in enumerate(leaf.shape) if size and not size % mesh.size]
        if not shard_parameters or not axes:
            return replicated(mesh)
        largest = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * largest, "data"))

    return jax.tree.map(sharding, tree)


def shard(tree, mesh: Mesh, shard_parameters: bool = False):
    """Returns a tree of arrays laid out on the mesh as `layout` says."""
    # Not device_put, which cannot put on the devices of other processes.
    shardings = layout(tree, mesh, shard_parameters)
    return jax.jit(lambda tree: tree, out_shardings=shardings)(tree)


def gather(tree):
    """Returns a tree of arrays as NumPy arrays, wherever its leaves lie."""
    sharding = jax.tree.leaves(tree)[0].sharding
    if isinstance(sharding, NamedSharding):
        tree = jax.jit(lambda tree: tree, out_shardings=replicated(sharding.mesh))(tree)
    return jax.device_get(tree)


@jax.jit
def is_finite(tree):
    """Returns whether no number of a tree is NaN or infinite, wherever it lies."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def accumulate_gradients(optimizer, num_batches: int):
    """Returns the optimizer that makes one update of so many batches, by their mean."""
    import optax  # here, because help texts need no optimizer

    if num_batches == 1:
        return optimizer
    return optax.MultiSteps(optimizer, num_batches).gradient_transformation()


def step_of_several(train_step, state, batch, num_batches):
    """Returns (state, metrics) after one of the batches that make an update.

    Steps count batches; the moving average and its warm-up count updates.
    """
    moved, metrics = train_step(state._replace(step=state.step // num_batches), batch)
    done = state.step + 1
    updated = functools.partial(jnp.where, done % num_batches == 0)
    ema_params = jax.tree.map(updated, moved.ema_params, state.ema_params)
    return moved._replace(ema_params=ema_params, step=done), metrics


def cost_of(compiled) -> tuple[float | None, int | None]:
    """Returns (FLOPs, bytes of memory) of a compiled program, on each of its devices.

    None stands for what the backend does not say. Memory is that of arguments, results
    and all between; a result that takes the place of an argument counts once.
    """
    # One dict, or a list of one; a backend may return None, or -1 for the count.
    cost = compiled.cost_analysis() or {}
    cost = cost if isinstance(cost, dict) else cost[0]
    flops = cost.get("flops", -1.0)
    flops = flops if flops > 0 else None
    stats = compiled.memory_analysis()
    if stats is None:
        return flops, None
    held = stats.argument_size_in_bytes + stats.output_size_in_bytes
    return flops, held - stats.alias_size_in_bytes + stats.temp_size_in_bytes


def seconds_per_step(compiled, state, data) -> float:
    """Returns the time of a step, the first apart; it consumes the state."""
    state, _ = jax.block_until_ready(compiled(state, np.float32(0.0), data))
    began = time.monotonic()
    for _ in range(NUM_TIMED):
        state, _ = compiled(state, np.float32(0.0), data)
    jax.block_until_ready(state)
    return (time.monotonic() - began) / NUM_TIMED


def estimate_cost(
    step, state, data, num_images: int, batch_size: int, num_devices: int
) -> str:
    """Returns what a run would cost, in words: its step compiled and a few timed.

    The step consumes the state; an epoch has num_images.
    """
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    compiled = step.lower(state, np.float32(0.0), data).compile()
    flops, memory = cost_of(compiled)
    seconds = seconds_per_step(compiled, state, data)
    num_steps = -(-num_images // batch_size)
    total = "unknown" if flops is None else f"{flops * num_devices:.3e}"
    held = "unknown" if memory is None else f"{memory:,} bytes"
    return (
        f"parameters: {num_params:,}\n"
        f"FLOPs per step: {total}, of {batch_size} images\n"
        f"memory: {held}, data included, on each device of {num_devices}\n"
        f"time per epoch: {num_steps * seconds / 60:.3g} minutes, "
        f"{num_steps} steps of {seconds:.3g} seconds"
    )
