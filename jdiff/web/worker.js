// The networks, in a thread of their own: letters from noise, as generate_strokes.

import * as ort from "./vendor/ort.wasm.min.mjs";
import { consistency, estimate, guide, karrasTimesteps, logSNR, unipc } from "./diffusion.js";
import { fitHand } from "./hand.js";
import { foldIn, key, normal, split } from "./random.js";
import { SIZE } from "./strokes.js";

const FORMAT = "jdiff-export-1";
const BATCH = 16; // letters at a time
let facts, bytes, networks;

async function fetched(name) {
  const response = await fetch(new URL(name, self.location)).catch(() => null);
  if (!response?.ok) throw new Error(`The file ${name} did not arrive: load the page again.`);
  return response;
}

async function load() {
  facts = await (await fetched("model.json")).json().catch(() => ({}));
  if (facts.format !== FORMAT || facts.kind !== "pen")
    throw new Error(`The model must be of version ${FORMAT}, got ${facts.format ?? "none"}.`);
  ort.env.wasm.wasmPaths = new URL("vendor/", self.location).href;
  ort.env.wasm.numThreads = 1;
  bytes = {};
  networks = {};
  for (const name of Object.keys(facts.files)) if (name !== "grad") await open(name);
  return facts;
}

/** Loads a graph, if it is not there; the gradient's weights are the network's. */
async function open(name, externalData = []) {
  if (networks[name]) return;
  const file = facts.files[name];
  bytes[name] = await (await fetched(file)).arrayBuffer();
  networks[name] = await ort.InferenceSession.create(bytes[name], { externalData }).catch(() => {
    throw new Error(`The file ${file} is no whole model: load the page again.`);
  });
}

async function run(name, inputs) {
  const outputs = await networks[name].run(inputs);
  return Object.values(outputs)[0].data;
}

const tensor = (numbers, shape, type = "float32") =>
  new ort.Tensor(type, (type === "int32" ? Int32Array : Float32Array).from(numbers), shape);

/** A denoiser (x_t, t) -> x_0 of a batch of letters in a style each. */
function denoiser(name, labels, styles) {
  const num = labels.length, width = styles[0].length;
  const label = tensor(labels, [num], "int32");
  const style = tensor(styles.flat(), [num, width]);
  return async (x_t, t) => {
    const output = await run(name, {
      x_t: tensor(x_t, [num, 60, 3]),
      log_snr: tensor(Array(num).fill(logSNR(facts, t)), [num]),
      label,
      style,
    });
    return estimate(facts, x_t, output, t);
  };
}

/** The code of a seed's hand: between two of the writers who are about as neat. */
function hand(seed, neatness) {
  const exact = (1 - neatness) * facts.last_hand, low = Math.floor(exact);
  const isHalf = exact - low === 0.5;
  const first = isHalf ? low + (low % 2) : Math.round(exact);
  const [a, b, f] = facts.seeds[seed];
  return facts.hands[first + a].map((x, i) => (1 - f) * x + f * facts.hands[first + b][i]);
}

/** Letters of a batch: the best of some draws each, and their paths. */
async function draw(request, labels, start) {
  const { seed, code, steps, guidance } = request;
  const neatness = request.neatness ?? NaN; // whatever the code says
  const times = karrasTimesteps(facts, steps);
  const few = "few" in networks && steps <= 4 && guidance === facts.guidance;
  const scouts = "few" in networks && !few;
  const num = facts.num_draws;
  const all = labels.flatMap((label, k) =>
    split(foldIn(key(seed), start + k), num).map((own) => {
      const [keyStyle, keyX] = split(own);
      const uneven = [...normal(keyStyle, 3)].map((z) => (code ? 0 : (1 - neatness) * z));
      const style = [...(code ?? hand(seed, neatness)), 2 * neatness - 1, ...uneven];
      return { label, style, keys: split(keyX) };
    }),
  );

  async function sample(draws, name, times, withNull) {
    const x = new Float32Array(draws.length * SIZE);
    const scale = facts.sigma[times[0]];
    draws.forEach(({ keys }, i) => x.set(normal(keys[0], SIZE).map((z) => scale * z), i * SIZE));
    const conditional = denoiser(name, draws.map((d) => d.label), draws.map((d) => d.style));
    if (!withNull)
      return consistency(facts, conditional, x, times, draws.map((d) => d.keys[1]));
    const none = draws[0].style.map(() => NaN);
    const unconditional = denoiser(name, draws.map(() => facts.classes.length), draws.map(() => none));
    const guided = async (x_t, t) =>
      guide(await conditional(x_t, t), await unconditional(x_t, t), guidance);
    return unipc(facts, guided, x, times);
  }

  const ends = [times[0], 0];
  const found = await (scouts ? sample(all, "few", ends, false)
    : sample(all, few ? "few" : "network", times, !few));
  const read = await run("judge", {
    x_0: tensor(found.path.at(-1), [all.length, 60, 3]),
  });
  const best = labels.map((label, k) => {
    const scores = Array.from({ length: num }, (_, i) => legibility(read, k * num + i, label));
    return k * num + scores.indexOf(Math.max(...scores));
  });
  const cut = (states, chosen) => states.map((x) => chosen.map((k) => x.slice(k * SIZE, k * SIZE + SIZE)));
  if (!scouts)
    return { times, path: cut(found.path, best), estimates: cut(found.estimates, best) };
  const final = await sample(best.map((k) => all[k]), "network", times, true);
  const order = labels.map((_, k) => k);
  return { times, path: cut(final.path, order), estimates: cut(final.estimates, order) };
}

function legibility(logits, row, label) {
  const num = facts.classes.length;
  const own = logits.slice(row * num, row * num + num);
  const most = Math.max(...own);
  const sum = own.reduce((sum, x) => Math.fround(sum + Math.exp(x - most)), 0);
  return Math.fround(Math.fround(own[label] - most) - Math.log(sum));
}

async function write(request) {
  let result = null;
  for (let start = 0; start < request.labels.length; start += BATCH) {
    const batch = await draw(request, request.labels.slice(start, start + BATCH), start);
    if (!result) result = batch;
    else for (const name of ["path", "estimates"])
      batch[name].forEach((states, i) => result[name][i].push(...states));
  }
  return result;
}

/** The code of the hand that wrote letters, { arrays, labels }. */
async function learn(letters, onStep) {
  await open("grad", [{ path: facts.files.network, data: bytes.network }]);
  const gradient = (x_t, levels, labels, styles, target) => {
    const num = labels.length;
    return run("grad", {
      x_t: tensor(x_t, [num, 60, 3]),
      log_snr: tensor(levels, [num]),
      label: tensor(labels, [num], "int32"),
      style: tensor(styles.flat(), [num, styles[0].length]),
      target: tensor(target, [num, 60, 3]),
    });
  };
  return fitHand(facts, letters, gradient, onStep);
}

const DO = { load, write, learn };
self.onmessage = async ({ data: { id, kind, request } }) => {
  try {
    const answer = await DO[kind](request, (progress) => self.postMessage({ id, progress }));
    self.postMessage({ id, answer });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};
