// Letters on lines: jdiff.handwriting.manuscript. Lengths in heights of a capital.

import { lengthOf, resample } from "./strokes.js";

const CAP = 1.65, GAP = 0.42, LINE = 2.7, SPACE = 0.6, MARGIN = 0.6;
const ASCENT = 1.05, DESCENT = 0.36;
const LEAST = 0.26, MOST = 0.7, BAND = 0.1, LOWEST = -1.5, BANDS = 48, NEAR = 2;

/** The leftmost and rightmost ink of a letter, height by height. */
function edgesOf(letter) {
  const left = Array(BANDS).fill(Infinity), right = Array(BANDS).fill(-Infinity);
  for (const stroke of letter) {
    const points = stroke.length === 1 ? stroke
      : resample(stroke, 2 + Math.floor(lengthOf(stroke) / 0.05));
    for (const [x, y] of points) {
      const exact = Math.trunc((y - LOWEST) / BAND);
      const band = Math.min(Math.max(exact, NEAR), BANDS - 1 - NEAR);
      for (let k = band - NEAR; k <= band + NEAR; k++) {
        left[k] = Math.min(left[k], x);
        right[k] = Math.max(right[k], x);
      }
    }
  }
  return { left, right, start: Math.min(...left), end: Math.max(...right) };
}

/** The white between two letters: as asked for, but where lines would touch. */
function gapBetween(a, b, asked) {
  let free = Infinity;
  for (let k = 0; k < BANDS; k++)
    free = Math.min(free, b.left[k] - b.start + a.end - a.right[k]);
  if (!isFinite(free)) return asked;
  return Math.min(Math.max(asked, LEAST - free), Math.max(MOST - free, -0.1));
}

/**
 * Where letters stand: { width, height, unit, places: [[x, y], ...] } in pixels.
 * @param sides white left and right of each letter beyond the mean.
 * @param width of the page; lines break there.
 */
export function typeset(text, letters, sides, cap, width) {
  const edges = letters.map(edgesOf);
  const room = width / cap - 2 * MARGIN;
  const rows = text.replace(/[ \n]+$/, "").split("\n");
  const left = [], row = [];
  let k = 0, line = 0;
  rows.forEach((words, paragraph) => {
    if (paragraph) line++;
    let end = 0, isFirst = true;
    for (const [, blanks, word] of words.matchAll(/( *)([^ ]+)/g)) {
      const starts = [0];
      const num = [...word].length;
      for (let i = k + 1; i < k + num; i++) {
        const asked = GAP + sides[i][0] + sides[i - 1][1];
        const gap = gapBetween(edges[i - 1], edges[i], asked);
        starts.push(starts.at(-1) + (edges[i - 1].end - edges[i - 1].start + gap) / CAP);
      }
      const extent = starts.map((x, i) => x + (edges[k + i].end - edges[k + i].start) / CAP);
      const size = Math.max(...extent);
      if (size > room)
        throw new Error(`The page is too narrow for the word "${word}": make it shorter.`);
      let start = end + SPACE * blanks.length + (isFirst ? 0 : 0.15);
      if (isFirst) start = SPACE * blanks.length;
      if (start + size > room) {
        if (!isFirst) line++;
        start = 0;
      }
      starts.forEach((x) => (left.push(start + x), row.push(line)));
      [end, isFirst, k] = [start + size, false, k + num];
    }
  });
  const unit = cap / CAP;
  const places = letters.map((_, i) => [
    cap * (left[i] + MARGIN) - unit * edges[i].start,
    cap * (MARGIN + ASCENT + row[i] * LINE),
  ]);
  const lowest = letters.map((letter, i) =>
    places[i][1] - unit * Math.min(...letter.flat().map((p) => p[1])));
  const height = Math.max(cap * (2 * MARGIN + ASCENT + DESCENT + line * LINE),
    Math.max(...lowest) + (cap * MARGIN) / 2);
  return { width, height: Math.ceil(height), unit, places };
}

/** Strokes of all letters on the page, in pixels, y down. */
export const place = ({ unit, places }, letters) =>
  letters.flatMap((letter, k) => letter.map((stroke) =>
    stroke.map(([x, y]) => [places[k][0] + unit * x, places[k][1] - unit * y])));
