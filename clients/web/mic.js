// The microphone: permission, echo cancellation, blocks of 32 ms with a count, and what became of it.

/**
 * @typedef {"off" | "asking" | "on" | "denied" | "missing" | "lost" | "insecure"} MicState
 */

/** Dispatches `state` (MicState), `sound` ({samples, count, ms}) and `level` (0 to 1). */
export class Mic extends EventTarget {
  /** @param {AudioContext} context */
  constructor(context) {
    super();
    this.context = context;
    /** @type {MicState} */
    this.state = "off";
    /** Samples captured so far while it was on, modulo 2**32. */
    this.count = 0;
    /** @type {MediaStream | null} */
    this.stream = null;
    /** @type {AudioNode[]} */
    this.nodes = [];
    this.turn = 0;
  }

  /** Ask for it and begin. Never throws: `state` says what came of it. */
  async start() {
    if (this.state === "on" || this.state === "asking") return;
    if (!navigator.mediaDevices) {
      this.#set("insecure");
      return;
    }
    this.#set("asking");
    const turn = ++this.turn;
    try {
      const stream = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
      });
      if (turn !== this.turn) {
        stopAll(stream); // meanwhile it was turned off
        return;
      }
      this.stream = stream;
      await this.context.audioWorklet.addModule(new URL("./mic-worklet.js", import.meta.url).href);
      const source = this.context.createMediaStreamSource(stream);
      const node = new AudioWorkletNode(this.context, "liveagent-mic", { numberOfInputs: 1, numberOfOutputs: 0 });
      node.port.onmessage = (event) => this.#hear(event.data);
      source.connect(node);
      this.nodes = [source, node];
      stream.getAudioTracks()[0].addEventListener("ended", () => this.stop("lost"));
      this.#set("on");
    } catch (error) {
      if (turn === this.turn) this.stop(error instanceof DOMException && error.name === "NotAllowedError" ? "denied" : "missing");
    }
  }

  /** Where the level of each 10 ms comes out, for another thread. */
  levels() {
    const { port1, port2 } = new MessageChannel();
    const node = /** @type {AudioWorkletNode} */ (this.nodes[1]);
    node.port.postMessage({ levels: port1 }, [port1]);
    return port2;
  }

  /**
   * Let it go: the browser's sign that something listens goes out.
   * @param {MicState} [state]
   */
  stop(state = "off") {
    for (const node of this.nodes) node.disconnect();
    this.nodes = [];
    if (this.stream) stopAll(this.stream);
    this.stream = null;
    this.turn++;
    this.#set(state);
  }

  /** @param {{samples: Int16Array, level: number}} block */
  #hear({ samples, level }) {
    if (this.state !== "on") return;
    const ms = performance.timeOrigin + performance.now() - samples.length / 16;
    this.dispatchEvent(new CustomEvent("sound", { detail: { samples, count: this.count, ms } }));
    this.dispatchEvent(new CustomEvent("level", { detail: level }));
    this.count = (this.count + samples.length) % 2 ** 32;
  }

  /** @param {MicState} state */
  #set(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}

/** @param {MediaStream} stream */
function stopAll(stream) {
  for (const track of stream.getTracks()) track.stop();
}
