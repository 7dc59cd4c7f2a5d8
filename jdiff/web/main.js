// The page: controls, the text's page, its animations and files, and the other tabs.

import { gif, paint, svg, written } from "./draw.js";
import { loadHand, readCells, saveHand } from "./hand.js";
import { place, typeset } from "./layout.js";
import { makePad } from "./pad.js";
import { decode, lengthOf, restyle } from "./strokes.js";

const MAX_CHARS = 500; // of a text in the tab; the library writes 10,000
const LETTERS = "abcdefghilmnoprstuwy"; // the twenty that are frequent in English
const CAP = 44, PEN = 0.11;
const CONTROLS = [ // name, lowest, highest, step, first value
  ["seed", 0, 999, 1, 7],
  ["slant", -3, 3, 0.1, 0], ["weight", -3, 3, 0.1, 0], ["width", -3, 3, 0.1, 0],
  ["neatness", 0, 1, 0.05, 1],
  ["steps", 1, 50, 1, 10], ["guidance", 0, 5, 0.1, 2],
];
const SIBLINGS = { "‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...", "\u00a0": " ", "\t": " " };
const $ = (id) => document.getElementById(id);
const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map();
let facts, drawn, page, playing, count = 0;
let mine = null; // the code of the person's own hand

worker.onmessage = ({ data: { id, answer, error, progress } }) => {
  const { resolve, reject, onStep } = waiting.get(id);
  if (progress) return onStep(progress);
  waiting.delete(id);
  if (error) reject(new Error(error));
  else resolve(answer);
};
worker.onerror = () => {
  for (const { reject } of waiting.values())
    reject(new Error("A part of the page did not arrive: load it again."));
  waiting.clear();
};

function ask(kind, request, onStep) {
  return new Promise((resolve, reject) => {
    waiting.set(++count, { resolve, reject, onStep });
    worker.postMessage({ id: count, kind, request });
  });
}

function say(text, isError = false, place = "message") {
  $(place).textContent = text;
  $(place).classList.toggle("error", isError);
  for (const button of document.querySelectorAll("#actions button")) button.disabled = !page;
}

for (const [name, min, max, step, value] of CONTROLS) {
  const type = name === "seed" ? "number" : "range";
  $("controls").insertAdjacentHTML("beforeend", `<div><label for="${name}">${name}
    <output for="${name}"></output></label>
    <input id="${name}" type="${type}" min="${min}" max="${max}" step="${step}" value="${value}"></div>`);
}
$("controls").onsubmit = (event) => event.preventDefault();

const isMine = () => mine && $("whose").value === "mine";
let isAsLearned = true; // the neatness of the person's own hand, until the slider is moved
const value = (name) => Number($(name).value);
const ink = () => getComputedStyle(document.body).color;

/** The text as it is drawn; raises what is wrong with it, in a sentence. */
function checked(text) {
  text = text.normalize("NFC").replace(/\r\n?/g, "\n").replace(/[^\x00-\x7f]|\t/g, (c) => SIBLINGS[c] ?? c);
  if (text.length > MAX_CHARS)
    throw new Error(`A page in the tab has at most ${MAX_CHARS} characters, got ${text.length}.`);
  const unknown = [...new Set(text.replace(/[ \n]/g, ""))].filter((c) => !facts.classes.includes(c));
  if (unknown.length)
    throw new Error(`Cannot write ${unknown.slice(0, 5).join(" ")}: this hand knows the characters of an English keyboard.`);
  if (!text.trim()) throw new Error("The text is empty: there is nothing to write.");
  const seed = value("seed");
  if (!Number.isInteger(seed) || seed < 0 || seed > 999)
    throw new Error(`seed must be in [0, 999], got ${$("seed").value || "nothing"}.`);
  return text;
}

function request(text) {
  const labels = [...text.replace(/[ \n]/g, "")].map((c) => facts.classes.indexOf(c));
  const names = ["seed", "steps", "neatness", "guidance"];
  const asked = Object.fromEntries(names.map((name) => [name, value(name)]));
  return isMine() ? { labels, ...asked, code: mine, neatness: isAsLearned ? null : asked.neatness } : { labels, ...asked };
}

const styled = (array, finished) =>
  decode(array, finished).map((stroke) => restyle(stroke, 0.1 * value("slant"), 1.07 ** value("width")));

function compose() {
  const { text, path, labels } = drawn;
  const finished = path.at(-1);
  const letters = finished.map((array) => styled(array));
  const width = Math.max(320, Math.min($("tabs").clientWidth, 720));
  const layout = typeset(text, letters, labels.map((label) => facts.sides[label]), CAP, width);
  const pen = PEN * CAP * 1.25 ** value("weight");
  const strokes = place(layout, letters);
  page = { ...layout, strokes, pen };
  const total = strokes.reduce((sum, stroke) => sum + lengthOf(stroke), 0);
  page.states = path.map((arrays) => {
    const strokes = place(layout, arrays.map((array, k) => styled(array, finished[k])));
    // A scribble is drawn with a finer pen: about as much ink as the text has.
    const length = strokes.reduce((sum, stroke) => sum + lengthOf(stroke), 0);
    return { ...page, strokes, pen: pen * Math.min(Math.max(total / length, 0.2), 1) };
  });
  show(page);
}

function show(page) {
  for (const id of ["page", "preview"]) paint($(id), page, ink(), null, window.devicePixelRatio || 1);
}

// One request at a time; while it is drawn the latest change waits.
let busy = false, again = false;
async function write() {
  if (!facts) return;
  if (busy) return void (again = true);
  busy = true;
  cancelAnimationFrame(playing);
  try {
    const text = checked($("text").value);
    const wanted = request(text), begun = performance.now();
    say("Writing …");
    drawn = { text, labels: wanted.labels, ...(await ask("write", wanted)) };
    compose();
    say(`${wanted.labels.length} characters in ${((performance.now() - begun) / 1000).toFixed(2)} s, on this device.`);
  } catch (error) {
    say(error.message, true);
  }
  busy = false;
  if (again) (again = false), write();
}

function play(frames, seconds) {
  cancelAnimationFrame(playing);
  const begun = performance.now();
  const next = (now) => {
    const part = Math.min((now - begun) / (1000 * seconds), 1);
    show(frames(part));
    if (part < 1) playing = requestAnimationFrame(next);
  };
  playing = requestAnimationFrame(next);
}
$("noise").onclick = () => play((part) => page.states[Math.round(part * (page.states.length - 1))], 2);
$("pen").onclick = () => play((part) => written(page, part), 3);

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

const SAVE = {
  svg: () => new Blob([svg(page)], { type: "image/svg+xml" }),
  png: () => new Promise((resolve) => {
    const canvas = document.createElement("canvas");
    paint(canvas, page, "#000", "#fff", 2);
    canvas.toBlob(resolve, "image/png");
  }),
  gif: () => new Blob([gif(page.states)], { type: "image/gif" }),
};
for (const button of document.querySelectorAll("[data-save]")) {
  button.onclick = async () => {
    const kind = button.dataset.save;
    download(await SAVE[kind](), `handwriting.${kind}`);
  };
}

// How it works.
let example;
async function explain() {
  const label = facts?.classes.indexOf($("letter").value);
  if (!(label >= 0) || !$("letter").value) return;
  example = await ask("write", { ...request("x"), labels: [label], steps: 10, guidance: facts.guidance });
  showStep();
}

function showStep() {
  const i = value("step"), t = example.times[i], finished = example.path.at(-1)[0];
  $("step-value").textContent = `${i + 1} of 10, t = ${t}`;
  for (const [id, array] of [["x_t", example.path[i][0]], ["x_0", example.estimates[i][0]]]) {
    const strokes = decode(array, finished).map((s) => s.map(([x, y]) => [60 + 40 * x, 105 - 40 * y]));
    paint($(id), { width: 160, height: 180, strokes, pen: id === "x_t" ? 1.5 : 4 }, ink(), null, 2);
  }
  const last = facts.alpha.length - 1;
  const line = (table) => table.filter((_, k) => k % 10 === 0).map((y, k) => `${(2000 * k) / last},${100 - 100 * y}`).join("L");
  const x = (200 * t) / last;
  $("curves").innerHTML = `<path class="axis" d="M0 0V100H200"/><path class="signal" d="M${line(facts.alpha)}"/>
    <path class="sigma" d="M${line(facts.sigma)}"/><path class="axis" stroke-dasharray="3" d="M${x} 0V100"/>`;
}
$("letter").oninput = explain;
$("step").oninput = () => example && showStep();

// A hand of one's own.
const pad = makePad($("cells"), LETTERS, ink, () => {
  label();
  if (!isLearning) tell("");
});
const tell = (text, isError) => say(text, isError, "own-message");
let isLearning = false;

/** Writes in a code from now on. */
async function take(code) {
  mine = code;
  $("hands").hidden = $("preview").hidden = $("go-on").hidden = false;
  $("whose").value = "mine";
  isAsLearned = true;
  label();
  await write();
}

$("learn").onclick = async () => {
  const begun = performance.now();
  try {
    if (!facts) throw new Error($("message").textContent);
    const letters = readCells(pad.cells, facts.classes);
    isLearning = true;
    label();
    tell("Learning …");
    const code = await ask("learn", letters, (part) => ($("progress").value = part));
    const empty = pad.cells.filter(({ strokes }) => !strokes.length).map(({ char }) => char);
    await take(code);
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    tell(`Learned from ${letters.labels.length} letters in ${seconds} s, on this device.` +
      (empty.length ? ` Left out, for their cells are empty: ${empty.join(" ")}` : ""));
  } catch (error) {
    tell(error.message, true);
  }
  isLearning = false;
  label();
};
$("clear").onclick = () => pad.clear();
$("save-hand").onclick = () =>
  download(new Blob([saveHand(mine, facts)], { type: "application/json" }), "hand.json");
$("load-hand").onclick = () => $("hand-file").click();
$("hand-file").onchange = async ({ target }) => {
  try {
    if (!facts) throw new Error($("message").textContent);
    await take(loadHand(await target.files[0].text(), facts));
    tell("The page writes in the hand of the file.");
  } catch (error) {
    tell(error.message, true);
  }
  target.value = ""; // so that the same file can be chosen again
};
$("go-on").onclick = () => {
  choose($("tab-write"));
  $("text").focus();
};

const tabs = [...document.querySelectorAll("[role=tab]")];
function choose(tab) {
  for (const one of tabs) {
    one.setAttribute("aria-selected", one === tab);
    one.tabIndex = one === tab ? 0 : -1;
    $(one.getAttribute("aria-controls")).hidden = one !== tab;
  }
  if (tab.id === "tab-how") explain();
  if (tab.id === "tab-own") pad.repaint();
}
for (const tab of tabs) {
  tab.onclick = () => choose(tab);
  tab.onkeydown = ({ key }) => {
    if (key !== "ArrowLeft" && key !== "ArrowRight") return;
    const step = key === "ArrowRight" ? 1 : tabs.length - 1;
    const other = tabs[(tabs.indexOf(tab) + step) % tabs.length];
    choose(other), other.focus();
  };
}

/** What outputs and buttons show of the state. */
function label() {
  for (const output of document.querySelectorAll("#controls output")) {
    const name = output.htmlFor.value;
    output.textContent = name === "seed" ? "" : $(name).value;
    if (name === "neatness" && isMine() && isAsLearned) output.textContent = "as learned";
  }
  $("progress").hidden = !isLearning;
  $("learn").disabled = isLearning;
  $("clear").disabled = pad.cells.every(({ strokes }) => !strokes.length);
  $("save-hand").disabled = !mine;
}
$("text").oninput = write;
$("controls").oninput = ({ target }) => {
  if (target.id === "neatness") isAsLearned = false;
  if (target.id === "whose") isAsLearned = true;
  label();
  const isShape = ["slant", "weight", "width"].includes(target.id);
  if (!isShape) write();
  else if (drawn && !busy) compose();
};
window.onresize = () => {
  if (drawn && !busy) compose();
  pad.repaint();
};
matchMedia("(prefers-color-scheme: dark)").onchange = () => {
  if (page) show(page);
  pad.repaint();
};

label();
say("Loading the network …");
try {
  if (typeof WebAssembly !== "object")
    throw new Error("This browser has no WebAssembly, which the network needs.");
  facts = await ask("load");
  $("guidance").value = facts.guidance;
  label();
  await write();
} catch (error) {
  say(error.message, true);
}
window.jdiff = { // what the test asks for
  drawn: () => drawn, page: () => page, hand: () => mine, cells: pad.cells,
  arrays: () => readCells(pad.cells, facts.classes).arrays,
};
