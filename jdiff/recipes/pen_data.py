"""What the model of pen strokes learns from: characters that are worth it, and judges.

Characters that two judges deny, each trained on half of the writers and asked about the
other half, are left out. How well a judge reads the others is their neatness.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import models, networks
from jdiff.data import PEN_CHARS, Pen
from jdiff.handwriting import MAX_STROKES, MIDDLE, STROKE_SCALE, encode_strokes

DENIED = 0.025  # share of each class that judges read worst, and that is left out
_OUTLIER = 3.5  # deviations of the length of a character's strokes
_LARGEST = 4.5  # box of a character in the units of its array, about 3 heights of an x
_SPECKS = ".,:;'`-\"i"  # characters that a recording of a single point may be
_FEW = 4  # examples of a writer's character at which there is a mean one

JUDGE_STEPS, JUDGE_BATCH = 3000, 512
JUDGE_NOISE, JUDGE_SLANT = 0.5, 0.1
JUDGE_FEATURES = 192

# Hands that are kept have written so many characters, of so many kinds, and their
# descenders reach below the line: else the recording had no line, but cells.
HAND_CHARS, HAND_KINDS = 250, 45
_DESCENDERS, _DEPTH = "gjpqy", -0.2  # heights of an x


class Strokes(NamedTuple):
    """What the network learns from.

    Qualities are neatness in [-1, 1], and by how much a character is higher on the
    line, taller and wider than its writer's mean one, in EVENNESS_SCALE, or NaN.
    """

    arrays: np.ndarray  # float32[N, 60, 3], see `encode_strokes`
    labels: np.ndarray  # int32[N], indices into PEN_CHARS
    writers: np.ndarray  # int32[N]
    qualities: np.ndarray  # float32[N, 4]


def prepare(pen: Pen, judge_steps: int = JUDGE_STEPS) -> Strokes:
    """Returns the characters of a data set that are worth learning from."""
    strokes = encode(pen)
    labels = strokes.labels
    legibility = cross_read(strokes.arrays, labels, strokes.writers, judge_steps)
    rank = rank_within(labels, legibility)
    strokes.qualities[:, 0] = 2.0 * rank - 1.0
    return Strokes(*(array[rank >= DENIED] for array in strokes))


def encode(pen: Pen) -> Strokes:
    """Returns the characters that are neither crossed out nor huge; none is judged."""
    few = np.array([len(strokes) <= MAX_STROKES for strokes in pen.strokes])
    # A zero of two strokes is one with a slash, which is read as another letter.
    slashed = np.array([len(strokes) > 1 for strokes in pen.strokes])
    few &= ~(slashed & (pen.labels == PEN_CHARS.index("0")))
    few &= ~_is_outlier(pen)
    rows = np.flatnonzero(few)
    arrays = np.stack([encode_strokes(pen.strokes[k]) for k in rows])
    labels, writers = pen.labels[rows], pen.writers[rows]
    has_baseline = pen.has_baseline[rows]
    arrays = find_baselines(arrays, labels, writers, has_baseline)
    size = np.abs(arrays[..., :2]).max((1, 2))
    inside = size < _LARGEST
    arrays, labels, writers = arrays[inside], labels[inside], writers[inside]
    evenness = measure_evenness(arrays, labels, writers)
    evenness[~has_baseline[inside], 0] = np.nan
    unknown = np.full((len(arrays), 1), np.nan, np.float32)
    qualities = np.concatenate([unknown, evenness], 1)
    return Strokes(arrays, labels, writers, qualities)


def _is_outlier(pen: Pen) -> np.ndarray:
    """Returns which characters are crossed out, or hardly there, bool[N]."""
    lengths = np.array(
        [
            sum(np.hypot(*np.diff(stroke, axis=0).T).sum() for stroke in strokes)
            for strokes in pen.strokes
        ]
    )
    specks = [PEN_CHARS.index(char) for char in _SPECKS]
    outlier = (lengths == 0) & ~np.isin(pen.labels, specks)
    logs = np.log(lengths + 0.1)
    for label in np.unique(pen.labels):
        own = pen.labels == label
        low, middle, high = np.percentile(logs[own], [25, 50, 75])
        deviation = max((high - low) / 1.35, 0.15)
        outlier |= own & (np.abs(logs - middle) > _OUTLIER * deviation)
    return outlier


def find_baselines(
    arrays: np.ndarray, labels: np.ndarray, writers: np.ndarray, known: np.ndarray
) -> np.ndarray:
    """Returns arrays that stand on their line as others of the class do.

    Where the baseline is not known, bool[N], y = 0 is the lowest point.
    """
    bottom = arrays[:, :, 1].min(1)
    shift = np.zeros(len(arrays), np.float32)
    unknown = ~known
    for label in np.unique(labels[unknown]):
        own = labels == label
        if not (own & known).any():
            continue
        usual = np.median(bottom[own & known])
        shift[own & unknown] = (usual - bottom)[own & unknown]
        for writer in np.unique(writers[own & unknown]):
            his = own & (writers == writer)
            if (his & known).sum() >= 3:
                here = his & unknown
                shift[here] = (np.median(bottom[his & known]) - bottom)[here]
    moved = arrays.copy()
    moved[:, :, 1] += shift[:, None]
    return moved


def measure_evenness(
    arrays: np.ndarray, labels: np.ndarray, writers: np.ndarray
) -> np.ndarray:
    """Returns how a character differs from its writer's mean one, float32[N, 3].

    Higher on the line, taller, wider, in EVENNESS_SCALE, within [-3, 3]; NaN where a
    writer has written a character fewer than four times.
    """
    low = STROKE_SCALE * arrays[:, :, :2].min(1)
    size = STROKE_SCALE * np.ptp(arrays[:, :, :2], axis=1)
    # A dash has no height: what is small counts little.
    width, height = np.log(size + 0.2).T
    measured = np.stack([low[:, 1], height, width], 1) / models.EVENNESS_SCALE
    even = np.full(measured.shape, np.nan, np.float32)
    pairs = writers.astype(np.int64) * (labels.max() + 1) + labels
    order = np.argsort(pairs, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(pairs[order])) + 1):
        if len(rows) >= _FEW:
            even[rows] = measured[rows] - np.median(measured[rows], 0)
    return np.clip(even, -3.0, 3.0)


def cross_read(
    arrays: np.ndarray, labels: np.ndarray, writers: np.ndarray, num_steps: int
) -> np.ndarray:
    """Returns log-probabilities of the labels, float[N], by judges of other writers."""
    people, index = np.unique(writers, return_inverse=True)
    if len(people) < 2:
        raise ValueError(
            "data must hold two writers, so that judges read others than they "
            "learned from, got one."
        )
    half = np.random.default_rng(0).permutation(len(people))[index] % 2
    legibility = np.zeros(len(labels), np.float32)
    for side in (0, 1):
        judge, params = fit_judge(
            arrays[half == side], labels[half == side], side, num_steps
        )
        rows = np.flatnonzero(half != side)
        logits = np.asarray(jax.jit(judge)(params, jnp.asarray(arrays[rows])))
        logits = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        legibility[rows] = logits[np.arange(len(rows)), labels[rows]]
    return legibility


def rank_within(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns the rank of each score in its class, float[N], in [0, 1]."""
    rank = np.ones(len(labels), np.float32)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) > 1:
            rank[rows[np.argsort(scores[rows])]] = np.linspace(0.0, 1.0, len(rows))
    return rank


def fit_judge(
    arrays: np.ndarray, labels: np.ndarray, seed: int = 0, num_steps: int = JUDGE_STEPS
) -> tuple[Any, Any]:
    """Returns a classifier of strokes, (apply, params), that noise does not confuse.

    Classes are drawn equally often as the roots of their counts; strokes are slanted,
    and hidden in noise, at random.
    """
    import optax  # here, because help texts need no optimizer

    network = networks.make_stroke_classifier(len(PEN_CHARS), JUDGE_FEATURES)
    x_0, y = jnp.asarray(arrays), jnp.asarray(labels)
    counts = np.bincount(labels, minlength=len(PEN_CHARS))
    total = jnp.asarray(
        np.cumsum(counts[labels] ** -0.5, dtype=np.float64), jnp.float32
    )
    rate = optax.cosine_decay_schedule(2e-3, num_steps)
    optimizer = optax.adamw(rate, weight_decay=0.02)
    params = jax.jit(network.init)(jax.random.key(seed), x_0[:1])

    def loss(params, x, y):
        target = optax.smooth_labels(jax.nn.one_hot(y, len(PEN_CHARS)), 0.05)
        return optax.softmax_cross_entropy(network.apply(params, x), target).mean()

    def step(state, key):
        params, opt_state = state
        key_row, key_level, key_eps, key_slant = jax.random.split(key, 4)
        place = total[-1] * jax.random.uniform(key_row, (JUDGE_BATCH,))
        rows = jnp.searchsorted(total, place).clip(0, len(y) - 1)
        x = x_0[rows]
        level = JUDGE_NOISE * jax.random.uniform(key_level, (JUDGE_BATCH, 1, 1)) ** 2
        x += level * jax.random.normal(key_eps, x.shape)
        slant = JUDGE_SLANT * jax.random.normal(key_slant, (JUDGE_BATCH, 1))
        x = x.at[:, :, 0].add(slant * x[:, :, 1])
        grads = jax.grad(loss)(params, x, y[rows])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    keys = jax.random.split(jax.random.key(seed), num_steps)
    state = params, optimizer.init(params)
    (params, _), _ = jax.jit(lambda state: jax.lax.scan(step, state, keys))(state)
    return network.apply, params


def fit_sides(pen: Pen, num_sweeps: int = 20) -> np.ndarray:
    """Returns the white left and right of each character beyond the mean, float[C, 2].

    On real lines the gap between two characters of a word is that of the line, plus
    what is right of the first and left of the second: medians in turns.
    """
    boxes = np.array(
        [
            [min(s[:, 0].min() for s in strokes), max(s[:, 0].max() for s in strokes)]
            for strokes in pen.strokes
        ]
    )
    gaps = pen.x[1:] - pen.x[:-1] - np.ptp(boxes[:-1], axis=1)
    # In documents of cells, and between words, a gap says nothing.
    near = (pen.lines[1:] == pen.lines[:-1]) & (gaps > -0.5) & (gaps < 0.9)
    near &= pen.has_baseline[1:] & pen.has_baseline[:-1]
    pairs = np.flatnonzero(near)
    usual = np.full(pen.lines.max() + 1, np.nan)
    for line in np.unique(pen.lines[pairs]):
        own = gaps[pairs[pen.lines[pairs] == line]]
        if len(own) >= 5 and 0.0 < np.median(own) < 0.6:
            usual[line] = np.median(own)
    pairs = pairs[np.isfinite(usual[pen.lines[pairs]])]
    beyond = gaps[pairs] - usual[pen.lines[pairs]]
    first, second = pen.labels[pairs], pen.labels[pairs + 1]
    sides = np.zeros((len(PEN_CHARS), 2))
    for _ in range(num_sweeps):
        for side, own, other in ((1, first, second), (0, second, first)):
            left = beyond - sides[other, 1 - side]
            for label in np.unique(own):
                those = left[own == label]
                # What was seen seldom stays near the mean.
                sides[label, side] = np.median(those) * len(those) / (len(those) + 10)
    return sides.astype(np.float32)


def rank_hands(strokes: Strokes) -> np.ndarray:
    """Returns the writers whose hands are kept, the most even ones first, int[H].

    Those who wrote enough characters of enough kinds on a line; else everybody.
    """
    bottom = STROKE_SCALE * strokes.arrays[:, :, 1].min(1) + MIDDLE
    below = np.isin(strokes.labels, [PEN_CHARS.index(char) for char in _DESCENDERS])
    writers = np.unique(strokes.writers)
    unevenness = np.full(len(writers), np.inf)
    has_enough = np.zeros(len(writers), bool)
    for k, writer in enumerate(writers):
        own = strokes.writers == writer
        kinds = len(np.unique(strokes.labels[own]))
        deep = bottom[own & below]
        has_line = deep.size > 0 and np.median(deep) < _DEPTH
        has_enough[k] = has_line and own.sum() >= HAND_CHARS and kinds >= HAND_KINDS
        known = strokes.qualities[own, 1:]
        known = known[np.isfinite(known)]
        if known.size:
            unevenness[k] = np.abs(known).mean()
    kept = has_enough if has_enough.any() else np.ones(len(writers), bool)
    return writers[kept][np.argsort(unevenness[kept], kind="stable")]
