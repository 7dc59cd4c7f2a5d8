// A hand of one's own: letters in cells to arrays, as jdiff.hands, and their code.

import { logSNR, q_sample, target } from "./diffusion.js";
import { foldIn, key, normal } from "./random.js";
import { MAX_STROKES, SIZE, encode } from "./strokes.js";

const MIN_CHARS = 5;
const DOT = 0.25; // heights of an x; no stroke of a letter is shorter, but those of dots
const LARGEST = 4.5; // coordinate of an array, beyond which a letter is a mistake
const STAND = "aceomnrsuvwxz"; // letters that stand on the line, as tall as an x
const TALL = "ABCDEFGHIKLMNORSTUVWXYZbdfhkl0123456789", X_OF_TALL = 0.62;
const MOST_VOTES = 2; // of all tall letters, where each that is as tall as an x has one

const column = (strokes, c) => strokes.flat().map((point) => point[c]);
const extent = (numbers) => Math.max(...numbers) - Math.min(...numbers);
const isDot = (stroke) => [0, 1].every((c) => extent(column([stroke], c)) < DOT);
const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};

/** Letters in heights of the writer's x, and on the writer's line: jdiff.hands.find_unit. */
export function findUnit(letters) {
  const measured = letters
    .map(({ char, strokes }) => ({ char, height: extent(column(strokes, 1)), low: Math.min(...column(strokes, 1)) }))
    .filter(({ char, height }) => height > 0 && (STAND + TALL).includes(char));
  if (!measured.length) return letters;
  const heights = (chars) => measured.filter(({ char }) => chars.includes(char)).map(({ height }) => height);
  const stand = heights(STAND), tall = heights(TALL);
  const votes = [stand.length, Math.min(tall.length, MOST_VOTES)];
  const sizes = [stand.length ? median(stand) : 1, X_OF_TALL * (tall.length ? median(tall) : 1)];
  const sum = votes[0] * Math.log(sizes[0]) + votes[1] * Math.log(sizes[1]);
  const unit = Math.exp(sum / (votes[0] + votes[1]));
  const base = median(measured.map(({ low }) => low));
  const move = ([x, y]) => [x / unit, (y - base) / unit];
  return letters.map(({ char, strokes }) => ({ char, strokes: strokes.map((s) => s.map(move)) }));
}

/**
 * Arrays and labels of the cells that are written in; raises what is wrong, in a sentence.
 * @param cells [{ char, strokes }, ...], in heights of the cell's x, y up from its baseline.
 */
export function readCells(cells, classes) {
  const written = cells.filter(({ strokes }) => strokes.length);
  for (const { char, strokes } of written) {
    if (strokes.every(isDot))
      throw new Error(`The cell of ${char} holds only a dot: write the letter, or clear the cell.`);
    if (strokes.length > MAX_STROKES)
      throw new Error(`A letter has at most ${MAX_STROKES} strokes, got ${strokes.length} in the cell of ${char}: clear it and write it again.`);
  }
  if (written.length < MIN_CHARS)
    throw new Error(`A hand is learned from at least ${MIN_CHARS} letters, got ${written.length}.`);
  const arrays = findUnit(written).map(({ char, strokes }) => {
    const array = encode(strokes);
    if (!array.every((x) => Math.abs(x) < LARGEST))
      throw new Error(`The letter ${char} is too large beside the others: clear it and write it again.`);
    return array;
  });
  return { arrays, labels: written.map(({ char }) => classes.indexOf(char)) };
}

const STEPS = 100, BATCH = 64, RATE = 0.1, PULL = 0.001;
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * The code of the hand that wrote letters: that of jdiff.hands.fit_hand, the biases as
 * they are. Adam makes the diffusion loss small, and z, how far the code is from the
 * mean writer's. Each step takes all letters in turns and noise levels evenly spread
 * over 1 .. T (Kingma et al. 2021, I.1).
 * @param gradient (x_t, log_snr, label, style, target) of a batch -> of its losses.
 * @param onStep told the part that is done.
 */
export async function fitHand(facts, { arrays, labels }, gradient, onStep) {
  const { hands, alpha } = facts;
  const over = (row) => hands[0].map((_, i) => hands.reduce((sum, hand) => sum + row(hand[i], i), 0) / hands.length);
  const mean = over((x) => x);
  const std = over((x, i) => (x - mean[i]) ** 2).map((x) => Math.sqrt(x) + 1e-3);
  const z = mean.map(() => 0), m = [...z], v = [...z];
  const code = () => z.map((x, i) => mean[i] + std[i] * x);
  for (let step = 0; step < STEPS; step++) {
    const eps = normal(foldIn(key(0), step), BATCH * SIZE);
    const rows = Array.from({ length: BATCH }, (_, i) => (step * BATCH + i) % arrays.length);
    const times = rows.map((_, i) => 1 + Math.floor((alpha.length - 1) * ((step * GOLDEN + i / BATCH) % 1)));
    const x_0 = Float32Array.from(rows.flatMap((k) => [...arrays[k]]));
    const style = [...code(), NaN, 0, 0, 0]; // neither neat nor uneven
    const slopes = await gradient(
      q_sample(facts, x_0, eps, times),
      times.map((t) => logSNR(facts, t)),
      rows.map((k) => labels[k]),
      rows.map(() => style),
      target(facts, x_0, eps, times),
    );
    const rate = (RATE / 2) * (1 + Math.cos((Math.PI * step) / STEPS));
    z.forEach((x, i) => {
      const own = rows.reduce((sum, _, row) => sum + slopes[row * style.length + i], 0);
      const slope = (std[i] * own) / BATCH + (2 * PULL * x) / arrays.length;
      m[i] = 0.9 * m[i] + 0.1 * slope;
      v[i] = 0.999 * v[i] + 0.001 * slope ** 2;
      const root = Math.sqrt(v[i] / (1 - 0.999 ** (step + 1)));
      z[i] -= (rate * m[i]) / (1 - 0.9 ** (step + 1)) / (root + 1e-8);
    });
    onStep((step + 1) / STEPS);
  }
  return code();
}

const FORMAT = "jdiff-hand-1";

export const saveHand = (code, { digest }) => JSON.stringify({ format: FORMAT, digest, code });

/** The code in a file; raises what is wrong, in a sentence. */
export function loadHand(text, { digest, hands }) {
  let saved = null;
  try {
    saved = JSON.parse(text);
  } catch {} // said below
  const isCode = (code) => code?.length === hands[0].length && code.every((x) => Math.abs(x) <= 100);
  if (saved?.format !== FORMAT || !Array.isArray(saved.code) || !isCode(saved.code))
    throw new Error("The file must be a hand that this page saved.");
  if (saved.digest !== digest)
    throw new Error("The hand belongs to another model: learn it again.");
  return saved.code;
}
