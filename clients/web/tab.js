// One tab at a time: two microphones would talk at once. The newest that is asked to takes the conversation over.

const NAME = "liveagent";

/** @typedef {{session: string, secret: string, seq: number}} Left */

/** Dispatches `lost` when another tab has taken over. */
export class Tab extends EventTarget {
  /** @param {() => unknown} give  called when another tab takes over: end here, and say what it may resume with */
  constructor(give) {
    super();
    this.mine = false;
    /** What the tab that talks would leave, as it said last. @type {Left | null} */
    this.newest = null;
    this.channel = new BroadcastChannel(NAME);
    this.channel.onmessage = (event) => {
      if ("newest" in event.data) this.newest = event.data.newest;
      if (event.data.ask !== "give" || !this.mine) return;
      this.mine = false;
      this.channel.postMessage({ left: give() });
      this.release?.();
      this.dispatchEvent(new CustomEvent("lost"));
    };
  }

  /**
   * Say what would be left if this tab closed now.
   * @param {Left} newest
   */
  tell(newest) {
    this.channel.postMessage({ newest });
  }

  /** Be the one, if nobody is. Where a browser knows no locks every tab is the only one. */
  async claim() {
    if (!navigator.locks) {
      this.mine = true;
      return true;
    }
    return this.#lock({ ifAvailable: true });
  }

  /** Be the one, whoever was it. Returns what the other left, if it answered. */
  async take() {
    const left = await this.#ask();
    if (navigator.locks) await this.#lock({ steal: true });
    else this.mine = true;
    return left ?? this.newest;
  }

  /** @returns {Promise<Left | null>} */
  #ask() {
    const channel = new BroadcastChannel(NAME);
    return new Promise((resolve) => {
      const timer = setTimeout(() => done(null), 600);
      /** @param {Left | null} left */
      const done = (left) => {
        clearTimeout(timer);
        channel.close();
        resolve(left);
      };
      channel.onmessage = (event) => {
        if ("left" in event.data) done(event.data.left);
      };
      channel.postMessage({ ask: "give" });
    });
  }

  /**
   * @param {LockOptions} options
   * @returns {Promise<boolean>}
   */
  #lock(options) {
    return new Promise((resolve) => {
      navigator.locks
        .request(NAME, options, (lock) => {
          this.mine = lock !== null;
          resolve(this.mine);
          return lock && new Promise((release) => (this.release = () => release(undefined)));
        })
        .catch(() => {
          if (!this.mine) return;
          this.mine = false; // stolen by a tab that could not ask
          this.dispatchEvent(new CustomEvent("lost"));
        });
    });
  }
}
