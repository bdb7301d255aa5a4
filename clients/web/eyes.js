// What the agent sees where the camera is not this page's, and how its robot stands: whose camera, what it is doing,
// its joints.
import { byId, make, tell } from "./element.js";

/** @typedef {import("./link.js").Message} Message */
/** @typedef {import("./frames.js").Looked} Looked */

const MOST_JOINTS = 8;

export class EyesView {
  constructor() {
    this.canvas = byId("eyes", HTMLCanvasElement);
    this.place = byId("eyes-told", HTMLElement);
    this.whose = byId("eyes-whose", HTMLElement);
    this.doing = byId("robot-doing", HTMLElement);
    this.joints = byId("joints", HTMLElement);
    /** Whether there is a picture to be shown. */
    this.looked = false;
    /** @type {"peer" | "server" | "robot"} */
    this.camera = "peer";
    /** @type {string[]} */
    this.robots = [];
    /** How the robot stands. @type {Message | null} */
    this.stands = null;
    /** The call that runs and says how far it is. */
    this.call = "";
    this.share = /** @type {number | null} */ (null);
    this.note = "";
    /** The newest call, by number and name. */
    this.called = ["", ""];
    /** Until it said that it had stopped, in ms. @type {number | null} */
    this.stopMs = null;
    /** The joints' values by name. @type {Map<string, HTMLElement>} */
    this.values = new Map();
  }

  /** Whether the camera is the server's, and this page sends no pictures. */
  get theirs() {
    return this.camera !== "peer";
  }

  /** @param {import("./link.js").Agent} agent */
  welcome({ camera, robots }) {
    this.camera = camera ?? "peer";
    this.robots = robots ?? [];
    if (!this.theirs) this.looked = false;
    this.place.hidden = !this.theirs && !this.robots.length;
    tell(this.whose, this.theirs ? (this.camera === "robot" ? "The robot’s camera" : "This box’s camera") : "");
    document.body.classList.toggle("theirs", this.theirs);
    document.body.classList.toggle("robot", this.robots.length > 0);
    this.#draw();
  }

  /** @param {Looked} picture */
  look({ width, height, rgb }) {
    if (!this.theirs) return;
    const { canvas } = this;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const pen = canvas.getContext("2d");
    if (!pen) return;
    const image = pen.createImageData(width, height);
    for (let i = 0, j = 0; j < image.data.length; i += 3, j += 4) {
      for (let c = 0; c < 3; c++) image.data[j + c] = rgb[i + c];
      image.data[j + 3] = 255;
    }
    pen.putImageData(image, 0, 0);
    this.looked = true;
  }

  /** @param {Message} e  an event, or a message of its own */
  feed(e) {
    if (!this.robots.length) return;
    if (e.type === "robot") {
      this.stands = e;
      if (!e.stopped) this.stopMs = null;
    } else if (e.type === "ToolCalled") {
      this.called = [e.call_id, e.name.replaceAll("_", " ")];
    } else if (e.type === "ToolProgressed") {
      const [number, name] = this.called;
      [this.call, this.share, this.note] = [e.call_id, e.share, e.note || (number === e.call_id ? name : "")];
    } else if ((e.type === "ToolReturned" || e.type === "ToolFailed") && e.call_id === this.call) {
      this.call = "";
    } else if (e.type === "RobotStopped") {
      this.stopMs = e.heard_ms + e.sent_ms + e.ack_ms;
    } else {
      return;
    }
    this.#draw();
  }

  #draw() {
    tell(this.doing, this.robots.length ? `${this.stands?.name ?? this.robots[0]}: ${this.#doing()}` : "");
    const joints = Object.entries(this.stands?.joints ?? {}).slice(0, MOST_JOINTS);
    if ([...this.values.keys()].join() !== joints.map(([name]) => name).join()) {
      this.values = new Map(joints.map(([name]) => [name, make("dd", "numbers")]));
      this.joints.replaceChildren(
        ...joints.map(([name]) => {
          const row = make("div");
          row.append(make("dt", "", name.replaceAll("_", " ")), /** @type {HTMLElement} */ (this.values.get(name)));
          return row;
        }),
      );
    }
    for (const [name, value] of joints) tell(/** @type {HTMLElement} */ (this.values.get(name)), number(value));
  }

  #doing() {
    if (this.stopMs !== null) return `stopped in ${Math.round(this.stopMs)} ms`;
    if (this.stands?.stopped) return "stopped";
    if (this.call) return [this.note, this.share === null ? "" : `${Math.round(this.share * 100)} %`].filter(Boolean).join(", ");
    if (!this.stands) return "not asked yet";
    return this.stands.there ? "ready" : "not there";
  }
}

/**
 * Two digits, and a minus that is as wide as a digit; no minus before nothing.
 * @param {number} value
 */
function number(value) {
  return value.toFixed(2).replace(/^-(0\.00)$/, "$1").replace("-", "−");
}
