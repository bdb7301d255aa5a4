// `LiveAgent`: everything another page needs to talk to a liveagent server.
//
//   import { LiveAgent } from "./client.js";
//   const agent = new LiveAgent({ url: "ws://127.0.0.1:8765/live" });
//   agent.addEventListener("event", (e) => console.log(e.detail));
//   agent.connect();
//   button.onclick = () => agent.hear();      // microphone and loudspeaker need a click
import { Link } from "./link.js";
import { Mic } from "./mic.js";
import { Player } from "./player.js";
import { PICTURE, RGB, SOUND, pack, packPlayed, unpackLooked, unpackSpoken } from "./frames.js";

/** @typedef {import("./link.js").Message} Message */

/** The address of the server that this page came from. */
export function here() {
  const url = new URL("./live", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

/**
 * Dispatches
 *   `state`    the connection's (see link.js)
 *   `mic`      the microphone's (see mic.js)
 *   `welcome`  the server's message: agent, session, whether it was resumed
 *   `event`    an event or action of the session, `{type: "ReplyStarted", …}`
 *   `message`  any other message: `loading`, `memory`, `patches`, `snapshot`, `robot`, `confirm`, `problem`,
 *              `going_away`
 *   `look`     a picture that a camera of the server's saw (see frames.js), where `pictures` was wished for
 *   `played`   {utterance, samples, done}
 *   `level`    of the microphone, 0 to 1
 */
export class LiveAgent extends EventTarget {
  /** @param {Partial<import("./link.js").LinkOptions>} [options] */
  constructor(options = {}) {
    super();
    this.link = new Link({ url: here(), speak: false, ...options });
    /** Whether replies are wanted aloud; they are once there is a loudspeaker. */
    this.aloud = options.speak ?? true;
    /** @type {AudioContext | null} */
    this.context = null;
    /** @type {Player | null} */
    this.player = null;
    /** @type {Mic | null} */
    this.mic = null;
    /** @type {Promise<void> | null} */
    this.unlocking = null;
    this.link.speak = false;
    this.link.addEventListener("state", () => this.#pass("state", this.link.state));
    this.link.addEventListener("message", (event) => this.#message(/** @type {CustomEvent} */ (event).detail));
    this.link.addEventListener("media", (event) => this.#media(/** @type {CustomEvent} */ (event).detail));
  }

  connect() {
    this.link.connect();
  }

  /** End for good; returns what another page may resume with. */
  close() {
    this.mic?.stop();
    this.player?.close();
    void this.context?.close();
    return this.link.close();
  }

  /**
   * @param {string} text
   * @returns {boolean} whether it was sent
   */
  type(text) {
    return this.send({ type: "TextTyped", text });
  }

  /**
   * Any event that a peer may ask (see the protocol).
   * @param {Message} event
   */
  send(event) {
    return this.link.send(event);
  }

  /**
   * A person's answer to a `confirm` message, with the token that came in it.
   * @param {string} callId
   * @param {string} token
   * @param {boolean} yes
   */
  confirm(callId, token, yes) {
    return this.send({ type: "Confirm", call_id: callId, token, yes });
  }

  /** Everything stops: what sounds here at once, what moves there as soon as it is told. */
  stop() {
    const last = this.player?.last;
    if (last && !last.done) this.player?.stop(last.utterance);
    return this.type("stop");
  }

  /** To be called in a click or a key press: from then on replies sound. */
  unlock() {
    this.unlocking ??= this.#open();
    void this.context?.resume();
    return this.unlocking;
  }

  async #open() {
    const context = new AudioContext({ latencyHint: "interactive" });
    this.context = context;
    this.player = new Player(context);
    this.player.addEventListener("played", (event) => {
      const detail = /** @type {CustomEvent} */ (event).detail;
      this.link.sendMedia(packPlayed(detail.utterance, detail.samples));
      this.#pass("played", detail);
    });
    const mic = new Mic(context);
    this.mic = mic;
    mic.addEventListener("state", () => {
      if (mic.state === "on") this.player?.listen(mic.levels());
      this.#pass("mic", mic.state);
    });
    mic.addEventListener("level", (event) => this.#pass("level", /** @type {CustomEvent} */ (event).detail));
    mic.addEventListener("sound", (event) => {
      const { samples, count, ms } = /** @type {CustomEvent} */ (event).detail;
      this.link.sendMedia(pack(SOUND, new Uint8Array(samples.buffer), count, ms));
    });
    await this.player.start();
    this.speak(this.aloud);
  }

  /**
   * Replies aloud, or only written.
   * @param {boolean} on
   */
  speak(on) {
    this.aloud = on;
    this.link.speak = on && this.player !== null;
    this.send({ type: "VoiceSet", on: this.link.speak });
  }

  /**
   * The microphone on or off. To be called in a click.
   * @param {boolean} [on]
   */
  async hear(on = true) {
    if (!on) {
      this.mic?.stop();
      return;
    }
    await this.unlock();
    await this.mic?.start();
  }

  /** @param {Blob} blob  JPEG, PNG or WebP */
  async picture(blob) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    return this.link.sendMedia(pack(PICTURE, bytes, 0, performance.timeOrigin + performance.now()), true);
  }

  /** @param {Uint8Array} rgb  128 x 128 x 3 */
  pixels(rgb) {
    return this.link.sendMedia(pack(RGB, rgb, 0, performance.timeOrigin + performance.now()), true);
  }

  /** @param {Message} message */
  #message(message) {
    if (message.e) {
      this.#obey(message.e);
      this.#pass("event", message.e);
    } else if (message.type === "welcome") {
      const last = this.player?.last; // what sounded while nobody was told
      if (message.resumed && last) this.link.sendMedia(packPlayed(last.utterance, last.samples));
      this.#pass("welcome", message);
    } else {
      this.#pass("message", message);
    }
  }

  /** @param {Message} e */
  #obey(e) {
    if (e.type === "Duck") this.player?.duck(e.gain_db);
    if (e.type === "Freeze") this.player?.freeze();
    if (e.type === "Resume") this.player?.resume();
    if (e.type === "StopPlayback") this.player?.stop(e.utterance);
  }

  /** @param {ArrayBuffer} data */
  #media(data) {
    const spoken = unpackSpoken(data);
    if (spoken) this.player?.feed(spoken);
    const looked = unpackLooked(data);
    if (looked) this.#pass("look", looked);
  }

  /**
   * @param {string} name
   * @param {unknown} detail
   */
  #pass(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
