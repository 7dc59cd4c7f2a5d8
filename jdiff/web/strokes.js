// Arrays of 60 points to strokes, and strokes restyled: jdiff.handwriting.strokes.
// A stroke is a list of points [x, y], in heights of an x, y up from the baseline.

export const MAX_STROKES = 6, SIZE = 180; // numbers of a letter: 60 points (x, y, pen)

const NUM = 60, SCALE = 0.7, MIDDLE = 0.6, PEN = 0.7, DOT = 0.12, CALM = 0.045, REACH = 0.85;

export const lengthOf = (stroke) =>
  stroke.slice(1).reduce((sum, p, i) => sum + Math.hypot(p[0] - stroke[i][0], p[1] - stroke[i][1]), 0);

/** Whether the pen is +1 or -1 at point i of a letter of n strokes. */
const penAt = (i, n) => (Math.floor((i * n) / NUM) % 2 ? -1 : 1);

/** The array of a letter of 1 to 6 strokes. */
export function encode(strokes) {
  const num = strokes.length;
  const points = strokes.flatMap((stroke) => resample(stroke, NUM / num));
  const x = points.map((point) => point[0]);
  const middle = (Math.min(...x) + Math.max(...x)) / 2;
  return Float32Array.from(points.flatMap(([x, y], i) =>
    [(x - middle) / SCALE, (y - MIDDLE) / SCALE, PEN * penAt(i, num)]));
}

/** How many strokes the column of the pen tells of. */
function countStrokes(array) {
  const votes = [1, 2, 3, 4, 5, 6].map((n) => {
    let sum = 0;
    for (let i = 0; i < NUM; i++) sum += array[3 * i + 2] * penAt(i, n);
    return sum;
  });
  return 1 + votes.indexOf(Math.max(...votes));
}

/** The strokes of an array; `finished` says how many they are and where x = 0 is. */
export function decode(array, finished = array) {
  let left = Infinity;
  for (let i = 0; i < NUM; i++) left = Math.min(left, finished[3 * i]);
  const points = Array.from({ length: NUM }, (_, i) => [
    (array[3 * i] - left) * SCALE,
    array[3 * i + 1] * SCALE + MIDDLE,
  ]);
  const size = NUM / countStrokes(finished);
  const strokes = [];
  for (let i = 0; i < NUM; i += size) strokes.push(settle(points.slice(i, i + size)));
  return strokes;
}

function settle(stroke) {
  const extent = [0, 1].map((c) => stroke.map((p) => p[c])).map((v) => Math.max(...v) - Math.min(...v));
  if (Math.max(...extent) >= DOT) return stroke;
  return [[0, 1].map((c) => stroke.reduce((sum, p) => sum + p[c], 0) / stroke.length)];
}

/** A stroke with a slant added and its width multiplied, without tremor. */
export function restyle(stroke, slant, width) {
  return smooth(stroke).map(([x, y]) => {
    const inside = Math.min(Math.max(y, 0), 1);
    const height = inside + REACH * (y - inside);
    return [width * x + slant * height, height];
  });
}

function smooth(stroke) {
  const length = lengthOf(stroke), last = stroke.length - 1;
  if (last < 2 || length === 0) return stroke;
  const sigma = (CALM * last) / length;
  const reach = Math.min(Math.ceil(3 * sigma), last);
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-0.5 * ((i - reach) / sigma) ** 2));
  const total = kernel.reduce((a, b) => a + b);
  // Mirrored through its ends, a stroke keeps them.
  const at = (i, c) => i < 0 ? 2 * stroke[0][c] - stroke[-i][c]
    : i > last ? 2 * stroke[last][c] - stroke[2 * last - i][c] : stroke[i][c];
  return stroke.map((_, i) => [0, 1].map((c) =>
    kernel.reduce((sum, weight, j) => sum + weight * at(i + j - reach, c), 0) / total));
}

/** Points equally spaced along a stroke, both ends included; a single one is repeated. */
export function resample(stroke, num) {
  if (stroke.length === 1) return Array(num).fill(stroke[0]);
  const along = [0];
  for (let i = 1; i < stroke.length; i++)
    along.push(along[i - 1] + Math.hypot(stroke[i][0] - stroke[i - 1][0], stroke[i][1] - stroke[i - 1][1]));
  let i = 1;
  return Array.from({ length: num }, (_, k) => {
    const wanted = (along.at(-1) * k) / (num - 1);
    while (i < stroke.length - 1 && along[i] < wanted) i++;
    const part = (wanted - along[i - 1]) / (along[i] - along[i - 1] || 1);
    return [0, 1].map((c) => stroke[i - 1][c] + part * (stroke[i][c] - stroke[i - 1][c]));
  });
}
