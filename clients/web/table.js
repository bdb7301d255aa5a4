// The toy table on the page: drawn, moved by mouse, finger or keys, and shown to the agent five times a second.
import { paint, rgb } from "./paint.js";
import { TICK_MS, ToyTable, nameOf } from "./toytable.js";

const EYE_PX = 128;
const LOOK_MS = 200;
const KEY_STEP = 0.04;

/** @typedef {import("./paint.js").Thing} Thing */

export class TableView {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {(rgb: Uint8Array) => void} look  what the agent sees, 128 x 128 x 3
   * @param {number} seed
   */
  constructor(canvas, look, seed) {
    this.canvas = canvas;
    this.look = look;
    this.table = new ToyTable(seed);
    /** @type {Thing | null} */
    this.held = null;
    /** @type {Thing | null} what the arrow keys move */
    this.picked = null;
    this.began = performance.now();
    this.looked = 0;
    this.dirty = true;
    this.running = false;
    /** What the eye was shown last. @type {Uint8Array | null} */
    this.seen = null;
    canvas.addEventListener("pointerdown", (event) => this.#grab(event));
    canvas.addEventListener("pointermove", (event) => this.#drag(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => this.#drop());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => this.#pick(null));
    this.#name();
  }

  start() {
    if (this.running) return;
    this.running = true;
    this.dirty = true;
    this.timer = setInterval(() => this.#tick(), 40);
  }

  stop() {
    this.running = false;
    clearInterval(this.timer);
  }

  #tick() {
    const now = performance.now();
    const before = this.table.things.map(nameOf).join();
    const tick = Math.floor((now - this.began) / TICK_MS);
    if (tick - this.table.tick > 50) this.began = now - this.table.tick * TICK_MS; // the page slept; the table did too
    else if (this.table.step(tick)) this.dirty = true;
    if (before !== this.table.things.map(nameOf).join()) this.#name();
    if (this.dirty) this.#draw();
    if (now - this.looked >= LOOK_MS) {
      this.looked = now;
      this.seen = rgb(paint(this.table.things, this.table.seed, EYE_PX));
      this.look(this.seen);
    }
  }

  #draw() {
    this.dirty = false;
    const px = this.canvas.width;
    const pen = this.canvas.getContext("2d");
    if (!pen) return;
    pen.putImageData(new ImageData(paint(this.table.things, this.table.seed, px), px, px), 0, 0);
    if (!this.picked) return;
    const at = this.table.find(this.picked);
    if (at < 0) return;
    const { x, y, size } = this.table.things[at];
    for (const [width, colour] of /** @type {const} */ ([[7, "#1a1917"], [3, "#ffffff"]])) {
      pen.beginPath();
      pen.arc(x * px, y * px, size * px * 0.62, 0, 2 * Math.PI);
      pen.lineWidth = width;
      pen.strokeStyle = colour;
      pen.stroke();
    }
  }

  /** For who cannot see it. */
  #name() {
    const there = this.table.things.map((thing) => `${nameOf(thing)} ${place(thing)}`);
    const keys = "Space picks a thing, arrow keys move it.";
    this.canvas.setAttribute("aria-label", `Toy table: ${there.join(", ") || "nothing on it"}. ${keys}`);
  }

  /** @param {PointerEvent} event */
  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  /** @param {PointerEvent} event */
  #grab(event) {
    const [x, y] = this.#point(event);
    this.held = this.table.at(x, y);
    if (!this.held) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.classList.add("holding");
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    if (!this.held) return;
    const [x, y] = this.#point(event);
    this.table.drag(this.held, x, y);
    this.dirty = true;
  }

  #drop() {
    if (!this.held) return;
    this.held = null;
    this.canvas.classList.remove("holding");
    this.#name();
  }

  /** @param {Thing | null} thing */
  #pick(thing) {
    this.picked = thing;
    this.dirty = true;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const things = this.table.things;
    if (event.key === " " || event.key === "Enter") {
      const at = this.picked ? this.table.find(this.picked) : -1;
      this.#pick(things[(at + 1) % things.length] ?? null);
      event.preventDefault();
      return;
    }
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const at = this.picked ? this.table.find(this.picked) : -1;
    if (!way || at < 0) return;
    event.preventDefault();
    const { x, y } = things[at];
    this.table.drag(things[at], x + way[0] * KEY_STEP, y + way[1] * KEY_STEP);
    this.dirty = true;
    this.#name();
  }
}

/** @param {Thing} thing */
function place({ x, y }) {
  const across = x < 0.4 ? "left" : x > 0.6 ? "right" : "";
  const down = y < 0.4 ? "at the back" : y > 0.6 ? "in front" : "";
  return [down, across].filter(Boolean).join(" ") || "in the middle";
}
