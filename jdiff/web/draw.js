// Pages on a canvas and in files.

import { GIFEncoder, applyPalette } from "./vendor/gifenc.esm.js";
import { lengthOf } from "./strokes.js";

/** The curve through the points of a stroke, as SVG path data (Catmull & Rom 1974). */
function curve(stroke) {
  const r = (x) => Math.round(x * 10) / 10;
  if (stroke.length === 1) return `M${r(stroke[0][0])} ${r(stroke[0][1])}h0.01`;
  const at = (i) => stroke[Math.min(Math.max(i, 0), stroke.length - 1)];
  const parts = stroke.slice(1).map((end, i) => {
    const [a, b, c, d] = [at(i - 1), at(i), end, at(i + 2)];
    const one = [0, 1].map((k) => b[k] + (c[k] - a[k]) / 6);
    const two = [0, 1].map((k) => c[k] - (d[k] - b[k]) / 6);
    return `C${[...one, ...two, ...c].map(r).join(" ")}`;
  });
  return `M${r(stroke[0][0])} ${r(stroke[0][1])}${parts.join("")}`;
}

export function svg({ width, height, strokes, pen }) {
  const paths = strokes.map((stroke) => `<path d="${curve(stroke)}"/>`).join("\n");
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
<g fill="none" stroke="#000" stroke-width="${pen.toFixed(2)}" stroke-linecap="round" stroke-linejoin="round">
${paths}
</g></svg>\n`;
}

export function paint(canvas, { width, height, strokes, pen }, ink, paper = null, scale = 1) {
  [canvas.width, canvas.height] = [Math.ceil(width * scale), Math.ceil(height * scale)];
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  if (paper) (brush.fillStyle = paper), brush.fillRect(0, 0, canvas.width, canvas.height);
  brush.scale(scale, scale);
  Object.assign(brush, { strokeStyle: ink, lineWidth: pen, lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) brush.stroke(new Path2D(curve(stroke)));
}

/** The part of a page that the pen has written at a fraction of its way. */
export function written(page, fraction) {
  const lengths = page.strokes.map((stroke) => page.pen + lengthOf(stroke));
  let left = fraction * lengths.reduce((a, b) => a + b, 0);
  const strokes = [];
  for (const [k, stroke] of page.strokes.entries()) {
    if (left <= 0) break;
    const share = Math.min(left / lengths[k], 1);
    strokes.push(stroke.slice(0, Math.max(1, Math.ceil(share * stroke.length))));
    left -= lengths[k];
  }
  return { ...page, strokes };
}

const GREYS = Array.from({ length: 8 }, (_, i) => Array(3).fill(Math.round((255 * i) / 7)));

/** Pages as a GIF that loops. */
export function gif(pages) {
  const canvas = document.createElement("canvas"), encoder = GIFEncoder();
  pages.forEach((page, i) => {
    paint(canvas, page, "#000", "#fff");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const delay = i + 1 < pages.length ? 80 : 1600;
    encoder.writeFrame(applyPalette(data, GREYS), canvas.width, canvas.height, { palette: GREYS, delay });
  });
  encoder.finish();
  return encoder.bytes();
}
