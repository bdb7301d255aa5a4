// The six shapes of the toy table, as signed distances with light on them: the same formulas as liveagent/shapes.py,
// since the eye has learnt what those draw.

export const COLOURS = ["red", "green", "blue", "yellow", "orange", "purple", "black", "white"];
export const SHAPES = ["ball", "cube", "cone", "cup", "star", "ring"];
/** Each of COLOURS in plain light. */
export const LIGHT = [
  [0.85, 0.12, 0.12],
  [0.14, 0.6, 0.2],
  [0.12, 0.3, 0.86],
  [0.96, 0.86, 0.12],
  [0.98, 0.5, 0.07],
  [0.52, 0.18, 0.7],
  [0.07, 0.07, 0.08],
  [0.95, 0.95, 0.95],
];

/**
 * What a shape is at a point: signed distance in radii, light on the surface, gloss on top of it. Written in place, since
 * it is asked for every pixel.
 * @typedef {{distance: number, glow: number, gloss: number}} Point
 * @typedef {(u: number, v: number, r: number, out: Point) => void} Form  u to the right, v down, in radii; r in px
 */

const { abs, atan2, cos, hypot, max, min, PI, sin, sqrt } = Math;

/**
 * @param {number} x
 * @param {number} low
 * @param {number} high
 */
const clip = (x, low, high) => (x < low ? low : x > high ? high : x);

/**
 * @param {number} u
 * @param {number} v
 * @param {number} wide
 * @param {number} high
 */
function ellipse(u, v, wide, high) {
  const k = sqrt((u / wide) ** 2 + (v / high) ** 2);
  const slope = sqrt((u / wide ** 2) ** 2 + (v / high ** 2) ** 2);
  return (k * (k - 1)) / max(slope, 1e-3);
}

/** @type {Form} */
function ball(u, v, _, out) {
  const d2 = u * u + v * v;
  out.distance = sqrt(d2) - 1;
  out.glow = 0.42 + 0.62 * sqrt(max(0, 1 - d2)) - 0.16 * u - 0.22 * v;
  out.gloss = max(0, 0.55 - 6 * ((u + 0.35) ** 2 + (v + 0.4) ** 2));
}

/** @type {Form} */
function cube(u, v, r, out) {
  const a = abs(u);
  const top = clip(0.5 - (v + 0.577 * a) * r, 0, 1);
  const right = clip(0.5 + u * r, 0, 1);
  out.distance = max(a, 0.5 * a + 0.866 * abs(v)) - 0.92;
  out.glow = 1.1 * top + (1 - top) * (0.84 - 0.3 * right);
  out.gloss = 0;
}

/** @type {Form} */
function cone(u, v, _, out) {
  const side = max((abs(u) * 1.72 - (v + 1) * 0.85) / 1.92, v - 0.72);
  const across = clip(u / (0.5 * max(v + 1, 0) + 0.06), -1, 1);
  out.distance = min(side, ellipse(u, v - 0.72, 0.85, 0.26));
  out.glow = 0.94 - 0.34 * across - 0.2 * across * across;
  out.gloss = max(0, 0.18 - (across + 0.4) ** 2);
}

/** @type {Form} */
function cup(u, v, r, out) {
  const b = u + 0.22;
  const body = min(max(abs(b) - (0.6 - 0.08 * v), abs(v) - 0.7), ellipse(b, v - 0.7, 0.545, 0.2));
  const mouth = ellipse(b, v + 0.7, 0.655, 0.25);
  const handle = abs(sqrt((u - 0.5) ** 2 + (0.85 * (v - 0.02)) ** 2) - 0.33) - 0.11;
  const across = clip(b / 0.6, -1, 1);
  const rim = clip(0.5 - mouth * r, 0, 1);
  const hollow = clip(0.5 - (mouth + 0.09) * r, 0, 1);
  let glow = 0.95 - 0.3 * across - 0.2 * across * across;
  glow += rim * (1.12 - glow);
  glow += hollow * (0.42 + 0.15 * across - glow);
  out.distance = min(body, mouth, handle);
  out.glow = glow;
  out.gloss = 0;
}

const FIFTH = (2 * PI) / 5;
const IX = 0.46 * sin(PI / 5);
const IY = 0.46 * cos(PI / 5);
const TIP = 1.06;
const LONG = hypot(IX, TIP - IY);

/** @type {Form} */
function star(u, v, r, out) {
  const d = sqrt(u * u + v * v);
  let turn = (atan2(u, -v) + PI / 5) % FIFTH;
  turn = (turn < 0 ? turn + FIFTH : turn) - PI / 5;
  const a = abs(turn);
  out.distance = (d * sin(a) * (TIP - IY) + (d * cos(a) - TIP) * IX) / LONG;
  out.glow = 0.93 - 0.3 * clip(turn * d * r, -0.5, 0.5);
  out.gloss = 0;
}

/** @type {Form} */
function ring(u, v, _, out) {
  const d = sqrt(u * u + v * v);
  const t = clip((d - 0.7) / 0.29, -1, 1);
  const slope = (t * (u + 1.2 * v)) / max(d, 0.1);
  out.distance = abs(d - 0.7) - 0.29;
  out.glow = 0.5 + 0.5 * sqrt(1 - t * t) - 0.18 * slope;
  out.gloss = max(0, 0.3 - (t + 0.2) ** 2 * 2 - 0.4 * hypot(u + 0.5, v + 0.5));
}

/** In the order of SHAPES. */
export const FORMS = [ball, cube, cone, cup, star, ring];
