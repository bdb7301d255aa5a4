// The microphone's own thread: whatever rate the device has becomes 16 kHz int16, in blocks of 32 ms.
import { Resampler } from "./resampler.js";

const RATE_HZ = 16_000;
const BLOCK = 512;
const LEVEL = 160; // samples

class MicProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE_HZ);
    this.block = new Int16Array(BLOCK);
    this.filled = 0;
    this.square = 0;
    /** @type {MessagePort | null} */
    this.levels = null;
    this.heard = 0;
    this.sum = 0;
    this.port.onmessage = (event) => (this.levels = event.data.levels);
  }

  /** @param {Float32Array[][]} inputs */
  process(inputs) {
    const channels = inputs[0] ?? [];
    if (channels.length > 0) {
      const mono = new Float32Array(channels[0].length);
      for (const channel of channels) for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / channels.length;
      for (const sample of this.resampler.feed(mono)) this.put(sample);
    }
    return true;
  }

  /** @param {number} sample */
  put(sample) {
    this.block[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32767)));
    this.square += sample * sample;
    this.sum += sample * sample;
    if (++this.heard === LEVEL) {
      this.levels?.postMessage(Math.sqrt(this.sum / LEVEL));
      this.heard = this.sum = 0;
    }
    if (this.filled < BLOCK) return;
    const level = Math.sqrt(this.square / BLOCK);
    this.port.postMessage({ samples: this.block, level }, [this.block.buffer]);
    this.block = new Int16Array(BLOCK);
    this.filled = this.square = 0;
  }
}

registerProcessor("liveagent-mic", MicProcessor);
