// Captions: what was said, word by word as it is heard. Drawn from the story; only what changed is touched.
import { make, tell } from "./element.js";

/** @typedef {import("./story.js").Entry} Entry */

const NEAR_END_PX = 48;

export class Captions {
  /** @param {HTMLElement} list */
  constructor(list) {
    this.list = list;
    /** @type {Map<number, HTMLElement>} */
    this.items = new Map();
  }

  /**
   * @param {Entry[]} entries
   * @param {Entry | null} live  what is being heard just now
   */
  draw(entries, live) {
    const list = this.list;
    const follow = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END_PX;
    const ids = new Set(entries.map((entry) => entry.id));
    for (const [id, item] of this.items) {
      if (ids.has(id)) continue;
      item.remove();
      this.items.delete(id);
    }
    for (const entry of entries) {
      let item = this.items.get(entry.id);
      if (!item) {
        item = make("li");
        this.items.set(entry.id, item);
        list.append(item);
      }
      drawEntry(item, entry, entry === live);
    }
    if (follow) list.scrollTop = list.scrollHeight;
  }
}

/**
 * @param {HTMLElement} item
 * @param {Entry} entry
 * @param {boolean} live
 */
function drawEntry(item, entry, live) {
  if (entry.kind === "heard") drawHeard(item, entry.text, live);
  else if (entry.kind === "reply") drawReply(item, entry);
  else if (entry.kind === "call") drawCall(item, entry);
  else {
    item.className = "note";
    tell(item, entry.text);
  }
}

/**
 * @param {HTMLElement} item
 * @param {string} text
 * @param {boolean} live
 */
function drawHeard(item, text, live) {
  item.className = live ? "you live" : "you";
  let words = item.querySelector("span");
  if (!words) item.append((words = make("span")));
  tell(words, text);
  const caret = item.querySelector(".caret");
  if (live && !caret) item.append(make("i", "caret"));
  if (!live) caret?.remove();
}

/**
 * @param {HTMLElement} item
 * @param {import("./story.js").Reply} reply
 */
function drawReply(item, reply) {
  item.className = "agent";
  const spans = item.querySelectorAll(".w");
  if (spans.length !== reply.words.length || [...spans].some((span, i) => span.textContent !== reply.words[i])) {
    item.replaceChildren(...reply.words.flatMap((word) => [make("span", "w", word), " "]));
  }
  item.querySelectorAll(".w").forEach((span, i) => {
    const state = i < reply.heard ? "heard" : reply.cut ? "cut" : i === reply.now ? "now" : "";
    const name = state ? `w ${state}` : "w";
    if (span.className !== name) span.className = name;
  });
  if (reply.cut && reply.heard < reply.words.length && !item.querySelector(".hidden")) {
    item.querySelectorAll(".w")[reply.heard].before(make("span", "hidden", "(not heard:) "));
  }
}

/**
 * @param {HTMLElement} item
 * @param {import("./story.js").Call} call
 */
function drawCall(item, call) {
  item.className = "tool";
  item.dataset.state = call.state;
  const took = call.tookMs === null || call.tookMs < 1 ? "" : `${Math.round(call.tookMs)} ms, `;
  const open = call.state === "waiting" || call.state === "asking";
  const percent = call.share === null || !open ? "" : `${Math.round(call.share * 100)} %`;
  const doing = call.state === "asking" ? "waits for your yes" : [percent, call.result].filter(Boolean).join(", ") || "calling…";
  const now = open ? doing : call.result || call.state;
  const end = open ? "" : `${took}by ${call.by}`;
  const key = [call.name, call.args, now, end].join("|");
  if (item.dataset.key === key) return;
  item.dataset.key = key;
  const name = make("b", "", call.name);
  name.prepend(make("i", "sign"));
  const state = make("span", "", call.state === "failed" ? `failed: ${now}` : now);
  item.replaceChildren(name, make("span", "", call.args), state, make("span", "numbers", end));
  if (call.share !== null && open) {
    const bar = make("progress");
    bar.value = call.share;
    bar.setAttribute("aria-label", `${call.name}, done`);
    item.append(bar);
  }
}
