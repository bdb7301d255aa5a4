// Camera and screen: five pictures a second, at most 640 px, as JPEG.

const FPS = 5;
const MOST_PX = 640;
const QUALITY = 0.72;

/** @typedef {"off" | "asking" | "on" | "denied" | "missing" | "lost" | "insecure"} CameraState */

/** Dispatches `state` (CameraState). */
export class Camera extends EventTarget {
  /**
   * @param {HTMLVideoElement} video  where it is shown
   * @param {(picture: Blob) => void} look
   */
  constructor(video, look) {
    super();
    this.video = video;
    this.look = look;
    /** @type {CameraState} */
    this.state = "off";
    /** @type {MediaStream | null} */
    this.stream = null;
    this.canvas = document.createElement("canvas");
    this.busy = false;
    this.turn = 0;
  }

  /**
   * Ask for it and begin. Never throws: `state` says what came of it.
   * @param {"camera" | "screen"} source
   */
  async start(source) {
    this.stop();
    const devices = navigator.mediaDevices;
    if (!devices || (source === "screen" && !devices.getDisplayMedia)) {
      this.#set(devices ? "missing" : "insecure");
      return;
    }
    this.#set("asking");
    const turn = ++this.turn;
    try {
      const wanted = { width: { ideal: MOST_PX }, frameRate: { ideal: 15 } };
      const stream = await (source === "camera"
        ? devices.getUserMedia({ video: wanted })
        : devices.getDisplayMedia({ video: { frameRate: FPS } }));
      if (turn !== this.turn) {
        for (const track of stream.getTracks()) track.stop(); // meanwhile something else was chosen
        return;
      }
      this.stream = stream;
      this.video.srcObject = stream;
      stream.getVideoTracks()[0].addEventListener("ended", () => this.stop("lost"));
      await this.video.play();
      this.timer = setInterval(() => this.#take(), 1000 / FPS);
      this.#set("on");
    } catch (error) {
      if (turn === this.turn) this.stop(error instanceof DOMException && error.name === "NotAllowedError" ? "denied" : "missing");
    }
  }

  /** @param {CameraState} [state] */
  stop(state = "off") {
    this.turn++;
    clearInterval(this.timer);
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
    this.#set(state);
  }

  #take() {
    const { videoWidth, videoHeight } = this.video;
    if (this.busy || !videoWidth) return;
    const scale = Math.min(1, MOST_PX / Math.max(videoWidth, videoHeight));
    this.canvas.width = Math.round(videoWidth * scale);
    this.canvas.height = Math.round(videoHeight * scale);
    this.canvas.getContext("2d")?.drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    this.busy = true;
    this.canvas.toBlob(
      (blob) => {
        this.busy = false;
        if (blob && this.state === "on") this.look(blob);
      },
      "image/jpeg",
      QUALITY,
    );
  }

  /** @param {CameraState} state */
  #set(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}
