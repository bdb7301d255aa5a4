// Binary messages of liveagent's own protocol, version 1: what a page sends and what it is sent.

export const SOUND = 1;
export const PICTURE = 2;
export const RGB = 3;
export const PLAYED = 4;
export const SPOKEN = 16;
export const LOOKED = 17;
const HEADER_BYTES = 16;
const SPOKEN_BYTES = 12;

/**
 * @typedef {object} Spoken
 * @property {number} utterance
 * @property {number} first  index of the first sample in its utterance
 * @property {boolean} final  nothing more follows
 * @property {Int16Array} samples  mono, 16 kHz
 */

/**
 * One message: header and payload. Numbers are little-endian.
 * @param {number} kind
 * @param {Uint8Array} payload
 * @param {number} [count]  samples captured before these, modulo 2**32
 * @param {number} [ms]  when it was captured, on the page's own clock
 * @returns {ArrayBuffer}
 */
export function pack(kind, payload, count = 0, ms = 0) {
  const buffer = new ArrayBuffer(HEADER_BYTES + payload.byteLength);
  const view = new DataView(buffer);
  view.setUint8(0, kind);
  view.setUint32(4, count >>> 0, true);
  view.setBigUint64(8, BigInt(Math.max(0, Math.round(ms * 1000))), true);
  new Uint8Array(buffer, HEADER_BYTES).set(payload);
  return buffer;
}

/**
 * The report that `samples` of an utterance have sounded in all.
 * @param {number} utterance
 * @param {number} samples
 */
export function packPlayed(utterance, samples) {
  const payload = new DataView(new ArrayBuffer(8));
  payload.setUint32(0, utterance, true);
  payload.setUint32(4, samples, true);
  return pack(PLAYED, new Uint8Array(payload.buffer));
}

/**
 * What the voice made; null for anything else.
 * @param {ArrayBuffer} buffer
 * @returns {Spoken | null}
 */
export function unpackSpoken(buffer) {
  if (buffer.byteLength < SPOKEN_BYTES || buffer.byteLength % 2) return null;
  const view = new DataView(buffer);
  if (view.getUint8(0) !== SPOKEN) return null;
  return {
    utterance: view.getUint32(4, true),
    first: view.getUint32(8, true),
    final: (view.getUint8(1) & 1) === 1,
    samples: new Int16Array(buffer, SPOKEN_BYTES),
  };
}

/**
 * @typedef {object} Looked
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array} rgb  row by row
 */

/**
 * What a camera of the server's saw; null for anything else.
 * @param {ArrayBuffer} buffer
 * @returns {Looked | null}
 */
export function unpackLooked(buffer) {
  if (buffer.byteLength < HEADER_BYTES) return null;
  const view = new DataView(buffer);
  if (view.getUint8(0) !== LOOKED) return null;
  const [width, height] = [view.getUint16(4, true), view.getUint16(6, true)];
  const rgb = new Uint8Array(buffer, HEADER_BYTES);
  return width && height && rgb.length === width * height * 3 ? { width, height, rgb } : null;
}
