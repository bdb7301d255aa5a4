// One sample rate into another, in a stream: a windowed sinc, its phases in a table.

const CROSSINGS = 16;
const PHASES = 512;
/** The passband ends here, as a share of the lower rate's half. */
const PASS = 0.94;

export class Resampler {
  /**
   * @param {number} from  Hz
   * @param {number} to  Hz
   */
  constructor(from, to) {
    this.step = from / to;
    const cut = PASS * Math.min(1, to / from);
    this.half = Math.ceil(CROSSINGS / cut);
    this.table = kernel(cut, this.half);
    this.history = new Float32Array(2 * this.half);
    /** Where the next sample out lies, in samples in, from the history's first. */
    this.at = 2 * this.half;
    this.taken = 0;
    this.given = 0;
  }

  /**
   * @param {Float32Array} samples
   * @returns {Float32Array} what is certain by now; a little comes later
   */
  feed(samples) {
    this.taken += samples.length;
    return this.#run(samples);
  }

  /** The end: what was still held back, so that as much has come out as went in, in time. */
  flush() {
    const whole = Math.round(this.taken / this.step);
    const rest = this.#run(new Float32Array(this.half + Math.ceil(this.step) + 1));
    return rest.subarray(0, Math.max(0, rest.length - Math.max(0, this.given - whole)));
  }

  /** @param {Float32Array} samples */
  #run(samples) {
    const { half, table, step } = this;
    const all = new Float32Array(this.history.length + samples.length);
    all.set(this.history);
    all.set(samples, this.history.length);
    const last = all.length - half;
    const out = new Float32Array(Math.max(0, Math.ceil((last - this.at) / step)));
    let n = 0;
    for (; this.at < last; this.at += step) {
      const whole = Math.floor(this.at);
      const row = Math.round((this.at - whole) * PHASES) * 2 * half;
      const first = whole - half + 1;
      let sum = 0;
      for (let k = 0; k < 2 * half; k++) sum += all[first + k] * table[row + k];
      out[n++] = sum;
    }
    const drop = Math.max(0, Math.min(all.length - 2 * half, Math.floor(this.at) - half));
    this.history = all.slice(drop);
    this.at -= drop;
    this.given += n;
    return out.subarray(0, n);
  }
}

/**
 * Weights of the samples around a place, for each of its fractions; each row sums to one.
 * @param {number} cut
 * @param {number} half
 */
function kernel(cut, half) {
  const width = 2 * half;
  const table = new Float32Array((PHASES + 1) * width);
  for (let phase = 0; phase <= PHASES; phase++) {
    let sum = 0;
    for (let k = 0; k < width; k++) {
      const x = k - half + 1 - phase / PHASES;
      const sinc = x === 0 ? cut : Math.sin(Math.PI * cut * x) / (Math.PI * x);
      const edge = Math.min(1, Math.abs(x / half));
      const window = 0.5 + 0.5 * Math.cos(Math.PI * edge);
      table[phase * width + k] = sinc * window;
      sum += sinc * window;
    }
    for (let k = 0; k < width; k++) table[phase * width + k] /= sum;
  }
  return table;
}
