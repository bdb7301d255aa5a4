// The one line that says what is going on: what, why, and what can be done. Pure.

/**
 * @typedef {object} Facts
 * @property {import("./link.js").LinkState} link
 * @property {number} keptMs
 * @property {import("./mic.js").MicState} mic
 * @property {import("./story.js").Story} story
 * @property {number} now  ms
 * @typedef {object} Status
 * @property {string} state
 * @property {string} what
 * @property {string} why
 * @property {"" | "accent" | "strong"} tone
 * @property {string} [action]  what the button beside it says
 */

const THINKING_MS = 300;
const RECENT_MS = 2500;

/** @type {Record<import("./mic.js").MicState, [string, string, string, "" | "accent"]>} */
const MIC = {
  on: ["listening", "Listening", "Say something.", "accent"],
  off: ["muted", "Microphone off", "Type, or turn it on.", ""],
  asking: ["asking", "May it listen?", "Allow the microphone in the browser.", ""],
  denied: ["denied", "Microphone blocked", "Allow it beside the address, or type.", ""],
  missing: ["missing", "No microphone", "You can type.", ""],
  lost: ["lost", "Microphone gone", "Plug it in and turn it on, or type.", ""],
  insecure: ["insecure", "No microphone here", "A page without https may not listen. You can type.", ""],
};

/**
 * @param {Facts} facts
 * @returns {Status}
 */
export function status({ link, keptMs, mic, story, now }) {
  if (link === "offline") {
    return { state: "offline", what: "Offline", why: `conversation kept ${clock(keptMs)}`, tone: "strong", action: "Reconnect" };
  }
  if (link !== "open") return { state: "connecting", what: "Connecting", why: "", tone: "" };
  if (story.stopped) {
    return { state: "stopped", what: "Stopped", why: "Say or type something to go on.", tone: "strong" };
  }
  if (story.held) {
    const why = story.held === "held" ? "Waiting while you speak." : "Quieter while you speak.";
    return { state: "held", what: "Listening", why, tone: "accent" };
  }
  if (story.asking) return { state: "asks", what: "May it?", why: `${story.asking} waits for your yes.`, tone: "accent" };
  if (story.hearing) return { state: "hearing", what: "Listening", why: "Go on.", tone: "accent" };
  if (story.waitingSince && now - story.waitingSince >= THINKING_MS) {
    return { state: "thinking", what: "Thinking", why: story.calling ? `calling ${story.calling}` : "", tone: "accent" };
  }
  if (story.unsure && !story.speaking) {
    return { state: "unsure", what: "Not sure", why: `${story.unsure.ask}`, tone: "accent" };
  }
  if (story.speaking) {
    return now - story.resumedAt < RECENT_MS && story.resumedAt
      ? { state: "resumed", what: "Speaking", why: "That was no interruption; it goes on.", tone: "accent" }
      : { state: "speaking", what: "Speaking", why: "Speak to interrupt.", tone: "accent" };
  }
  if (story.cutAt && now - story.cutAt < RECENT_MS) {
    return { state: "interrupted", what: "Interrupted", why: "What you did not hear is grey.", tone: "" };
  }
  const [state, what, why, tone] = MIC[mic];
  return { state, what, why, tone };
}

/**
 * Minutes and seconds.
 * @param {number} ms
 */
export function clock(ms) {
  const seconds = Math.ceil(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
