// The newest picture as the agent took it in, with the patches that were encoded anew.
import { make, tell } from "./element.js";

/** @typedef {import("./link.js").Message} Message */

const PX = 256;
const EYE_PX = 128;

export class LookView {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.canvas = make("canvas", "look");
    this.canvas.width = this.canvas.height = PX;
    this.canvas.setAttribute("role", "img");
    this.said = make("p", "numbers");
    place.append(this.canvas, this.said);
    /** What was sent last. @type {CanvasImageSource | null} */
    this.sent = null;
    this.small = make("canvas");
    this.small.width = this.small.height = EYE_PX;
    this.looked = false;
    this.encoded = 0;
    this.of = 0;
    this.frames = 0;
    /** The newest patches. */
    this.mask = "";
    this.count = 0;
    this.columns = 0;
  }

  /**
   * A camera of the server's saw this.
   * @param {import("./frames.js").Looked} picture
   */
  shown({ width, height, rgb }) {
    this.sentPixels(rgb, width, height);
    this.#draw(this.count, this.mask);
  }

  /**
   * Pixels were sent; of the toy table 128 x 128.
   * @param {Uint8Array} rgb
   * @param {number} width
   * @param {number} height
   */
  sentPixels(rgb, width = EYE_PX, height = EYE_PX) {
    [this.small.width, this.small.height] = [width, height];
    const pen = this.small.getContext("2d");
    if (!pen) return;
    const image = pen.createImageData(width, height);
    for (let i = 0, j = 0; i < rgb.length; i += 3, j += 4) {
      for (let c = 0; c < 3; c++) image.data[j + c] = rgb[i + c];
      image.data[j + 3] = 255;
    }
    pen.putImageData(image, 0, 0);
  }

  /**
   * A picture of the camera was sent: as the agent sees it, square, its proportions kept.
   * @param {HTMLVideoElement} video
   */
  sentFrame(video) {
    this.small.width = this.small.height = EYE_PX;
    const pen = this.small.getContext("2d");
    const { videoWidth, videoHeight } = video;
    if (!pen || !videoWidth) return;
    const scale = EYE_PX / Math.max(videoWidth, videoHeight);
    const [width, height] = [videoWidth * scale, videoHeight * scale];
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, EYE_PX, EYE_PX);
    pen.drawImage(video, (EYE_PX - width) / 2, (EYE_PX - height) / 2, width, height);
  }

  /** @param {Message} e */
  feed(e) {
    if (e.type === "FrameSeen") {
      this.frames++;
      this.encoded += e.patches;
      this.of += e.of;
      if (e.patches === 0) return;
      const share = Math.round((100 * this.encoded) / Math.max(1, this.of));
      tell(this.said, `${e.patches} of ${e.of} patches encoded (${e.reason}); ${share} % of all so far`);
      if (!this.looked) this.#draw(0, "");
    }
    if (e.type === "patches") {
      this.looked = true;
      [this.count, this.mask, this.columns] = [e.of, e.mask, e.columns];
      this.#draw(e.of, e.mask);
    }
  }

  /**
   * @param {number} of
   * @param {string} mask  hexadecimal, row by row
   */
  #draw(of, mask) {
    const pen = this.canvas.getContext("2d");
    if (!pen) return;
    const columns = this.columns || 1;
    const rows = Math.ceil(of / columns);
    const each = PX / Math.max(columns, rows);
    const [left, top] = [(PX - columns * each) / 2, (PX - rows * each) / 2];
    pen.imageSmoothingEnabled = true;
    pen.clearRect(0, 0, PX, PX);
    if (of && this.small.width !== this.small.height) pen.drawImage(this.small, left, top, columns * each, rows * each);
    else pen.drawImage(this.small, 0, 0, PX, PX);
    const style = getComputedStyle(this.canvas);
    let count = 0;
    for (let i = 0; i < of; i++) {
      const encoded = (parseInt(mask.slice((i >> 3) * 2, (i >> 3) * 2 + 2), 16) >> (7 - (i & 7))) & 1;
      const [x, y] = [left + (i % columns) * each, top + Math.floor(i / columns) * each];
      if (encoded) {
        count++;
        pen.lineWidth = 2;
        pen.strokeStyle = style.getPropertyValue("--accent");
        pen.strokeRect(x + 1, y + 1, each - 2, each - 2);
      } else {
        pen.fillStyle = style.getPropertyValue("--veil");
        pen.fillRect(x, y, each, each);
      }
    }
    this.canvas.setAttribute("aria-label", of ? `Picture: ${count} of ${of} patches were encoded anew` : "Picture");
  }
}
