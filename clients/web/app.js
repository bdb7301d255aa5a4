// The page: what the client hears of the session goes into the story and the drawer; what is clicked goes to the client.
import { Camera } from "./camera.js";
import { Captions } from "./captions.js";
import { Card } from "./card.js";
import { LiveAgent } from "./client.js";
import { Confirm } from "./confirm.js";
import { byId, make, tell } from "./element.js";
import { EyesView } from "./eyes.js";
import { LedgerView } from "./ledger.js";
import { LookView } from "./look.js";
import { MemoryView } from "./memory.js";
import { status } from "./status.js";
import { Story } from "./story.js";
import { Tab } from "./tab.js";
import { TableView } from "./table.js";

/** @typedef {import("./link.js").Message} Message */
/** @typedef {"table" | "camera" | "screen"} Source */

const HANDLE = "liveagent.handle";
const KEY = "liveagent.key";
const MOST_CHIPS = 12;
const BARS = [0.55, 0.85, 1, 0.75, 0.5];
/** In these states the bars show the microphone. */
const LOUD = new Set(["listening", "hearing", "held", "interrupted"]);

const button = (/** @type {string} */ id) => byId(id, HTMLButtonElement);
const text = (/** @type {string} */ id) => byId(id, HTMLElement);
const ui = {
  type: byId("type", HTMLInputElement), chips: text("chips"), hello: text("hello"), drawer: text("drawer"),
  mic: button("mic"), camera: button("camera"), voice: button("voice"), inside: button("inside"),
  status: text("status"), what: text("status-what"), why: text("status-why"), act: button("status-do"),
  table: byId("table", HTMLCanvasElement), video: byId("video", HTMLVideoElement), blank: text("blank"),
};

const agent = new LiveAgent({ key: sessionStorage.getItem(KEY) ?? "", handle: remembered(), pictures: true });
const captions = new Captions(text("captions"));
const memory = new MemoryView(text("memory"));
const ledger = new LedgerView(text("ledger"));
const look = new LookView(text("look"));
const eyes = new EyesView();
const card = new Card();
const confirm = new Confirm((callId, token, yes) => agent.confirm(callId, token, yes));
const seed = Number(new URLSearchParams(location.search).get("table") ?? Math.floor(Math.random() * 1e6));
const table = new TableView(ui.table, (rgb) => agent.pixels(rgb) && look.sentPixels(rgb), seed);
const camera = new Camera(ui.video, (blob) => {
  look.sentFrame(ui.video);
  void agent.picture(blob);
});
const tab = new Tab(() => agent.link.close());
let story = new Story();
/** @type {Source} */
let source = "table";
let seeing = true;
/** Whether it hears, sees and speaks where it stands, and this page only looks on. */
let house = false;
/** @type {string[]} */
let phrases = [];
let chipsKey = "";
let drawn = 0;

/** @returns {import("./link.js").Handle | null} */
function remembered() {
  try {
    const { session, secret } = JSON.parse(sessionStorage.getItem(HANDLE) ?? "null");
    return { session, secret };
  } catch {
    return null;
  }
}

// ---- what the session tells ----------------------------------------------------------------------------------------

/** @param {string} name @param {(detail: any) => void} take */
function on(name, take) {
  agent.addEventListener(name, (event) => {
    take(/** @type {CustomEvent} */ (event).detail);
    schedule();
  });
}

on("event", (e) => {
  story.feed(e, performance.now());
  memory.feed(e);
  ledger.feed(e);
  look.feed(e);
  eyes.feed(e);
  if (e.type === "Confirmed" || e.type === "ToolReturned" || e.type === "ToolFailed") confirm.drop(e.call_id);
  if (e.type === "SessionEnded") confirm.clear();
});
on("played", (report) => story.played(report));
on("look", (picture) => {
  eyes.look(picture);
  if (eyes.theirs) look.shown(picture);
});
on("mic", () => {});
on("level", (level) => drawBars(level));
on("message", (message) => {
  memory.feed(message);
  look.feed(message);
  eyes.feed(message);
  if (message.type === "snapshot") story.restore(message.entries);
  if (message.type === "confirm") {
    confirm.ask(/** @type {import("./confirm.js").Asked} */ (/** @type {unknown} */ (message)), performance.now());
  }
  if (message.type === "loading") card.loading(message.what, message.done_bytes, message.of_bytes);
  if (message.type === "problem" && message.code !== "gone") story.note(message.message);
});
on("welcome", (message) => {
  if (message.renewed) {
    story.note("This is a new conversation: the one before could not be kept.");
    memory.clear();
  }
  if (agent.link.handle) {
    sessionStorage.setItem(HANDLE, JSON.stringify(agent.link.handle));
    tab.tell({ ...agent.link.handle, seq: agent.link.seq });
  }
  welcome(message.agent);
});
on("state", (state) => {
  const { link } = agent;
  if (state === "open" || state === "connecting") card.close();
  if (state !== "open") confirm.clear(); // its tokens were that connection's
  if (state === "error") card.show("Something is wrong", link.why, "Try again", () => link.retry());
  if (state === "elsewhere") elsewhere();
  if (state === "gone") {
    sessionStorage.removeItem(HANDLE);
    card.show("The conversation has ended", link.why, "Start a new one", () => {
      story = new Story();
      memory.clear();
      link.renew();
    });
  }
  if (state === "key") {
    card.askKey(link.why, (key) => {
      sessionStorage.setItem(KEY, key);
      link.key = key;
      link.retry();
    });
  }
});

/** @param {import("./link.js").Agent} told */
function welcome(told) {
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const machine = local ? "this machine" : location.hostname;
  tell(text("model"), told.model);
  tell(text("machine"), `on ${machine}${told.device && told.device !== "cpu" ? `, ${told.device}` : ""}`);
  tell(text("leaves"), `Nothing leaves ${machine}.`);
  tell(text("recording"), told.extra.recording ? "Recording is on." : "Recording is off.");
  document.title = `${told.model} · liveagent`;
  house = Boolean(told.extra.house);
  document.body.classList.toggle("house", house);
  eyes.welcome(told);
  tell(text("hello-what"), eyes.theirs ? "Say something, or type." : "Say something, type, or move a\u00a0thing on the table.");
  if (house || eyes.theirs) see();
  phrases = told.phrases.slice(0, MOST_CHIPS);
}

// ---- what is clicked -----------------------------------------------------------------------------------------------

/** @param {string} words */
function say(words) {
  if (!words.trim()) return;
  if (!house) void agent.unlock();
  if (agent.type(words)) story.typed(words);
  else story.note("That was not sent: there is no connection.");
  schedule();
}

function stopAll() {
  agent.stop();
  schedule();
}

async function toggleMic() {
  await agent.hear(agent.mic?.state !== "on");
  schedule();
}

/** @param {Source} which */
function choose(which) {
  source = which;
  seeing = true;
  see();
}

/** Show and send what is chosen, or nothing. */
function see() {
  const sends = !house && !eyes.theirs;
  const shown = seeing && source === "table" && sends;
  if (shown) table.start();
  else table.stop();
  if (seeing && sends && source !== "table") void camera.start(source);
  else camera.stop();
  schedule();
}

byId("form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  say(ui.type.value);
  ui.type.value = "";
});
ui.mic.addEventListener("click", () => void toggleMic());
button("begin").addEventListener("click", () => void toggleMic());
button("stop").addEventListener("click", stopAll);
ui.camera.addEventListener("click", () => {
  seeing = !seeing;
  see();
});
ui.voice.addEventListener("click", () => {
  agent.speak(!agent.aloud);
  if (agent.aloud) void agent.unlock();
  schedule();
});
ui.act.addEventListener("click", () => agent.link.retry());
button("blank-back").addEventListener("click", () => choose("table"));
for (const each of document.querySelectorAll("[data-source]")) {
  if (each instanceof HTMLElement) each.addEventListener("click", () => choose(/** @type {Source} */ (each.dataset.source)));
}
for (const each of [ui.inside, button("outside")]) {
  each.addEventListener("click", () => {
    ui.drawer.hidden = !ui.drawer.hidden;
    ui.inside.setAttribute("aria-expanded", String(!ui.drawer.hidden));
    document.body.classList.toggle("open", !ui.drawer.hidden);
    (ui.drawer.hidden ? ui.inside : button("outside")).focus();
    schedule();
  });
}
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !card.open) stopAll();
});
for (const gesture of ["pointerdown", "keydown"]) {
  addEventListener(gesture, () => void agent.unlock(), { once: true }); // from then on replies may sound
}
addEventListener("online", () => agent.link.state === "offline" && agent.link.retry());
camera.addEventListener("state", schedule);

// ---- drawing -------------------------------------------------------------------------------------------------------

let scheduled = false;
function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    draw();
  });
}

function draw() {
  const mic = agent.mic?.state ?? "off";
  const { link } = agent;
  const now = status({ link: link.state, keptMs: link.keptMs, mic, story, now: performance.now() });
  ui.status.dataset.state = now.state;
  ui.status.dataset.tone = now.tone;
  tell(ui.what, now.what);
  tell(ui.why, now.why);
  ui.act.hidden = !now.action;
  tell(ui.act, now.action ?? "");
  if (mic !== "on" || !LOUD.has(now.state)) drawBars(0);
  captions.draw(story.entries, story.live);
  confirm.draw(performance.now());
  ui.hello.hidden = story.entries.length > 0 || mic === "on";
  pressed(ui.mic, mic === "on");
  pressed(ui.camera, seeing);
  pressed(ui.voice, agent.aloud);
  drawChips();
  drawStage();
  if (!ui.drawer.hidden && performance.now() - drawn > 250) {
    drawn = performance.now();
    memory.draw(link.nowNs);
  }
}

/** @param {HTMLElement} toggle @param {boolean} is */
function pressed(toggle, is) {
  if (toggle.getAttribute("aria-pressed") !== String(is)) toggle.setAttribute("aria-pressed", String(is));
}

/** Examples; or, when the agent is not sure, what may have been meant. */
function drawChips() {
  const unsure = story.unsure;
  const choices = unsure ? unsure.choices : phrases;
  const key = JSON.stringify([unsure?.ask, choices]);
  if (key === chipsKey) return;
  chipsKey = key;
  const chips = choices.map((choice) => {
    const chip = make("button", unsure ? "chip choice" : "chip", unsure && choice.includes(" ") ? `“${choice}”` : choice);
    chip.type = "button";
    chip.addEventListener("click", () => say(choice));
    return chip;
  });
  if (unsure) chips.push(dismiss());
  ui.chips.setAttribute("aria-label", unsure ? unsure.ask : "Examples");
  ui.chips.replaceChildren(...chips);
  ui.chips.scrollLeft = 0;
}

function dismiss() {
  const chip = make("button", "chip", "Something else");
  chip.type = "button";
  chip.addEventListener("click", () => {
    story.unsure = null;
    ui.type.focus();
    schedule();
  });
  return chip;
}

/** @type {Partial<Record<import("./camera.js").CameraState, [string, string]>>} */
const CAMERA = {
  denied: ["Camera blocked", "Allow it beside the address, or use the toy table."],
  missing: ["No camera here", "Nothing that gives pictures was found."],
  lost: ["The picture has ended", "It was unplugged or no longer shared."],
  insecure: ["No camera here", "A page without https may not look."],
  asking: ["May it look?", "Allow it in the browser."],
};

/** @type {[string, string]} */
const NOTHING_YET = ["No picture yet", "The camera is where the agent is."];
/** @type {[string, string]} */
const HOUSE = ["It hears and speaks where it stands", "This page looks on; what it saw last is under Inside."];

function drawStage() {
  const state = source === "table" ? "on" : camera.state;
  const off = /** @type {[string, string]} */ (["The agent sees nothing", "The camera is off."]);
  const { theirs, looked } = eyes;
  const away = house || theirs;
  const why = looked ? undefined : house ? HOUSE : theirs ? NOTHING_YET : seeing ? CAMERA[state] : off;
  eyes.canvas.hidden = !looked;
  ui.table.hidden = away || !seeing || source !== "table";
  ui.video.hidden = away || !seeing || source === "table" || state !== "on";
  ui.blank.hidden = !why;
  if (why) {
    tell(text("blank-what"), why[0]);
    tell(text("blank-why"), why[1]);
    button("blank-back").hidden = away || state === "asking";
  }
  for (const each of document.querySelectorAll("[data-source]")) {
    if (each instanceof HTMLElement) pressed(each, seeing && each.dataset.source === source);
  }
}

/** @param {number} level  0 to 1 */
function drawBars(level) {
  const loud = LOUD.has(ui.status.dataset.state ?? "") ? Math.min(1, Math.sqrt(level) * 2.2) : 0;
  [...text("bars").children].forEach((bar, i) => {
    if (bar instanceof HTMLElement) bar.style.scale = loud ? `1 ${Math.max(0.16, loud * BARS[i]).toFixed(2)}` : "";
  });
}

// ---- the beginning -------------------------------------------------------------------------------------------------

function elsewhere() {
  camera.stop();
  table.stop();
  card.show("Open in another tab", "This agent talks in one tab at a time.", "Use it here", async () => {
    const left = await tab.take();
    if (left) agent.link.handle = { session: left.session, secret: left.secret };
    agent.link.seq = 0;
    story = new Story();
    see();
    agent.connect();
  });
}

tab.addEventListener("lost", elsewhere);
setInterval(schedule, 100); // what depends on time alone: 300 ms of thinking, how long it is kept
if (await tab.claim()) {
  see();
  agent.connect();
} else {
  elsewhere();
}
