// The rules of the toy table, as in liveagent/table.py: things appear, leave and slide by themselves, seconds apart, and
// can be moved by hand. No two are alike, and none hides another wholly. Time is counted in ticks of 80 ms.
import { COLOURS, SHAPES } from "./shapes.js";
import { random } from "./random.js";

/** @typedef {import("./paint.js").Thing} Thing */
/** @typedef {{x: number, y: number, toX: number, toY: number, begin: number}} Slide */

export const TICK_MS = 80;
const SLIDE_TICKS = 13;
const EDGE = 0.12;
const SIZE = 0.22;
const MOST = 5;
const PAUSE = [25, 75];

/**
 * For people: "red ball".
 * @param {Thing} thing
 */
export const nameOf = (thing) => `${COLOURS[thing.colour]} ${SHAPES[thing.shape]}`;

/** @param {number} p */
const inside = (p) => Math.min(1 - EDGE, Math.max(EDGE, p));

export class ToyTable {
  /**
   * @param {number} seed
   * @param {number} [things]
   */
  constructor(seed, things = 3) {
    this.seed = seed;
    this.draw = random(seed);
    /** @type {Thing[]} */
    this.things = [];
    /** @type {Slide[]} */
    this.slides = [];
    this.tick = 0;
    /** Whether it moves by itself. */
    this.moving = true;
    for (let i = 0; i < things; i++) this.#appear();
    this.due = this.#pause();
  }

  /**
   * Go on to a tick. Returns whether anything looks different.
   * @param {number} tick
   */
  step(tick) {
    let changed = false;
    while (this.tick < tick) {
      this.tick++;
      this.slides.forEach((slide, i) => {
        const share = smooth((this.tick - slide.begin) / SLIDE_TICKS);
        const x = slide.x + (slide.toX - slide.x) * share;
        const y = slide.y + (slide.toY - slide.y) * share;
        const thing = this.things[i];
        if (thing.x !== x || thing.y !== y) {
          this.things[i] = { ...thing, x, y };
          changed = true;
        }
      });
      if (this.moving && this.tick >= this.due) {
        this.#happen();
        this.due = this.tick + this.#pause();
        changed = true;
      }
    }
    return changed;
  }

  /**
   * The foremost thing at a point; null where there is none.
   * @param {number} x
   * @param {number} y
   */
  at(x, y) {
    for (let i = this.things.length - 1; i >= 0; i--) {
      const t = this.things[i];
      if ((t.x - x) ** 2 + (t.y - y) ** 2 <= (t.size / 2) ** 2) return t;
    }
    return null;
  }

  /**
   * Where a thing stands now, by what it is; -1 when it has left.
   * @param {Thing} thing
   */
  find(thing) {
    return this.things.findIndex((t) => t.colour === thing.colour && t.shape === thing.shape);
  }

  /**
   * Move a thing at once, as near to (x, y) as the others leave it in sight.
   * @param {Thing} thing
   * @param {number} x
   * @param {number} y
   */
  drag(thing, x, y) {
    const at = this.find(thing);
    if (at < 0) return;
    for (let round = 0; round < 4; round++) {
      x = inside(x);
      y = inside(y);
      this.things.forEach((other, i) => {
        let dx = x - other.x;
        let dy = y - other.y;
        const away = Math.hypot(dx, dy);
        const least = 0.6 * other.size;
        if (i === at || away >= least) return;
        [dx, dy] = away > 1e-6 ? [dx / away, dy / away] : [1, 0];
        x = other.x + dx * least;
        y = other.y + dy * least;
      });
    }
    x = inside(x);
    y = inside(y);
    this.things[at] = { ...this.things[at], x, y };
    this.slides[at] = { x, y, toX: x, toY: y, begin: this.tick };
  }

  /**
   * Put a thing down near (x, y), unless one like it lies there already.
   * @param {number} colour
   * @param {number} shape
   * @param {number} x
   * @param {number} y
   */
  put(colour, shape, x, y) {
    const thing = { colour, shape, x, y, size: SIZE };
    if (this.find(thing) >= 0) return;
    this.things.push(thing);
    this.slides.push({ x, y, toX: x, toY: y, begin: this.tick });
    this.drag(thing, x, y);
  }

  #pause() {
    return PAUSE[0] + Math.floor(this.draw() * (PAUSE[1] - PAUSE[0] + 1));
  }

  #happen() {
    const chance = this.draw();
    const which = Math.floor(this.draw() * this.things.length);
    if (this.things.length < 2 || (chance < 0.3 && this.things.length < MOST)) {
      this.#appear();
    } else if (chance < 0.55) {
      this.things.splice(which, 1);
      this.slides.splice(which, 1);
    } else {
      this.#move(which);
    }
  }

  #appear() {
    const free = [];
    for (let colour = 0; colour < COLOURS.length; colour++) {
      for (let shape = 0; shape < SHAPES.length; shape++) {
        if (!this.things.some((t) => t.colour === colour && t.shape === shape)) free.push([colour, shape]);
      }
    }
    const spot = this.#spot(this.things.length, null);
    const [colour, shape] = free[Math.floor(this.draw() * free.length)];
    if (spot) this.put(colour, shape, spot[0], spot[1]);
  }

  /** @param {number} which */
  #move(which) {
    const { x, y } = this.things[which];
    const spot = this.#spot(which, [x, y]);
    if (spot) this.slides[which] = { x, y, toX: spot[0], toY: spot[1], begin: this.tick };
  }

  /**
   * A free place, which a thing can reach from `start` without hiding another on its way; null when none was found.
   * @param {number} which
   * @param {number[] | null} start
   */
  #spot(which, start) {
    const others = this.slides.filter((_, i) => i !== which);
    for (let tries = 0; tries < 40; tries++) {
      const x = EDGE + this.draw() * (1 - 2 * EDGE);
      const y = EDGE + this.draw() * (1 - 2 * EDGE);
      if (start && Math.hypot(x - start[0], y - start[1]) < 0.25) continue; // too near to be called a move
      const steps = start ? [1, 2, 3, 4, 5, 6, 7, 8] : [8];
      const [fromX, fromY] = start ?? [x, y];
      const clear = steps.every((step) => {
        const px = fromX + ((x - fromX) * step) / 8;
        const py = fromY + ((y - fromY) * step) / 8;
        return others.every((o) => Math.hypot(px - o.toX, py - o.toY) > 0.16);
      });
      if (clear && others.every((o) => Math.hypot(x - o.toX, y - o.toY) > 0.26)) return [x, y];
    }
    return null;
  }
}

/** @param {number} share */
function smooth(share) {
  const s = Math.min(1, Math.max(0, share));
  return s * s * (3 - 2 * s);
}
