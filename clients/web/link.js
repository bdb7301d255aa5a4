// One conversation's websocket, over all the connections it takes: hello, numbers, pings, coming back.

/**
 * @typedef {"idle" | "connecting" | "loading" | "open" | "offline" | "gone" | "elsewhere" | "key" | "error" | "closed"} LinkState
 * offline: lost, and the conversation is kept; gone: it is not any more; elsewhere: another page took it up; key: the
 * server wants one; error: nobody there.
 * @typedef {{session: string, secret: string}} Handle
 * @typedef {object} Agent
 * @property {string} model
 * @property {string} device
 * @property {string[]} phrases
 * @property {string | null} voice
 * @property {boolean} sees
 * @property {"peer" | "server" | "robot"} camera  whose it is
 * @property {string[]} robots  their names
 * @property {Record<string, unknown>} extra
 * @typedef {{type: string, [field: string]: any}} Message
 * @typedef {{url: string, key?: string, speak?: boolean, pictures?: boolean, handle?: Handle | null}} LinkOptions
 * pictures: what a camera of the server's sees is to be sent here.
 */

/** How long a server keeps a conversation whose connection is lost. */
export const KEPT_MS = 120_000;
const PING_MS = 5_000;
const SILENT_MS = 12_000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 8_000;
/** Unsent bytes from which on pictures wait, and from which on sound has holes. */
const PICTURES_WAIT_BYTES = 256 << 10;
const SOUND_WAITS_BYTES = 1 << 20;

/**
 * Dispatches `state` (detail: LinkState), `message` (Message) and `media` (ArrayBuffer).
 */
export class Link extends EventTarget {
  /** @param {LinkOptions} options */
  constructor(options) {
    super();
    this.url = options.url;
    this.key = options.key ?? "";
    this.speak = options.speak ?? true;
    this.pictures = options.pictures ?? false;
    /** What the server was told of that in the last hello. */
    this.greeted = this.speak;
    /** @type {LinkState} */
    this.state = "idle";
    /** Why it is in this state, in words; may be empty. */
    this.why = "";
    /** @type {Handle | null} */
    this.handle = options.handle ?? null;
    /** The number of the newest message that was seen. */
    this.seq = 0;
    /** When the connection was lost, on performance.now(). */
    this.lostAt = 0;
    /** The session's clock was `clockNs` at `clockAt` of performance.now(). */
    this.clockNs = 0;
    this.clockAt = 0;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.retryMs = FIRST_RETRY_MS;
    this.heardAt = 0;
    /** @type {number | undefined} */
    this.retryTimer = undefined;
    /** @type {number | undefined} */
    this.pingTimer = undefined;
  }

  /** How long the server still keeps the conversation, in ms. */
  get keptMs() {
    return Math.max(0, KEPT_MS - (performance.now() - this.lostAt));
  }

  /** The session's clock now, in ns; 0 before the first welcome. */
  get nowNs() {
    return this.clockNs ? this.clockNs + (performance.now() - this.clockAt) * 1e6 : 0;
  }

  connect() {
    clearTimeout(this.retryTimer);
    if (this.socket) return;
    const protocols = ["liveagent.v1"];
    if (this.key) protocols.push(`liveagent.key.${this.key}`);
    if (this.state !== "offline") this.#set("connecting");
    const socket = new WebSocket(this.url, protocols);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => this.#greet(socket);
    socket.onmessage = (event) => this.#take(event.data);
    socket.onclose = (event) => this.#lost(socket, event);
    this.heardAt = performance.now();
    clearInterval(this.pingTimer);
    this.pingTimer = setInterval(() => this.#ping(), PING_MS);
  }

  /** Try again now, whatever the timers say. */
  retry() {
    this.retryMs = FIRST_RETRY_MS;
    if (this.socket) this.#drop();
    this.connect();
  }

  /** Begin a new conversation; the old one is let go. */
  renew() {
    this.handle = null;
    this.seq = 0;
    if (this.state === "offline") this.#set("idle");
    this.retry();
  }

  /** End the connection for good. Returns what another page may resume with. */
  close() {
    const left = this.handle ? { ...this.handle, seq: this.seq } : null;
    clearTimeout(this.retryTimer);
    this.#drop();
    this.#set("closed");
    return left;
  }

  /**
   * Send an event, as JSON. What is sent while there is no connection is not kept.
   * @param {Message} message
   * @returns {boolean} whether it was sent
   */
  send(message) {
    if (this.state !== "open" || this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /**
   * Send media. A picture that would wait is left out (the next one is newer); so is sound, at a megabyte (its count
   * says that there is a hole).
   * @param {ArrayBuffer} data
   * @param {boolean} [picture]
   */
  sendMedia(data, picture = false) {
    const socket = this.socket;
    if (this.state !== "open" || !socket || socket.readyState !== WebSocket.OPEN) return false;
    if (socket.bufferedAmount > (picture ? PICTURES_WAIT_BYTES : SOUND_WAITS_BYTES)) return false;
    socket.send(data);
    return true;
  }

  /** @param {WebSocket} socket */
  #greet(socket) {
    /** @type {Message} */
    const hello = { type: "hello", v: 1, speak: this.speak };
    this.greeted = this.speak;
    if (this.pictures) hello.pictures = true;
    if (this.handle) hello.resume = { ...this.handle, seq: this.seq };
    socket.send(JSON.stringify(hello));
  }

  /** @param {string | ArrayBuffer} data */
  #take(data) {
    this.heardAt = performance.now();
    if (typeof data !== "string") {
      this.dispatchEvent(new CustomEvent("media", { detail: data }));
      return;
    }
    /** @type {Message} */
    const message = JSON.parse(data);
    if (typeof message.seq === "number") this.seq = message.seq;
    if (message.type === "welcome") this.#welcome(message);
    if (message.type === "loading") this.#set("loading");
    if (message.type === "pong") this.#clock(message.t_ns);
    if (message.type === "problem" && message.code === "gone") this.why = message.message;
    this.dispatchEvent(new CustomEvent("message", { detail: message }));
  }

  /** @param {Message} message */
  #welcome(message) {
    message.renewed = Boolean(this.handle) && !message.resumed; // never silently a new one
    if (!message.resumed) this.seq = 0;
    this.handle = message.secret ? { session: message.session, secret: message.secret } : null;
    this.retryMs = FIRST_RETRY_MS;
    this.#clock(message.t_ns);
    this.#set("open");
    if (this.speak !== this.greeted) this.send({ type: "VoiceSet", on: this.speak }); // a click came in between
  }

  /** @param {number} tNs */
  #clock(tNs) {
    this.clockNs = tNs;
    this.clockAt = performance.now();
  }

  #ping() {
    const now = performance.now();
    if (this.socket && now - this.heardAt > SILENT_MS && this.state !== "loading") {
      this.#drop();
      this.#down();
      return;
    }
    this.send({ type: "ping", at: Math.round(now) });
  }

  #drop() {
    clearInterval(this.pingTimer);
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  /**
   * @param {WebSocket} socket
   * @param {CloseEvent} event
   */
  async #lost(socket, event) {
    if (socket !== this.socket) return;
    this.#drop();
    const refused = this.state === "connecting" && event.code === 1006 ? await this.#ask() : 0;
    if (event.code === 4401 || refused === 401 || refused === 403) {
      this.#set("key", this.key ? "That key was not taken." : "This server asks for a key.");
    } else if (event.code === 4410) {
      this.#gone(this.why || "The server has let it go.");
    } else if (event.code === 4409) {
      this.handle = null;
      this.#set("elsewhere");
    } else if (event.code === 4400) {
      this.#set("error", "The server does not understand this page. Reload it.");
    } else if (refused === 503) {
      this.#set("error", "The server is busy with other people. Try again in a moment.");
    } else if (refused > 0) {
      this.#set("error", "The server is there and has no room for this page. Try again in a moment.");
    } else {
      this.why = event.reason;
      this.#down();
    }
  }

  #down() {
    if (!this.handle) {
      this.#set("error", this.why || "The server does not answer. It may not be running.");
      return;
    }
    if (this.state !== "offline") this.lostAt = performance.now();
    if (this.keptMs === 0) {
      this.#gone("It was kept for two minutes.");
      return;
    }
    this.#set("offline");
    this.retryTimer = setTimeout(() => this.connect(), Math.min(this.retryMs, this.keptMs + 50));
    this.retryMs = Math.min(LAST_RETRY_MS, this.retryMs * 1.7);
  }

  /** @param {string} why */
  #gone(why) {
    this.handle = null;
    this.seq = 0;
    this.#set("gone", why);
  }

  /** A refused websocket does not say why; the same address over HTTP does. */
  async #ask() {
    const address = this.url.replace(/^ws/, "http");
    try {
      const headers = this.key ? { Authorization: `Bearer ${this.key}` } : undefined;
      return (await fetch(address, { headers, cache: "no-store" })).status;
    } catch {
      return 0;
    }
  }

  /**
   * @param {LinkState} state
   * @param {string} [why]
   */
  #set(state, why = "") {
    this.why = why;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}
