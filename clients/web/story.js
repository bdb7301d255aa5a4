// What was said and done, and what is going on, folded from the session's events. No page in here.

/**
 * @typedef {import("./link.js").Message} Message
 * @typedef {{kind: "heard", id: number, text: string, source: string, final: boolean, told: boolean}} Heard
 * @typedef {{index: number, start_samples: number, end_samples: number}} Mark
 * @typedef {object} Reply
 * @property {"reply"} kind
 * @property {number} id
 * @property {number} utterance
 * @property {string[]} words
 * @property {Mark[]} marks
 * @property {number} heard  its first so many words have sounded
 * @property {number} now  the word that sounds, -1 when none does
 * @property {boolean} cut
 * @property {boolean} ended
 * @typedef {object} Call
 * @property {"call"} kind
 * @property {number} id
 * @property {string} callId
 * @property {string} name
 * @property {string} args
 * @property {string} by
 * @property {"waiting" | "asking" | "done" | "failed"} state  asking: a person is asked to confirm it
 * @property {string} result
 * @property {number | null} share  how much of it is done, from 0 to 1; null: not known
 * @property {number} at  when it was called, in ms of this page's clock; 0: not known
 * @property {number | null} tookMs
 * @typedef {{kind: "note", id: number, text: string}} Note
 * @typedef {Heard | Reply | Call | Note} Entry
 */

const MOST_ENTRIES = 200;
/** What the agent says when it has not understood, and how its questions before a call begin. */
const AGAIN = "Say that again, please.";
const SHALL_I = "Shall I? Say yes or no:";
/** Remarks after which no answer comes. */
const NOTHING = new Set(["no_words", "empty"]);
const TOLD = new Set(["call_refused", "mute", "camera_froze", "recording_stopped", "not_said", "watch_failed", "busy", "blind", "no_words"]);

export class Story {
  constructor() {
    /** @type {Entry[]} */
    this.entries = [];
    this.ids = 0;
    /** What the user is saying just now. @type {Heard | null} */
    this.live = null;
    this.hearing = false;
    /** Since when an answer is waited for, in ms; 0: none is. */
    this.waitingSince = 0;
    /** @type {Reply | null} */
    this.speaking = null;
    /** @type {"" | "quieter" | "held"} */
    this.held = "";
    this.cutAt = 0;
    this.resumedAt = 0;
    this.stopped = false;
    /** What could have been meant: sentences to choose from, or yes and no. @type {{ask: string, choices: string[]} | null} */
    this.unsure = null;
  }

  /** The name of the tool that is waited for; empty when none is. */
  get calling() {
    const call = this.entries.findLast((each) => each.kind === "call" && each.state === "waiting");
    return call?.kind === "call" ? call.name : "";
  }

  /** The name of the tool that waits to be confirmed; empty when none does. */
  get asking() {
    const call = this.entries.findLast((each) => each.kind === "call" && each.state === "asking");
    return call?.kind === "call" ? call.name : "";
  }

  /**
   * What was typed here, at once.
   * @param {string} text
   */
  typed(text) {
    this.#close();
    this.unsure = null;
    this.#add({ kind: "heard", id: 0, text, source: "typed", final: true, told: false });
  }

  /**
   * So much of an utterance has sounded: its words light up.
   * @param {{utterance: number, samples: number}} report
   */
  played({ utterance, samples }) {
    const reply = this.#find(utterance);
    if (!reply || reply.cut) return;
    this.waitingSince = 0;
    if (!reply.ended) this.speaking = reply;
    reply.now = -1;
    for (const mark of reply.marks) {
      if (mark.end_samples <= samples) reply.heard = Math.max(reply.heard, mark.index + 1);
      else if (mark.start_samples < samples) reply.now = mark.index;
    }
  }

  /**
   * An event or an action of the session.
   * @param {Message} e
   * @param {number} now  ms
   */
  feed(e, now) {
    switch (e.type) {
      case "SpeechStarted":
        this.hearing = true;
        break;
      case "WordsHeard":
        this.#words(e, now);
        break;
      case "TurnEnded":
        this.hearing = false;
        this.waitingSince = now;
        break;
      case "AnswerStarted":
        this.waitingSince ||= now;
        break;
      case "StopHeard":
        this.#close();
        this.stopped = true;
        this.hearing = false;
        this.unsure = null;
        this.waitingSince = 0;
        break;
      case "RobotStopped": {
        const heard = e.heard_ms ? `heard in ${Math.round(e.heard_ms)} ms, ` : "";
        this.note(`${e.robot} has stopped: ${heard}sent in ${Math.round(e.sent_ms)} ms, answered in ${Math.round(e.ack_ms)} ms`);
        break;
      }
      case "ToolCalled":
      case "ToolProgressed":
      case "ConfirmAsked":
      case "Confirmed":
      case "ToolReturned":
      case "ToolFailed":
        this.#call(e, now);
        break;
      case "MessageAdded":
        if (e.role === "user") this.#add({ kind: "heard", id: 0, text: e.text, source: "typed", final: true, told: true });
        break;
      case "SessionEnded":
        this.#close();
        this.speaking = null;
        this.hearing = false;
        this.waitingSince = 0;
        break;
      default:
        this.#reply(e, now);
        this.#note(e);
    }
  }

  /**
   * The conversation so far, as the server tells it to one who was away too long.
   * @param {Message[]} entries
   */
  restore(entries) {
    this.entries = [];
    this.live = this.speaking = null;
    for (const e of entries) {
      if (e.kind === "heard") {
        this.#add({ kind: "heard", id: 0, text: e.text, source: e.source, final: true, told: true });
      } else if (e.kind === "reply") {
        const { utterance, words, heard, cut, ended } = e;
        this.#add({ kind: "reply", id: 0, utterance, words, marks: [], heard, now: -1, cut, ended });
      } else if (e.kind === "call") {
        const { name, by, state, result } = e;
        const args = written(e.args);
        this.#add({ kind: "call", id: 0, callId: e.call_id, name, args, by, state, result, share: null, at: 0, tookMs: null });
      }
    }
  }

  /** @param {string} text */
  note(text) {
    const last = this.entries.at(-1);
    if (last?.kind !== "note" || last.text !== text) this.#add({ kind: "note", id: 0, text });
  }

  /** @param {Entry} entry */
  #add(entry) {
    entry.id = ++this.ids;
    this.entries.push(entry);
    if (this.entries.length > MOST_ENTRIES) this.entries.shift();
  }

  /** What was being heard is over; if it was nothing, it leaves no trace. */
  #close() {
    const live = this.live;
    this.live = null;
    if (!live) return;
    live.final = true;
    if (!live.text) this.entries = this.entries.filter((each) => each !== live);
  }

  /**
   * @param {Message} e
   * @param {number} now
   */
  #words(e, now) {
    const text = e.words.join(" ");
    if (e.source === "typed") {
      const mine = this.entries.find((each) => each.kind === "heard" && !each.told);
      if (mine?.kind === "heard") mine.told = true;
      else this.#add({ kind: "heard", id: 0, text, source: "typed", final: true, told: true });
      this.waitingSince = now;
    } else if (text || this.live) {
      if (!this.live) {
        this.live = { kind: "heard", id: 0, text, source: e.source, final: false, told: true };
        this.#add(this.live);
      }
      this.live.text = text;
      if (e.final) this.#close();
    }
    if (!e.final) return;
    this.stopped = false; // words release what "stop" has latched
    this.unsure = null;
  }

  /**
   * @param {Message} e
   * @param {number} now
   */
  #reply(e, now) {
    switch (e.type) {
      case "ReplyStarted":
        this.#utterance(e.utterance);
        break;
      case "Say": {
        const reply = this.#utterance(e.utterance);
        if (reply.ended) return; // it was taken back in the same tick
        const said = e.words.length ? e.words.map((/** @type {{text: string}} */ word) => word.text) : e.text.split(/\s+/);
        reply.words = [...reply.words, ...said.filter(Boolean)];
        this.#doubt(reply.words.join(" "));
        break;
      }
      case "Voiced":
        this.#utterance(e.utterance).marks.push(...e.marks);
        break;
      case "WordPlayed": {
        const reply = this.#utterance(e.utterance);
        if (reply.cut) return;
        reply.heard = Math.max(reply.heard, e.index + 1);
        if (!reply.ended) this.speaking = reply;
        this.waitingSince = 0;
        break;
      }
      case "Ducked":
        this.held = e.frozen ? "held" : "quieter";
        break;
      case "Resumed":
        this.held = "";
        this.hearing = false;
        this.#close();
        this.resumedAt = now;
        break;
      case "Interrupted": {
        const reply = this.#utterance(e.utterance);
        reply.words = [...e.heard, ...(e.cut === null ? [] : [e.cut]), ...e.unheard];
        reply.heard = e.heard.length;
        reply.cut = true;
        reply.now = -1;
        this.held = "";
        this.cutAt = now;
        break;
      }
      case "ReplyEnded": {
        const reply = this.#utterance(e.utterance);
        reply.ended = true;
        reply.now = -1;
        reply.cut ||= !e.complete;
        if (e.complete) reply.heard = reply.words.length;
        if (this.speaking === reply) this.speaking = null;
        this.held = "";
        this.waitingSince = 0;
        if (!reply.words.length) this.entries = this.entries.filter((each) => each !== reply);
        break;
      }
    }
  }

  /** @param {number} utterance */
  #find(utterance) {
    const found = this.entries.findLast((each) => each.kind === "reply" && each.utterance === utterance);
    return found?.kind === "reply" ? found : null;
  }

  /**
   * @param {number} utterance
   * @returns {Reply}
   */
  #utterance(utterance) {
    const known = this.#find(utterance);
    if (known) return known;
    this.#close();
    if (this.speaking) this.speaking.now = -1; // one is spoken at a time
    /** @type {Reply} */
    const reply = { kind: "reply", id: 0, utterance, words: [], marks: [], heard: 0, now: -1, cut: false, ended: false };
    this.#add(reply);
    return reply;
  }

  /**
   * A reply that asks back is answered with a button.
   * @param {string} said
   */
  #doubt(said) {
    if (said === AGAIN) {
      const heard = this.entries.findLast((each) => each.kind === "heard");
      const text = heard?.kind === "heard" ? heard.text : "";
      this.unsure = { ask: "Did you say …?", choices: text ? [text] : [] };
    } else if (said.startsWith(SHALL_I)) {
      this.unsure = { ask: "Shall I?", choices: ["yes", "no"] };
    }
  }

  /**
   * @param {Message} e
   * @param {number} now
   */
  #call(e, now) {
    if (e.type === "ToolCalled") {
      this.#close();
      const { name, by } = e;
      const args = written(e.args);
      this.waitingSince ||= now;
      this.#add({ kind: "call", id: 0, callId: e.call_id, name, args, by, state: "waiting", result: "", share: null, at: now, tookMs: null });
      return;
    }
    const call = this.entries.findLast((each) => each.kind === "call" && each.callId === e.call_id);
    if (call?.kind !== "call") return;
    if (e.type === "ToolProgressed") {
      call.share = e.share;
      call.result = e.note;
      return;
    }
    if (e.type === "ConfirmAsked" || e.type === "Confirmed") {
      call.state = e.type === "ConfirmAsked" ? "asking" : "waiting";
      return;
    }
    call.state = e.type === "ToolReturned" ? "done" : "failed";
    call.result = e.type === "ToolReturned" ? plain(e.result) : e.message || e.reason;
    if (call.at) call.tookMs = now - call.at;
  }

  /** @param {Message} e */
  #note(e) {
    if (e.type === "WatchSet") this.note(`${e.on ? "Watching for" : "No longer watching for"}: ${e.watch}`);
    if (e.type === "WatchFired") this.note(`Seen: ${e.watch}`);
    if (e.type === "WakeHeard") this.note(`Woken by “${e.phrase}”`);
    if (e.type === "Forgotten") this.note("Forgotten.");
    if (e.type === "OutcomeUnknown") this.note(`Not known whether it was done: ${e.name} ${written(e.args)}`.trim());
    if (e.type === "VoiceFailed") this.note(`The voice failed: ${e.message}`);
    if ((e.type === "Noted" && NOTHING.has(e.code)) || e.type === "TurnDropped") {
      this.hearing = false;
      this.waitingSince = 0;
      this.#close();
    }
    if (e.type === "Noted" && TOLD.has(e.code)) this.note(sentence(e.message || e.code));
  }
}

/** @param {Record<string, unknown>} args */
function written(args) {
  return Object.entries(args).map(([name, value]) => `${name} ${plain(value)}`).join(", ");
}

/** @param {unknown} value */
function plain(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** @param {string} text */
function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
