// What the cache holds: every span by kind, age and size, pictures as thumbnails, and what was evicted.
import { make, tell } from "./element.js";

/** @typedef {import("./link.js").Message} Message */
/** @typedef {[id: number, kind: string, tokens: number, tNs: number, heard: number | null]} Span */
/** @typedef {{tNs: number, sees: string[], tokens: number, image: HTMLCanvasElement}} Kept */

const THUMBNAIL_PX = 16;
const MOST_KEPT = 64;
const MOST_GONE = 6;
const ORDER = ["system", "tool", "text", "audio", "reply", "call", "result", "mark", "picture", "scratch"];
/** @type {Record<string, string>} */
const NAMES = { system: "instructions", tool: "tools", text: "typed", audio: "heard", reply: "said", call: "calls", result: "results", mark: "marks", picture: "pictures", scratch: "scratch" };

export class MemoryView {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.summary = make("p", "numbers");
    this.strip = make("div", "strip");
    this.strip.setAttribute("role", "img");
    this.kinds = make("ul", "kinds");
    this.pictures = make("ul", "thumbs");
    this.gone = make("p", "numbers");
    this.goneThumbs = make("ul", "thumbs gone");
    this.spans = make("tbody");
    const table = make("table", "spans");
    const head = make("thead");
    head.append(row(["Kind", "Tokens", "Age"], "th"));
    table.append(head, this.spans);
    const scroll = make("div", "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Every span in memory");
    scroll.append(table);
    place.append(this.summary, this.strip, this.kinds, this.pictures, this.gone, this.goneThumbs, scroll);
    /** @type {Span[] | null} */
    this.held = null;
    /** @type {Message | null} */
    this.cache = null;
    /** @type {Map<number, Kept>} */
    this.kept = new Map();
    /** @type {Kept[]} */
    this.evicted = [];
    this.evictedPictures = 0;
  }

  /** @param {Message} e */
  feed(e) {
    if (e.type === "CacheChanged") this.cache = e;
    if (e.type === "memory") this.held = e.spans;
    if (e.type === "PictureKept") {
      this.kept.set(e.span, { tNs: e.t_ns, sees: e.sees, tokens: e.tokens, image: thumbnail(e.thumbnail) });
      if (this.kept.size > MOST_KEPT) this.kept.delete([...this.kept.keys()][0]);
    }
    if (e.type === "PicturesEvicted") {
      this.evictedPictures += e.spans.length;
      for (const span of e.spans) {
        const kept = this.kept.get(span);
        this.kept.delete(span);
        if (kept) this.evicted = [kept, ...this.evicted].slice(0, MOST_GONE);
      }
    }
  }

  /** A new conversation remembers nothing. */
  clear() {
    this.held = this.cache = null;
    this.kept.clear();
    this.evicted = [];
    this.evictedPictures = 0;
  }

  /** @param {number} nowNs  on the session's clock */
  draw(nowNs) {
    const spans = this.#spans();
    const used = this.cache?.used_tokens ?? spans.reduce((sum, span) => sum + span[2], 0);
    const capacity = Math.max(this.cache?.capacity_tokens ?? 0, used, 1);
    const oldest = this.cache?.oldest_ns ? `, oldest ${age(nowNs - this.cache.oldest_ns)}` : "";
    tell(this.summary, `${number(used)} of ${number(capacity)} tokens${oldest}`);
    this.strip.replaceChildren(...spans.map((span) => block(span, nowNs)), rest(capacity - used));
    this.strip.setAttribute("aria-label", `Memory: ${this.summary.textContent}`);
    this.#drawKinds(spans);
    this.pictures.replaceChildren(...[...this.kept.values()].reverse().map((kept) => thumb(kept, nowNs)));
    const gone = this.cache?.evicted_tokens ?? 0;
    tell(this.gone, gone ? `Evicted so far: ${number(gone)} tokens, ${pictures(this.evictedPictures)}` : "Nothing was evicted yet.");
    this.goneThumbs.replaceChildren(...this.evicted.map((kept) => thumb(kept, nowNs)));
    this.spans.replaceChildren(
      ...[...spans].reverse().map(([, kind, tokens, tNs]) => row([NAMES[kind] ?? kind, number(tokens), age(nowNs - tNs)], "td")),
    );
  }

  /** Span by span where the server tells them so, else one a kind. */
  #spans() {
    if (this.held) return this.held;
    const kinds = Object.entries(this.cache?.by_kind ?? {}).sort((a, b) => ORDER.indexOf(a[0]) - ORDER.indexOf(b[0]));
    return kinds.map(([kind, tokens], i) => /** @type {Span} */ ([i, kind, tokens, this.cache?.t_ns ?? 0, null]));
  }

  /** @param {Span[]} spans */
  #drawKinds(spans) {
    const sums = new Map(ORDER.map((kind) => [kind, 0]));
    for (const [, kind, tokens] of spans) sums.set(kind, (sums.get(kind) ?? 0) + tokens);
    const items = [...sums].filter(([, tokens]) => tokens > 0).map(([kind, tokens]) => {
      const item = make("li");
      const sign = make("i", "kind");
      sign.dataset.kind = kind;
      item.append(sign, `${NAMES[kind] ?? kind} `, make("b", "", number(tokens)));
      return item;
    });
    this.kinds.replaceChildren(...items);
  }
}

/**
 * @param {Span} span
 * @param {number} nowNs
 */
function block([, kind, tokens, tNs, heard], nowNs) {
  const element = make("i", "kind");
  element.dataset.kind = kind;
  element.style.flexGrow = String(tokens);
  if (heard !== null && heard < tokens) element.dataset.unheard = "";
  element.title = `${NAMES[kind] ?? kind}, ${tokens} tokens, ${age(nowNs - tNs)}`;
  return element;
}

/** @param {number} tokens */
function rest(tokens) {
  const element = make("i", "free");
  element.style.flexGrow = String(tokens);
  return element;
}

/**
 * @param {Kept} kept
 * @param {number} nowNs
 */
function thumb(kept, nowNs) {
  const item = make("li");
  item.title = kept.sees.join(", ") || "nothing on the table";
  item.append(kept.image, make("span", "numbers", age(nowNs - kept.tNs)), make("span", "hidden", item.title));
  return item;
}

/**
 * @param {string[]} cells
 * @param {"td" | "th"} tag
 */
function row(cells, tag) {
  const element = make("tr");
  element.append(...cells.map((text) => make(tag, "", text)));
  return element;
}

/** @param {string} base64  16 x 16 x 3 bytes */
function thumbnail(base64) {
  const canvas = make("canvas");
  canvas.width = canvas.height = THUMBNAIL_PX;
  const pen = canvas.getContext("2d");
  let data = "";
  try {
    data = atob(base64);
  } catch {
    return canvas; // a viewer does not fall over what it cannot draw
  }
  if (!pen || data.length !== THUMBNAIL_PX * THUMBNAIL_PX * 3) return canvas;
  const image = pen.createImageData(THUMBNAIL_PX, THUMBNAIL_PX);
  for (let i = 0, j = 0; i < data.length; i += 3, j += 4) {
    for (let c = 0; c < 3; c++) image.data[j + c] = data.charCodeAt(i + c);
    image.data[j + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
  return canvas;
}

/** @param {number} n */
const number = (n) => n.toLocaleString("en");
/** @param {number} n */
const pictures = (n) => (n === 1 ? "1 picture" : `${n} pictures`);

/** @param {number} ns */
export function age(ns) {
  const s = Math.max(0, Math.floor(ns / 1e9));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}
