// How long each turn took, from the last spoken sample on.
import { make, tell } from "./element.js";

const MOST = 20;
const STEPS = ["decided", "token", "call", "voiced", "played"];

export class LedgerView {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.summary = make("p", "numbers", "No turn was timed yet.");
    this.rows = make("tbody");
    const table = make("table", "ledger");
    const head = make("thead");
    const names = make("tr");
    names.append(...["turn", ...STEPS].map((name) => make("th", "", name)));
    head.append(names);
    table.append(head, this.rows);
    this.table = table;
    table.hidden = true;
    place.append(this.summary, table);
    /** @type {{turn: number, ms: Record<string, number | null>}[]} */
    this.turns = [];
    this.count = 0;
  }

  /** @param {import("./link.js").Message} e */
  feed(e) {
    if (e.type !== "TurnTimed") return;
    this.turns = [{ turn: ++this.count, ms: e.durations_ms }, ...this.turns].slice(0, MOST);
    this.#draw();
  }

  #draw() {
    const played = this.turns.map(({ ms }) => ms.played).filter((ms) => ms !== null && ms !== undefined);
    played.sort((a, b) => a - b);
    const middle = played[(played.length - 1) >> 1];
    tell(this.summary, middle === undefined ? "" : `Median ${Math.round(middle)} ms from your last word to its first sound`);
    this.table.hidden = false;
    const longest = Math.max(1, ...this.turns.flatMap(({ ms }) => STEPS.map((step) => ms[step] ?? 0)));
    this.rows.replaceChildren(...this.turns.flatMap(({ turn, ms }) => [numbers(turn, ms), line(ms, longest)]));
  }
}

/**
 * @param {number} turn
 * @param {Record<string, number | null>} ms
 */
function numbers(turn, ms) {
  const row = make("tr");
  const cells = STEPS.map((step) => make("td", "", ms[step] === null || ms[step] === undefined ? "–" : String(Math.round(ms[step]))));
  row.append(make("th", "", String(turn)), ...cells);
  return row;
}

/**
 * @param {Record<string, number | null>} ms
 * @param {number} longest
 */
function line(ms, longest) {
  const row = make("tr", "line");
  row.setAttribute("aria-hidden", "true");
  const cell = make("td");
  cell.colSpan = STEPS.length + 1;
  const bar = make("div", "time");
  let before = 0;
  for (const step of STEPS) {
    const at = ms[step] ?? null;
    if (at === null || at <= before) continue;
    const part = make("i");
    part.dataset.step = step;
    part.style.width = `${(100 * (at - before)) / longest}%`;
    bar.append(part);
    before = at;
  }
  cell.append(bar);
  row.append(cell);
  return row;
}
