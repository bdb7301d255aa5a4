// The loudspeaker's own thread: utterances one after the other, quieter, held or cut off at the sample; and how many
// samples of each (at 16 kHz) have gone out by which frame of the audio clock.
import { Reflex } from "./reflex.js";
import { Resampler } from "./resampler.js";

const RATE_HZ = 16_000;
const RAMP_S = 0.005;
const TELL_FRAMES = 1024;

/**
 * @typedef {object} Item
 * @property {number} utterance
 * @property {Resampler} resampler
 * @property {Float32Array[]} chunks  at the device's rate
 * @property {number} at  place in the first chunk
 * @property {number} taken  frames played
 * @property {number} base  index of the first sample that was fed
 * @property {number} next  index of the sample that must come next
 * @property {boolean} final
 * @property {number} fade  frames left until it is over, -1 when it is not being cut off
 */

class PlayerProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    /** @type {Item[]} */
    this.items = [];
    this.over = -1;
    this.gain = 1;
    this.target = 1;
    this.frozen = false;
    this.told = 0;
    this.reflex = new Reflex(this);
    this.port.onmessage = (event) => this.obey(event.data);
  }

  /** Whether something sounds, or is about to. */
  get sounding() {
    return this.items.length > 0;
  }

  freeze() {
    this.frozen = true;
  }

  resume() {
    this.frozen = false;
    this.target = 1;
  }

  /** @param {any} order */
  obey(order) {
    switch (order.do) {
      case "feed":
        this.feed(order.utterance, order.first, order.samples, order.final);
        break;
      case "duck":
        this.target = order.gain;
        break;
      case "freeze":
        this.freeze();
        break;
      case "resume":
        this.resume();
        break;
      case "stop":
        this.stop(order.utterance);
        break;
      case "listen":
        order.levels.onmessage = (/** @type {MessageEvent} */ event) => this.reflex.feed(event.data);
        break;
    }
    this.reflex.obey(order.do);
    if (order.answer) this.port.postMessage({ obeyed: order.do }); // whoever must know from which frame on it holds
  }

  /**
   * @param {number} utterance
   * @param {number} first
   * @param {Int16Array} samples
   * @param {boolean} final
   */
  feed(utterance, first, samples, final) {
    if (utterance <= this.over) return; // it was cut off, or has ended
    let item = this.items.find((each) => each.utterance === utterance);
    if (!item) {
      const resampler = new Resampler(RATE_HZ, sampleRate);
      item = { utterance, resampler, chunks: [], at: 0, taken: 0, base: first, next: first, final: false, fade: -1 };
      this.items.push(item);
    }
    if (item.fade >= 0 || item.final) return;
    const known = Math.min(samples.length, Math.max(0, item.next - first)); // told again after a break
    const hole = Math.max(0, first - item.next);
    const wave = new Float32Array(hole + samples.length - known);
    for (let i = known; i < samples.length; i++) wave[hole + i - known] = samples[i] / 32768;
    item.next += wave.length;
    item.final = final;
    this.put(item, item.resampler.feed(wave));
    if (final) this.put(item, item.resampler.flush());
  }

  /**
   * @param {Item} item
   * @param {Float32Array} chunk
   */
  put(item, chunk) {
    if (chunk.length > 0) item.chunks.push(chunk);
  }

  /** @param {number} utterance */
  stop(utterance) {
    const at = this.items.findIndex((each) => each.utterance === utterance);
    this.over = Math.max(this.over, utterance);
    if (at < 0) return;
    const item = this.items[at];
    const sounding = at === 0 && item.taken > 0 && !(this.frozen && this.gain === 0);
    if (sounding) {
      item.fade = Math.round(RAMP_S * sampleRate);
    } else {
      this.end(item, currentFrame, true);
    }
  }

  /** @param {Item} item */
  played(item) {
    if (item.final && item.chunks.length === 0) return item.next;
    return Math.min(item.next, item.base + Math.floor((item.taken * RATE_HZ) / sampleRate));
  }

  /**
   * @param {Item} item
   * @param {number} frame
   * @param {boolean} stopped
   */
  end(item, frame, stopped) {
    const samples = stopped
      ? Math.min(item.next, item.base + Math.floor((item.taken * RATE_HZ) / sampleRate))
      : this.played(item);
    this.items = this.items.filter((each) => each !== item);
    this.over = Math.max(this.over, item.utterance);
    this.frozen = false;
    this.target = this.gain = 1;
    this.port.postMessage({ frame, utterance: item.utterance, samples, done: true, stopped });
  }

  /**
   * @param {Float32Array[][]} _
   * @param {Float32Array[][]} outputs
   */
  process(_, outputs) {
    const channels = outputs[0];
    const out = channels[0];
    const step = 1 / (RAMP_S * sampleRate);
    for (let i = 0; i < out.length; i++) {
      const item = this.items[0];
      if (!item) break;
      const target = this.frozen ? 0 : this.target;
      this.gain += Math.max(-step, Math.min(step, target - this.gain));
      if (this.frozen && this.gain <= 0) break;
      const chunk = item.chunks[0];
      if (!chunk) {
        if (item.final || item.fade >= 0 || this.items.length > 1) this.end(item, currentFrame + i, item.fade >= 0);
        break; // more of it is still to be made
      }
      let sample = chunk[item.at++] * this.gain;
      item.taken++;
      if (item.at === chunk.length) {
        item.chunks.shift();
        item.at = 0;
      }
      if (item.fade >= 0) {
        sample *= item.fade / (RAMP_S * sampleRate);
        if (item.fade-- === 0) this.end(item, currentFrame + i + 1, true);
      }
      out[i] = sample;
    }
    for (const channel of channels.slice(1)) channel.set(out);
    this.tell(out.length);
    return true;
  }

  /** @param {number} frames */
  tell(frames) {
    const item = this.items[0];
    const end = currentFrame + frames;
    if (!item || item.taken === 0 || end - this.told < TELL_FRAMES) return;
    this.told = end;
    this.port.postMessage({ frame: end, utterance: item.utterance, samples: this.played(item), done: false });
  }
}

registerProcessor("liveagent-player", PlayerProcessor);
