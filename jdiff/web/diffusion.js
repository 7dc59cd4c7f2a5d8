// From noise to data, as jdiff.sampling, jdiff.solvers and jdiff.schedules have it.
// x_t = alpha_t x_0 + sigma_t eps; t = 0 is data. Arrays are batches, float32[B * 180].

import { normal, split } from "./random.js";

const combine = (...terms) =>
  terms[0][1].map((_, i) => terms.reduce((sum, [a, x]) => sum + a * x[i], 0));

/** log-SNR of step t: what the network is told of the noise. */
export const logSNR = ({ alpha, sigma }, t) =>
  2 * (Math.log(alpha[t]) - Math.log(sigma[t]));

/** The estimate of x_0 in a network's output. */
const PREDICTIONS = {
  v: (a, s) => [a / (a * a + s * s), -s / (a * a + s * s)],
  eps: (a, s) => [1 / a, -s / a],
  x_0: () => [0, 1],
  flow: (a, s) => [1 / (a + s), -s / (a + s)],
};
export function estimate({ alpha, sigma, prediction }, x_t, output, t) {
  const [a, b] = PREDICTIONS[prediction](alpha[t], sigma[t]);
  return combine([a, x_t], [b, output]);
}

const TARGETS = {
  v: (a, s) => [-s, a],
  eps: () => [0, 1],
  x_0: () => [1, 0],
  flow: () => [-1, 1],
};

/** a x_0 + b eps of letters, each at a step of its own, with [a, b] of that step. */
function mix(x_0, eps, times, weights) {
  const size = x_0.length / times.length;
  const pairs = times.map(weights);
  return x_0.map((x, i) => {
    const [a, b] = pairs[Math.floor(i / size)];
    return a * x + b * eps[i];
  });
}

/** x_t of letters at times, from x_0 and eps. */
export const q_sample = ({ alpha, sigma }, x_0, eps, times) =>
  mix(x_0, eps, times, (t) => [alpha[t], sigma[t]]);

/** What the network should say at x_t. */
export const target = ({ alpha, sigma, prediction }, x_0, eps, times) =>
  mix(x_0, eps, times, (t) => TARGETS[prediction](alpha[t], sigma[t]));

/** karras_timesteps: steps from T down to 0 that suit few steps. */
export function karrasTimesteps({ alpha, sigma }, num, rho = 2, sigmaMax = 12) {
  const last = alpha.length - 1;
  const level = (t) => (sigma[t] / Math.max(alpha[t], 1e-9)) ** (1 / rho);
  const times = Array.from({ length: num }, (_, i) => {
    const wanted = sigmaMax ** (1 / rho) * (1 - i / num);
    let t = 1;
    while (t < last && level(t + 1) < wanted) t++;
    if (t === last || wanted <= level(1)) return t;
    return Math.round(t + (wanted - level(t)) / (level(t + 1) - level(t)));
  });
  times[0] = last;
  const steps = times.reverse();
  for (let i = 0; i < num; i++) steps[i] = Math.max(steps[i], i && steps[i - 1] + 1);
  return [...steps.map((t, i) => Math.min(t, last - num + 1 + i)).reverse(), 0];
}

/** Eq. 9 of jdiff.solvers: a step whose estimate of x_0 is constant. */
function step({ alpha, sigma }, x_t, x_0, t, s) {
  const kept = sigma[s] / sigma[t];
  return combine([alpha[s] - kept * alpha[t], x_0], [kept, x_t]);
}

/** UniPC (Zhao et al. 2023): the loop from noise to letters, and its path. */
export async function unipc(schedule, denoise, x, times) {
  const half = (t) => logSNR(schedule, t) / 2;
  const path = [x], estimates = [];
  let last = null; // what the step before leaves: x_0, gap, base, weight
  for (let i = 0; i + 1 < times.length; i++) {
    const [t, s] = [times[i], times[i + 1]];
    const x_0 = await denoise(x, t);
    const gap = half(s) - half(t); // h of the paper
    if (last) x = combine([1, last.base], [last.weight, x_0], [-last.weight, last.x_0]);
    const q = last && isFinite(gap) && isFinite(last.gap) ? gap / last.gap : 0;
    const ahead = (rho) => combine([1 + rho * q, x_0], [-rho * q, last?.x_0 ?? x_0]);
    const e = -Math.expm1(-gap);
    const b_1 = 1 / e - 1 / gap, b_2 = 1 / e - (2 * b_1) / gap;
    const rho_1 = ((b_1 - b_2) * q) / (1 + q);
    const weight = schedule.alpha[s] * e * (q > 0 ? b_1 - rho_1 : 0.5);
    const base = step(schedule, x, ahead(rho_1), t, s);
    x = step(schedule, x, ahead(0.5), t, s);
    last = { x_0, gap, base, weight };
    path.push(x);
    estimates.push(x_0);
  }
  return { path, estimates };
}

/** Consistency sampling (Song et al. 2023) with a distilled network. */
export async function consistency({ alpha, sigma }, denoise, x, times, keys) {
  const path = [x], estimates = [];
  const stepKeys = keys.map((key) => split(key, times.length - 1));
  for (let i = 0; i + 1 < times.length; i++) {
    const s = times[i + 1];
    const x_0 = await denoise(x, times[i]);
    const size = x.length / keys.length;
    const z = new Float32Array(x.length);
    stepKeys.forEach((own, k) => z.set(normal(own[i], size), k * size));
    path.push((x = combine([alpha[s], x_0], [sigma[s], z])));
    estimates.push(x_0);
  }
  return { path, estimates };
}

/** Guidance: 0 ignores the letter, 1 follows it, more exaggerates it. */
export const guide = (conditional, unconditional, scale) =>
  combine([1 - scale, unconditional], [scale, conditional]);
