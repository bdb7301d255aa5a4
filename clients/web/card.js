// The one card above everything: what is wrong or not ready yet, and the one thing to do about it.
import { byId, tell } from "./element.js";

export class Card {
  constructor() {
    this.dialog = byId("card", HTMLDialogElement);
    this.title = byId("card-title", HTMLElement);
    this.why = byId("card-why", HTMLElement);
    this.action = byId("card-do", HTMLButtonElement);
    this.label = byId("card-label", HTMLElement);
    this.key = byId("card-key", HTMLInputElement);
    this.progress = byId("card-progress", HTMLElement);
    this.form = byId("card-form", HTMLFormElement);
    /** @type {() => void} */
    this.act = () => {};
    this.dialog.addEventListener("cancel", (event) => event.preventDefault());
    this.form.addEventListener("submit", () => this.act());
  }

  get open() {
    return this.dialog.open;
  }

  /**
   * @param {string} title
   * @param {string} why
   * @param {string} action  what the button says
   * @param {() => void} act
   */
  show(title, why, action, act) {
    this.act = act;
    this.label.hidden = this.progress.hidden = true;
    this.form.hidden = false;
    tell(this.action, action);
    this.#open(title, why);
  }

  /**
   * @param {string} why
   * @param {(key: string) => void} take
   */
  askKey(why, take) {
    this.show("A key, please", why, "Connect", () => {
      take(this.key.value.trim());
      this.key.value = "";
    });
    this.label.hidden = false;
    this.key.focus();
  }

  /**
   * @param {string} what
   * @param {number} done  bytes
   * @param {number} of
   */
  loading(what, done, of) {
    this.form.hidden = true;
    this.progress.hidden = false;
    const bar = byId("progress", HTMLProgressElement);
    if (done > 0 && of > 0) bar.value = done / of;
    else bar.removeAttribute("value"); // how far is not known
    tell(byId("progress-text", HTMLElement), done > 0 ? `${megabytes(done)} of ${megabytes(of)} MB` : "A few seconds.");
    this.#open(`Loading ${what}`, `${megabytes(of)} MB, read from disk; nothing is downloaded.`);
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  /**
   * @param {string} title
   * @param {string} why
   */
  #open(title, why) {
    tell(this.title, title);
    tell(this.why, why);
    if (!this.dialog.open) this.dialog.showModal();
  }
}

/** @param {number} bytes */
function megabytes(bytes) {
  return (bytes / 1e6).toFixed(bytes < 10e6 ? 1 : 0);
}
