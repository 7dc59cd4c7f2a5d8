// What hand.js makes of letters, without a browser; JSON in, JSON out.
// node hand.mjs FOLDER-OF-THE-PAGE < letters.json

import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const load = (name) => import(pathToFileURL(path.resolve(process.argv[2], name)));
const { findUnit, fitHand, loadHand, readCells, saveHand } = await load("hand.js");
const { encode } = await load("strokes.js");
const { letters, cells, classes, facts, wanted, files } = JSON.parse(readFileSync(0));

const said = (act) => {
  try {
    return act();
  } catch (error) {
    return error.message;
  }
};
const numbers = (arrays) => arrays.map((array) => [...array]);
// A loss whose least is known: half the squared distance from a code.
const pull = async (x_t, levels, labels, styles) =>
  styles.flatMap((style) => style.map((x, i) => (i < wanted.length ? x - wanted[i] : 0)));
const one = { arrays: [new Float32Array(180)], labels: [0] };
console.log(JSON.stringify({
  arrays: numbers(letters.map(({ strokes }) => encode(strokes))),
  units: findUnit(letters),
  read: numbers(readCells(letters, classes).arrays),
  sentences: Object.fromEntries(Object.entries(cells).map(([name, own]) => [name, said(() => readCells(own, classes))])),
  found: await fitHand(facts, one, pull, () => {}),
  again: loadHand(saveHand(wanted, facts), facts),
  refused: files.map((text) => said(() => loadHand(text, facts))),
}));
