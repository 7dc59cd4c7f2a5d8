// JAX's random numbers: threefry (Salmon et al. 2011), so that a seed is the library's.

const ROTATIONS = [
  [13, 15, 26, 6],
  [17, 29, 16, 24],
];

function threefry([k0, k1], x0, x1) {
  const keys = [k0, k1, k0 ^ k1 ^ 0x1bd11bda];
  x0 = (x0 + k0) >>> 0;
  x1 = (x1 + k1) >>> 0;
  for (let group = 0; group < 5; group++) {
    for (const r of ROTATIONS[group % 2]) {
      x0 = (x0 + x1) >>> 0;
      x1 = ((x1 << r) | (x1 >>> (32 - r))) ^ x0;
    }
    x0 = (x0 + keys[(group + 1) % 3]) >>> 0;
    x1 = (x1 + keys[(group + 2) % 3] + group + 1) >>> 0;
  }
  return [x0, x1];
}

/** jax.random.key */
export const key = (seed) => [0, seed >>> 0];

/** jax.random.fold_in */
export const foldIn = (key, number) => threefry(key, 0, number);

/** jax.random.split */
export const split = (key, num = 2) =>
  Array.from({ length: num }, (_, i) => threefry(key, 0, i));

/** jax.random.normal, float32[num] */
export function normal(key, num) {
  const bits = new Uint32Array(1);
  const float = new Float32Array(bits.buffer);
  return Float32Array.from({ length: num }, (_, i) => {
    const [a, b] = threefry(key, 0, i);
    bits[0] = ((a ^ b) >>> 9) | 0x3f800000; // in [1, 2)
    const low = -1 + 2 ** -24;
    return Math.SQRT2 * erfInv(Math.max(low, Math.fround((float[0] - 1) * 2 + low)));
  });
}

// Giles 2010, the polynomials that XLA has in float32.
const CENTRE = [2.81022636e-8, 3.43273939e-7, -3.5233877e-6, -4.39150654e-6,
  0.00021858087, -0.00125372503, -0.00417768164, 0.246640727, 1.50140941];
const TAIL = [-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844,
  0.00573950773, -0.0076224613, 0.00943887047, 1.00167406, 2.83297682];

function erfInv(x) {
  const w = -Math.log1p(-x * x);
  const [terms, at] = w < 5 ? [CENTRE, w - 2.5] : [TAIL, Math.sqrt(w) - 3];
  return x * terms.reduce((sum, term) => sum * at + term, 0);
}
