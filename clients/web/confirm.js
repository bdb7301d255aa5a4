// What waits for a person: exactly what would be called, how long there is to answer, and two buttons.
import { byId, make, tell } from "./element.js";

/**
 * @typedef {{call_id: string, name: string, about: string, args: Record<string, unknown>, token: string, left_ms: number}} Asked
 * @typedef {{asked: Asked, until: number, since: number, item: HTMLElement, yes: HTMLButtonElement, left: HTMLElement, bar: HTMLProgressElement}} Open
 */

/** A button that appears under somebody's finger is not pressed by it. */
const SETTLE_MS = 500;

export class Confirm {
  /** @param {(callId: string, token: string, yes: boolean) => boolean} answer  whether it was sent */
  constructor(answer) {
    this.place = byId("confirm", HTMLElement);
    this.answer = answer;
    /** @type {Map<string, Open>} */
    this.open = new Map();
  }

  /**
   * The server asks; a second time, with another token, to whoever has come back.
   * @param {Asked} asked
   * @param {number} now  ms
   */
  ask(asked, now) {
    this.drop(asked.call_id);
    const { item, yes, left, bar } = this.#make(asked);
    this.open.set(asked.call_id, { asked, until: now + asked.left_ms, since: now, item, yes, left, bar });
    this.place.append(item);
    this.draw(now);
  }

  /**
   * It is not asked any more.
   * @param {string} callId
   */
  drop(callId) {
    this.open.get(callId)?.item.remove();
    this.open.delete(callId);
    this.place.hidden = this.open.size === 0;
  }

  clear() {
    for (const callId of [...this.open.keys()]) this.drop(callId);
  }

  /** @param {number} now  ms */
  draw(now) {
    for (const [callId, { asked, until, since, yes, left, bar }] of this.open) {
      if (now >= until) {
        this.drop(callId);
        continue;
      }
      bar.value = (until - now) / asked.left_ms;
      tell(left, `${Math.ceil((until - now) / 1000)} s`);
      yes.disabled = now - since < SETTLE_MS;
    }
    this.place.hidden = this.open.size === 0;
  }

  /** @param {Asked} asked */
  #make(asked) {
    const item = make("section", "ask");
    item.setAttribute("role", "group");
    item.setAttribute("aria-label", `May it? ${asked.name}`);
    const head = make("p", "ask-what", "May it?");
    const left = make("span", "numbers ask-left");
    left.setAttribute("aria-hidden", "true"); // not read aloud every second
    head.append(" ", make("b", "", asked.name), left);
    const args = make("dl", "ask-args");
    for (const [name, value] of Object.entries(asked.args)) {
      const row = make("div");
      row.append(make("dt", "", name), make("dd", "", JSON.stringify(value)));
      args.append(row);
    }
    const bar = make("progress", "ask-bar");
    bar.max = 1;
    bar.setAttribute("aria-label", "Time left");
    const yes = make("button", "solid", "Yes, do it");
    const no = make("button", "quiet", "No");
    yes.type = no.type = "button";
    yes.disabled = true;
    yes.addEventListener("click", () => this.#press(asked, true));
    no.addEventListener("click", () => this.#press(asked, false));
    const buttons = make("p", "ask-do");
    buttons.append(yes, no);
    item.append(head, make("p", "ask-about", asked.about), args, bar, buttons);
    return { item, yes, left, bar };
  }

  /**
   * @param {Asked} asked
   * @param {boolean} yes
   */
  #press(asked, yes) {
    if (this.answer(asked.call_id, asked.token, yes)) this.drop(asked.call_id);
  }
}
