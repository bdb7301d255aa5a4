// The loudspeaker: what is fed is played in order, and what has really sounded is told, to the sample.
//
// The worklet says by which frame of the audio clock how many samples had gone out; the device is later than that by its
// latency, so a mark only counts once the clock of what is heard has passed it.

const REPORT_MS = 50;

/**
 * @typedef {object} Mark
 * @property {number} frame  of the audio clock
 * @property {number} utterance
 * @property {number} samples  of the utterance that had gone out by then, in all
 * @property {boolean} done
 * @property {boolean} [stopped]
 */

/** Dispatches `played` ({utterance, samples, done}): at least twenty times a second while something sounds. */
export class Player extends EventTarget {
  /** @param {AudioContext} context */
  constructor(context) {
    super();
    this.context = context;
    /** @type {AudioWorkletNode | null} */
    this.node = null;
    /** @type {Mark[]} */
    this.marks = [];
    /** @type {Mark | null} */
    this.last = null;
    /** @type {any[]} */
    this.waiting = [];
    this.timer = setInterval(() => this.#report(), REPORT_MS);
  }

  async start() {
    await this.context.audioWorklet.addModule(new URL("./player-worklet.js", import.meta.url).href);
    const node = new AudioWorkletNode(this.context, "liveagent-player", {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    node.port.onmessage = (event) => "frame" in event.data && this.#mark(event.data);
    node.connect(this.context.destination);
    this.node = node;
    for (const order of this.waiting.splice(0)) node.port.postMessage(order);
  }

  /** @param {import("./frames.js").Spoken} spoken */
  feed(spoken) {
    this.#order({ do: "feed", ...spoken, samples: spoken.samples.slice() });
  }

  /** @param {number} gainDb */
  duck(gainDb) {
    this.#order({ do: "duck", gain: 10 ** (Math.min(0, gainDb) / 20) });
  }

  freeze() {
    this.#order({ do: "freeze" });
  }

  resume() {
    this.#order({ do: "resume" });
  }

  /**
   * Hold what sounds as soon as somebody speaks into it (see reflex.js).
   * @param {MessagePort} levels  of the microphone
   */
  listen(levels) {
    if (this.node) this.node.port.postMessage({ do: "listen", levels }, [levels]);
  }

  /** @param {number} utterance */
  stop(utterance) {
    this.#order({ do: "stop", utterance });
  }

  close() {
    clearInterval(this.timer);
    this.node?.disconnect();
  }

  /** The frame of the audio clock that is heard now; never later than it is. */
  get heardFrame() {
    const { context } = this;
    const latency = context.outputLatency || context.baseLatency || 0;
    let heard = context.currentTime - latency;
    const stamp = context.getOutputTimestamp?.();
    if (stamp?.contextTime && stamp.performanceTime) {
      heard = Math.min(heard, stamp.contextTime + (performance.now() - stamp.performanceTime) / 1000);
    }
    return heard * context.sampleRate;
  }

  /** @param {any} order */
  #order(order) {
    if (this.node) this.node.port.postMessage(order);
    else this.waiting.push(order);
  }

  /** @param {Mark} mark */
  #mark(mark) {
    this.marks.push(mark);
    if (mark.stopped) {
      // What is in the device's buffer sounds in any case: the report comes at once.
      this.marks = this.marks.filter((each) => each.utterance !== mark.utterance);
      this.#tell(mark);
    }
  }

  #report() {
    if (this.marks.length === 0) return;
    const now = this.heardFrame;
    /** @type {Mark | null} */
    let passed = null;
    while (this.marks.length > 0 && this.marks[0].frame <= now) {
      passed = /** @type {Mark} */ (this.marks.shift());
      if (passed.done) this.#tell(passed);
    }
    if (passed && !passed.done) this.#tell(passed);
  }

  /** @param {Mark} mark */
  #tell(mark) {
    this.last = mark;
    const { utterance, samples, done } = mark;
    this.dispatchEvent(new CustomEvent("played", { detail: { utterance, samples, done } }));
  }
}
