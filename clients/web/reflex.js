// Somebody speaks into a reply: it is held here, at once, before the server has heard it and decided what it was.
//
// Holding loses nothing and can be undone. What follows from it is the server's to say: go on (a cough), or stop. If it
// has noticed nothing by the time it is quiet again, the reply goes on by itself. What the loudspeaker puts into the
// microphone is taken out by the browser; what is left of it, and any steady noise, is the floor that a voice must rise
// over. It runs in the loudspeaker's own thread and hears from the microphone's, past a page that may be busy.

const VOICE_BLOCKS = 4; // of 10 ms: a click is over by then
const QUIET_BLOCKS = 32;
const STEADY_BLOCKS = 200; // so long, and the server took it for nothing: it is noise, and the floor rises to it
const LEAST = 0.012; // about -38 dBFS
const RISE = 4;
const SLOW = 0.016;

/**
 * @typedef {object} Held
 * @property {boolean} sounding  whether a reply sounds
 * @property {() => void} freeze
 * @property {() => void} resume
 */

export class Reflex {
  /** @param {Held} player */
  constructor(player) {
    this.player = player;
    this.floor = 0;
    this.held = false;
    this.decided = false; // the server has noticed, and will say what it was
    this.run = 0;
    this.quiet = 0;
    this.blocks = 0;
  }

  /** @param {number} level  of 10 ms of microphone, root of the mean square, 0 to 1 */
  feed(level) {
    const loud = level > Math.max(LEAST, RISE * this.floor);
    if (!loud) this.floor += SLOW * (level - this.floor);
    if (!this.held) {
      this.run = loud ? this.run + 1 : 0;
      if (this.run >= VOICE_BLOCKS && this.player.sounding) this.#hold();
      return;
    }
    this.blocks++;
    this.quiet = loud ? 0 : this.quiet + 1;
    if (this.decided) return;
    if (this.blocks >= STEADY_BLOCKS) this.floor = Math.max(this.floor, level);
    if (this.quiet >= QUIET_BLOCKS || this.blocks >= STEADY_BLOCKS) this.#release();
  }

  /** @param {string} order  of the session's to the loudspeaker */
  obey(order) {
    if (order === "duck" || order === "freeze") this.decided = true;
    if (order === "resume" || order === "stop") this.held = this.decided = false;
  }

  #hold() {
    this.held = true;
    this.run = this.quiet = this.blocks = 0;
    this.player.freeze();
  }

  #release() {
    this.held = false;
    this.player.resume();
  }
}
