// Cells to write letters into, with a mouse, a finger or a pen.

import { paint } from "./draw.js";

const WIDTH = 100, HEIGHT = 130, BASELINE = 86, X_HEIGHT = 30; // as in style.css
const PEN = 4;

/**
 * Fills an element with cells.
 * @param onChange called when a stroke ends or a cell is cleared.
 * @returns { cells: [{ char, strokes }, ...], clear, repaint }
 */
export function makePad(element, chars, ink, onChange) {
  const cells = [...chars].map((char) => makeCell(element, char, ink, onChange));
  const clear = () => cells.forEach((cell) => cell.clear());
  return { cells, clear, repaint: () => cells.forEach((cell) => cell.repaint()) };
}

function makeCell(element, char, ink, onChange) {
  const box = element.appendChild(document.createElement("div"));
  box.innerHTML = `<div><span>${char}</span><button aria-label="Clear ${char}" disabled>×</button></div>
    <canvas role="img"></canvas>`;
  const canvas = box.querySelector("canvas"), button = box.querySelector("button");
  const cell = { char, strokes: [], repaint, clear };
  let stroke = null;

  function repaint() {
    const strokes = cell.strokes.map((s) => s.map(([x, y]) => [x * X_HEIGHT, BASELINE - y * X_HEIGHT]));
    const scale = (canvas.clientWidth / WIDTH) * (window.devicePixelRatio || 1);
    if (scale > 0) paint(canvas, { width: WIDTH, height: HEIGHT, strokes, pen: PEN }, ink(), null, scale);
  }

  function changed() {
    const num = cell.strokes.length;
    canvas.ariaLabel = `Cell of ${char}: ${num || "no"} stroke${num === 1 ? "" : "s"}`;
    button.disabled = !num;
    repaint();
  }

  function clear() {
    cell.strokes = [];
    changed();
    onChange();
  }

  function pointOf({ clientX, clientY }) {
    const { left, top, width } = canvas.getBoundingClientRect();
    const unit = (width / WIDTH) * X_HEIGHT;
    return [(clientX - left) / unit, BASELINE / X_HEIGHT - (clientY - top) / unit];
  }

  canvas.onpointerdown = (event) => {
    if (event.button || !event.isPrimary) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    cell.strokes.push((stroke = [pointOf(event)]));
    changed();
  };
  canvas.onpointermove = (event) => {
    if (!stroke || !event.isPrimary) return;
    const all = event.getCoalescedEvents?.() ?? [];
    stroke.push(...(all.length ? all : [event]).map(pointOf));
    repaint();
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    if (stroke) onChange();
    stroke = null;
  };
  button.onclick = clear;
  changed();
  return cell;
}
