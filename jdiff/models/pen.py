"""A model of pen strokes: what it is, the hands it knows, and characters drawn with it.

A character is an array [60, 3] (`jdiff.handwriting.encode_strokes`), diffused by the
same schedules, solvers and guidance as images are. Its condition is its class, the
writer's code, and how neat and even it should be. The codes were learned with the
network; between those of two writers lie hands that nobody has.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from jdiff import diffusion, sampling, schedules, solvers, storage
from jdiff.extensions import consistency
from jdiff.guidance import guide
from jdiff.handwriting import NUM_POINTS
from jdiff.images import in_batches
from jdiff.models.generate import as_labels, check_guidance
from jdiff.models.model import MAX_FEW_STEPS, PREDICTIONS, SCHEDULES
from jdiff.networks import Condition, make_residual_mlp, make_stroke_classifier
from jdiff.schedules import karras_timesteps

NAME = "pen"  # of the weights that ship, and of the kind
SHIPPED_PEN = Path(__file__).parents[1] / "weights" / "pen_unipen.safetensors"

SHAPE = (NUM_POINTS, 3)
# After the writer's code: neatness in [-1, 1]; and by how much a character is higher
# on the line, taller and wider than its writer's mean one, in EVENNESS_SCALE.
NUM_QUALITIES = 4
EVENNESS_SCALE = 0.15  # heights of an x, and logarithms

NEATNESS = 1.0  # of hands, by default
NUM_DRAWS = 4

_NEIGHBOURS = 6  # hands that a neatness chooses from
_FEW = "few/"  # before the modules of the network that a few steps take
_NOT_OWN = ("hands", "spacing", _FEW)  # of the network and the judge


class PenModel(NamedTuple):
    """A conditional model of pen strokes.

    Attributes:
        apply: (params, x_t [B, 60, 3], log_snr [B], Condition) -> output.
        params: weights of the network and of the judge.
        schedule: the path it was trained on.
        prediction: what the output is.
        classes: classes[k] is the character of label k; len(classes) is the null label.
        judge: (params, x_0 [B, 60, 3]) -> logits [B, C].
        hands: codes of writers, the neatest first, float[H, E].
        sides: white left and right of each character beyond the mean, float[C, 2], in
            heights of an x.
        guidance: the scale that it is sampled with unless another is asked for.
        few: weights of the same network, distilled to 1 to 4 steps with guidance
            included; empty or None if there are none.
    """

    apply: Callable[..., jax.Array]
    params: Any
    schedule: schedules.Schedule
    prediction: diffusion.Prediction
    classes: str
    judge: Callable[..., jax.Array]
    hands: np.ndarray
    sides: np.ndarray
    guidance: float = 2.0
    few: Any = None


class Hand(NamedTuple):
    """Who writes; `generate_strokes` takes a hand for all characters or one for each.

    Attributes:
        code: float[E], or float[N, E].
        neatness: in [0, 1], where 1 is a teacher's, or NaN, whatever the code says; or
            float[N].
        unevenness: by how much each character differs from its writer's mean one,
            float[3] or float[N, 3]; None draws it, the less neat, the more.
        biases: what is added to those of the network, whoever's hand the characters
            are in, {module: {"b": float[...]}}; None adds nothing.
    """

    code: np.ndarray
    neatness: float | np.ndarray
    unevenness: np.ndarray | None = None
    biases: Any = None


def stroke_style(hand: Hand) -> jax.Array:
    """Returns the style that the network is conditioned on, float[..., E + 4]."""
    neatness = 2.0 * jnp.asarray(hand.neatness)[..., None] - 1.0
    uneven = jnp.asarray(hand.unevenness)
    return jnp.concatenate([hand.code, neatness, uneven], -1)


def draw_hand(model: PenModel, seed: int, neatness: float = NEATNESS) -> Hand:
    """Returns somebody's hand, between those of two writers who are about as neat.

    Args:
        model: from `load_pen`.
        seed: >= 0; the same seed, the same hand.
        neatness: from a doctor's, 0, to a teacher's, 1.

    Raises:
        ValueError: a number is outside its range.
    """
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}.")
    if not 0.0 <= neatness <= 1.0:
        raise ValueError(f"neatness must be in [0, 1], got {neatness}.")
    num = min(_NEIGHBOURS, len(model.hands))
    first = round((1.0 - neatness) * (len(model.hands) - num))
    random = np.random.default_rng(seed)
    pair = first + random.permutation(num)[:2]
    fraction = random.uniform()
    a, b = model.hands[pair[0]], model.hands[pair[-1]]
    return Hand((1.0 - fraction) * a + fraction * b, neatness)


def gaps_between(model: PenModel, labels: np.ndarray, gap: float) -> np.ndarray:
    """Returns the white before each character, float[N], if `gap` is that in the mean.

    Labels int[N] are in the order of writing, gaps in heights of an x.
    """
    left, right = model.sides[labels].T
    return gap + left + np.concatenate([[0.0], right[:-1]])


def generate_strokes(
    key: jax.Array,
    model: PenModel,
    labels: Iterable[int],
    hand: Hand,
    num_steps: int = 10,
    guidance: float | None = None,
    solver: Callable[[schedules.Schedule], sampling.Solver] | None = None,
    grid: Callable[[schedules.Schedule, int], jax.typing.ArrayLike] = karras_timesteps,
    num_draws: int = NUM_DRAWS,
    batch_size: int = 64,
    with_path: bool = False,
) -> Iterator[sampling.Sample]:
    """Yields characters in one hand, batch by batch, as `Sample`s of NumPy arrays.

    Each is the one of a few draws that the judge reads best: of what the distilled
    network makes of their noise in one step, if there is one, which costs little.
    Character k is drawn with `jax.random.fold_in(key, k)`, whatever the others are.

    Args: as of `generate_batches`, except
        labels: int[N], each in [0, len(model.classes)).
        hand: from `draw_hand`; or N of them, stacked.
        num_steps: up to 4 are those of the distilled network, if there is one, without
            guidance or solver.
        guidance: 0 ignores character and hand.
        num_draws: to choose from, >= 1.

    Yields:
        Sample with x_0 float32[n, 60, 3] and path float32[n, num_steps + 1, 60, 3].

    Raises:
        ValueError: a number is outside its range; on the call, before any work.
    """
    labels = as_labels(labels, len(model.classes) - 1)
    for name, number in (("draws", num_draws), ("batch_size", batch_size)):
        if number < 1:
            raise ValueError(f"{name} must be >= 1, got {number}.")
    times = grid(model.schedule, num_steps)
    model = _shift_model(model, hand.biases)
    # Compiled programs are found again by what a model is, not by its arrays.
    no_arrays: Any = dict.fromkeys(("params", "schedule", "hands", "sides", "few"))
    static = model._replace(**no_arrays)
    network: Any = model.params
    scale: Any = None
    scout: Any = model.few if num_draws > 1 else None
    if num_steps <= MAX_FEW_STEPS and model.few and solver is guidance is None:
        network, solver, scout = model.few, consistency, None
    else:
        scale = model.guidance if guidance is None else guidance
        check_guidance(scale)
        scale = np.float32(scale)
    plan = static, solver or solvers.unipc, num_draws, with_path
    tables = network, scout or None, model.params, model.schedule, times, scale
    code, neatness = (np.asarray(array, np.float32) for array in hand[:2])
    uneven = hand.unevenness
    if uneven is not None:
        uneven = np.broadcast_to(uneven, (len(labels), NUM_QUALITIES - 1))
    hands = Hand(
        np.broadcast_to(code, (len(labels), code.shape[-1])),
        np.broadcast_to(neatness, len(labels)),
        uneven,
    )

    def draw(index, labels, hands):
        return _draw_batch(key, index, labels, hands, tables, plan)

    return in_batches(draw, batch_size, np.arange(len(labels)), labels, hands)


def _shift_model(model: PenModel, biases: Any) -> PenModel:
    """Returns the model whose networks have the biases of a hand."""
    if not biases:
        return model
    few = model.few and shift_biases(model.few, biases)
    return model._replace(params=shift_biases(model.params, biases), few=few)


def shift_biases(params: Any, biases: Any) -> Any:
    """Returns weights, with numbers added to some of their biases."""
    shifted = {
        module: params[module] | {"b": params[module]["b"] + leaves["b"]}
        for module, leaves in biases.items()
    }
    return params | shifted


def take_biases(params: Any) -> Any:
    """Returns the biases of the network alone, {module: {"b": float[...]}}."""
    network = take_network(params)
    return {name: {"b": own["b"]} for name, own in network.items() if "b" in own}


@functools.partial(jax.jit, static_argnames="plan")
def _draw_batch(key, index, labels, hand, tables, plan):
    network, scout, params, schedule, times, guidance = tables
    model, make_solver, num_draws, with_path = plan
    solver = make_solver(schedule)
    apply = jax.jit(model.apply)  # guidance traces it once, not twice
    null = jnp.full(hand.code.shape[1] + NUM_QUALITIES, jnp.nan, jnp.float32)

    def one(index, label, hand):
        def denoiser(weights, guidance, hand):
            def conditioned(*given):
                return sampling.make_denoiser(
                    apply, weights, schedule, model.prediction, Condition(*given)
                )

            denoise = conditioned(label, stroke_style(hand))
            if guidance is None:
                return denoise
            no_label = jnp.full_like(label, len(model.classes))
            return guide(denoise, conditioned(no_label, null), guidance)

        def begin(key):
            """Returns a draw's key, noise and hand."""
            key_style, key = jax.random.split(key)
            x_T = solver.prior(jax.random.split(key)[0], SHAPE, times[0])
            if hand.unevenness is not None:
                return key, x_T, hand
            # Nobody's letters are all alike: the less neat, the less even.
            uneven = jax.random.normal(key_style, (NUM_QUALITIES - 1,))
            return key, x_T, hand._replace(unevenness=(1.0 - hand.neatness) * uneven)

        def finish(key, x_T, hand):
            denoise = denoiser(network, guidance, hand)
            return sampling.sample(key, denoise, solver, times, SHAPE, x_T)

        def glance(key, x_T, hand):
            """Returns what becomes of a draw, as the distilled network sees it."""
            return denoiser(scout, None, hand)(x_T, times[0])

        def choose(x_0):
            read = jax.nn.log_softmax(model.judge(params, x_0))[:, label]
            return jnp.argmax(read)

        keys = jax.random.split(jax.random.fold_in(key, index), num_draws)
        draws = jax.vmap(begin)(keys)
        if scout is None:
            drawn = jax.vmap(finish)(*draws)
            best = choose(drawn.x_0)
            chosen = jax.tree.map(lambda leaf: leaf[best], drawn)
        else:
            best = choose(jax.vmap(glance)(*draws))
            chosen = finish(*jax.tree.map(lambda leaf: leaf[best], draws))
        return chosen if with_path else chosen._replace(path=chosen.path[:0])

    return jax.vmap(one)(index, labels, hand)


@functools.cache
def make_pen_network(
    num_classes: int, num_features: int, num_layers: int, num_conditions: int
) -> hk.Transformed:
    """Returns the residual perceptron for arrays [B, 60, 3] as (init, apply)."""
    network = make_residual_mlp(num_classes, num_features, num_layers, num_conditions)

    def init(key, x_t, log_snr, condition):
        return network.init(key, x_t.reshape(len(x_t), -1), log_snr, condition)

    def apply(params, x_t, log_snr, condition):
        flat = x_t.reshape(len(x_t), -1)
        return network.apply(params, flat, log_snr, condition).reshape(x_t.shape)

    return hk.Transformed(init, apply)


def build_pen(description: dict[str, Any], params: Any) -> PenModel:
    """Returns the model of a weights file; a KeyError names what it does not say."""
    network, judge = _make_networks(description)
    return PenModel(
        network.apply,
        {k: v for k, v in params.items() if not k.startswith(_NOT_OWN)},
        SCHEDULES[description["schedule"]](description["num_steps"]),
        PREDICTIONS[description["prediction"]],
        description["classes"],
        judge.apply,
        np.asarray(params["hands"]["codes"]),
        np.asarray(params["spacing"]["sides"]),
        float(description["guidance"]),
        {k[len(_FEW) :]: v for k, v in params.items() if k.startswith(_FEW)},
    )


def _make_networks(description: dict[str, Any]) -> tuple[hk.Transformed, ...]:
    """Returns the network and the judge of a description, each as (init, apply)."""
    num_classes = len(description["classes"])
    sizes = [description[f"num_{n}"] for n in ("features", "layers", "conditions")]
    judge = make_stroke_classifier(num_classes, description["judge_features"])
    return make_pen_network(num_classes, *sizes), judge


def find_pen(model: Any) -> PenModel | None:
    """Returns the model of pen strokes that is meant, or None if it is another.

    What is meant is a model, the name of one that ships, or a file or run of weights.
    """
    if isinstance(model, PenModel):
        return model
    if not isinstance(model, str | Path):
        return None
    if str(model) == NAME:
        return load_pen()
    path = Path(model) / "weights.safetensors" if Path(model).is_dir() else Path(model)
    # What is no file is the name, or the mistake, of another kind of model.
    if not path.is_file() or storage.load_weights(path)[1].get("model") != NAME:
        return None
    return load_pen(path)


def check_no_strokes(**options: Any) -> None:
    """Raises a ValueError if an option of strokes is given to a model of images."""
    used = [name for name, value in options.items() if value is not None]
    if used:
        raise ValueError(
            f"the model draws no strokes (pen does), got {', '.join(used)}."
        )


def load_pen(path: str | Path = NAME) -> PenModel:
    """Returns the model of pen strokes in a weights file; "pen" is the one that ships.

    Raises:
        WeightsError: the file is missing, truncated, not weights, or of another model.
    """
    path = SHIPPED_PEN if str(path) == NAME else path
    params, description = storage.load_weights(path, NAME)
    with storage.reading(path, "weights that describe a pen", storage.WeightsError):
        model = build_pen(description, params)
        expected = _expected(description, model, params)
    storage.check_params(params, expected, path)
    if not len(model.hands):
        raise storage.WeightsError(f"weights must hold hands, got none in {path}.")
    return model


def _expected(description, model, params):
    """Returns the tree of shapes that the weights should have."""
    num_hands, num_codes = np.shape(params["hands"]["codes"])
    init = functools.partial(init_pen, description=description, num_codes=num_codes)
    shapes = jax.eval_shape(init, jax.random.key(0))
    codes = jax.ShapeDtypeStruct((num_hands, num_codes), jnp.float32)
    sides = jax.ShapeDtypeStruct((len(model.classes), 2), jnp.float32)
    given = {"hands": {"codes": codes}, "spacing": {"sides": sides}}
    return shapes | given | (add_few({}, shapes) if model.few else {})


def take_network(params: Any) -> Any:
    """Returns the weights of the network alone, of all that a file holds."""
    others = (*_NOT_OWN, "judge")
    return {k: v for k, v in params.items() if not k.startswith(others)}


def add_few(params: Any, distilled: Any) -> Any:
    """Returns what a file holds, with the weights of the distilled network."""
    network = take_network(distilled)
    return params | {_FEW + name: leaves for name, leaves in network.items()}


def init_pen(key: jax.Array, description: dict[str, Any], num_codes: int) -> Any:
    """Returns fresh weights of the network and the judge of a description."""
    key_network, key_judge = jax.random.split(key)
    network, judge = _make_networks(description)
    x = jnp.zeros((1, *SHAPE))
    style = jnp.zeros((1, num_codes + NUM_QUALITIES))
    condition = Condition(jnp.zeros(1, jnp.int32), style)
    params: dict[str, Any] = dict(network.init(key_network, x, jnp.zeros(1), condition))
    return params | dict(judge.init(key_judge, x))
