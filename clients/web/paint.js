// The toy table as pixels, like `draw` of liveagent/table.py: at 128 px for the eye, larger for people.
import { FORMS, LIGHT } from "./shapes.js";
import { normal, random } from "./random.js";

/**
 * @typedef {object} Thing
 * @property {number} colour  place in COLOURS
 * @property {number} shape  place in SHAPES
 * @property {number} x  of its centre, 0 to 1 across
 * @property {number} y  and down
 * @property {number} size  its height as a share of the picture's
 */

const TONE = [0.62, 0.5, 0.38];
const GRAIN = 0.05;
const BOARDS = 4;
const KEPT = 4;

/** @type {Map<string, Float32Array>} */
const surfaces = new Map();

/**
 * @param {readonly Thing[]} things  from the rearmost to the foremost
 * @param {number} seed  of the surface
 * @param {number} px
 * @returns {Uint8ClampedArray<ArrayBuffer>} RGBA
 */
export function paint(things, seed, px) {
  const light = surface(seed, px).slice();
  for (const thing of things) put(light, thing, px);
  const out = new Uint8ClampedArray(new ArrayBuffer(px * px * 4));
  for (let i = 0, j = 0; i < light.length; i += 3, j += 4) {
    out[j] = light[i] * 255;
    out[j + 1] = light[i + 1] * 255;
    out[j + 2] = light[i + 2] * 255;
    out[j + 3] = 255;
  }
  return out;
}

/**
 * RGBA without its fourth.
 * @param {Uint8ClampedArray} rgba
 */
export function rgb(rgba) {
  const out = new Uint8Array((rgba.length / 4) * 3);
  for (let i = 0, j = 0; j < out.length; i += 4, j += 3) {
    out[j] = rgba[i];
    out[j + 1] = rgba[i + 1];
    out[j + 2] = rgba[i + 2];
  }
  return out;
}

/**
 * Boards of wood: streaks along them, a mottle over all, a dark seam between two.
 * @param {number} seed
 * @param {number} px
 */
function surface(seed, px) {
  const key = `${seed}/${px}`;
  const known = surfaces.get(key);
  if (known) return known;
  const draw = random(seed);
  const mottle = field(px, 5, 5, draw);
  const streaks = field(px, 49, 5, draw);
  const shade = Array.from({ length: BOARDS }, () => normal(draw));
  const out = new Float32Array(px * px * 3);
  for (let y = 0; y < px; y++) {
    const board = Math.floor((y * BOARDS) / px);
    const seam = y > 0 && board !== Math.floor(((y - 1) * BOARDS) / px) ? 3 : 0;
    for (let x = 0; x < px; x++) {
      const i = y * px + x;
      const pattern = 0.6 * streaks[i] + 0.4 * mottle[i] + shade[board] - seam;
      for (let c = 0; c < 3; c++) out[3 * i + c] = TONE[c] * (1 + GRAIN * pattern);
    }
  }
  if (surfaces.size >= KEPT) surfaces.delete([...surfaces.keys()][0]);
  surfaces.set(key, out);
  return out;
}

/**
 * Normal numbers at knots, straight lines between them.
 * @param {number} px
 * @param {number} rows
 * @param {number} cols
 * @param {() => number} draw
 */
function field(px, rows, cols, draw) {
  const knots = Float32Array.from({ length: rows * cols }, () => normal(draw));
  const out = new Float32Array(px * px);
  for (let y = 0; y < px; y++) {
    const v = (y / (px - 1)) * (rows - 1);
    const top = Math.min(rows - 2, Math.floor(v));
    for (let x = 0; x < px; x++) {
      const u = (x / (px - 1)) * (cols - 1);
      const left = Math.min(cols - 2, Math.floor(u));
      const i = top * cols + left;
      const above = knots[i] + (u - left) * (knots[i + 1] - knots[i]);
      const below = knots[i + cols] + (u - left) * (knots[i + cols + 1] - knots[i + cols]);
      out[y * px + x] = above + (v - top) * (below - above);
    }
  }
  return out;
}

const point = { distance: 0, glow: 0, gloss: 0 };

/**
 * One thing with its shadow.
 * @param {Float32Array} light
 * @param {Thing} thing
 * @param {number} px
 */
function put(light, thing, px) {
  const r = Math.max(2, (thing.size * px) / 2);
  const cx = thing.x * px;
  const cy = thing.y * px;
  const x0 = Math.max(0, Math.trunc(cx - 1.45 * r));
  const x1 = Math.min(px, Math.trunc(cx + 1.45 * r) + 2);
  const y0 = Math.max(0, Math.trunc(cy - 1.45 * r));
  const y1 = Math.min(px, Math.trunc(cy + 1.45 * r) + 2);
  const form = FORMS[thing.shape];
  const base = LIGHT[thing.colour];
  for (let y = y0; y < y1; y++) {
    const v = (y + 0.5 - cy) / r;
    for (let x = x0; x < x1; x++) {
      const u = (x + 0.5 - cx) / r;
      const shade = clip(1.25 - Math.hypot(u - 0.14, (v - 0.25) * 1.1), 0, 0.45);
      form(u, v, r, point);
      const cover = clip(0.5 - point.distance * r, 0, 1);
      const shine = 0.1 * Math.max(point.glow - 0.6, 0) + point.gloss;
      for (let c = 0, i = 3 * (y * px + x); c < 3; c++, i++) {
        const under = light[i] * (1 - shade);
        light[i] = under + (clip(base[c] * point.glow + shine, 0, 1) - under) * cover;
      }
    }
  }
}

/**
 * @param {number} x
 * @param {number} low
 * @param {number} high
 */
function clip(x, low, high) {
  return x < low ? low : x > high ? high : x;
}
