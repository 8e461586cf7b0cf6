// One video that plays a part of itself, over and over.
import { secondsToWait } from "./api.js";
import { serverIsBack } from "./connection.js";
import { element, sleep } from "./dom.js";

const EARLY = 0.04; // seconds before the end at which the loop turns back, so that no frame after it is shown
const LONGEST_CLIP = 60; // seconds

/** Loops [start, end] of a video; where the browser cannot play the file itself, clips of it are played. */
export class SpanPlayer {
  #source;
  #offset = 0; // seconds of the source at which the file being played begins
  #start;
  #end;
  #isLoaded = false;
  #isSeeking = false; // by us

  /** `found` is a video with a span, as the API gives it; `whenMoved(seconds)` is told where it is. */
  constructor(found, { whenMoved = () => {}, ...attributes } = {}) {
    this.#source = found.video;
    this.#start = found.start_seconds;
    this.#end = found.end_seconds;
    this.element = element("video", { playsinline: true, preload: "none", ...attributes });
    this.element.muted = Boolean(attributes.muted);
    this.#listen(whenMoved);
  }

  #listen(whenMoved) {
    const video = this.element;
    const watch = () => {
      this.#turnBack();
      whenMoved(this.seconds);
      if (!video.paused) requestAnimationFrame(watch);
    };
    video.addEventListener("loadedmetadata", () => this.#jump(this.#start));
    video.addEventListener("play", () => requestAnimationFrame(watch));
    video.addEventListener("timeupdate", () => {
      this.#turnBack(); // where nothing is drawn, no animation frame comes
      whenMoved(this.seconds);
    });
    video.addEventListener("ended", () => {
      this.#jump(this.#start);
      this.#begin();
    });
    video.addEventListener("seeking", () => this.#setFree());
    video.addEventListener("seeked", () => { this.#isSeeking = false; });
    video.addEventListener("error", () => this.#recover());
  }

  /** Where it is, in seconds of the whole video. */
  get seconds() {
    return this.element.currentTime + this.#offset;
  }

  play() {
    if (!this.#isLoaded) this.#load();
    return this.#begin();
  }

  pause() {
    this.element.pause();
  }

  /** Goes on from a time, until the end of the span it is in; outside, until `end`. */
  playFrom(seconds, start, end) {
    this.#start = start;
    this.#end = end;
    const reached = this.#offset + (this.element.duration || 0);
    const isThere = this.#isLoaded && (this.#source.is_playable || (start >= this.#offset && seconds < reached));
    if (isThere) this.#jump(seconds);
    else {
      this.#load();
      this.element.addEventListener("loadedmetadata", () => this.#jump(seconds), { once: true });
    }
    return this.#begin();
  }

  /** Whoever drags the browser's own controls out of the span wants to see the rest. */
  #setFree() {
    const isOutside = this.seconds < this.#start - EARLY || this.seconds > this.#end;
    if (this.#isSeeking || !isOutside) return;
    this.#start = 0;
    this.#end = Infinity;
  }

  #load() {
    const { is_playable: isPlayable, file_url: file, id } = this.#source;
    this.#offset = isPlayable ? 0 : this.#start;
    const span = `start_seconds=${this.#start}&end_seconds=${Math.min(this.#end, this.#start + LONGEST_CLIP)}`;
    const clip = `/api/videos/${encodeURIComponent(id)}/clip?${span}`;
    this.element.src = isPlayable ? file : clip;
    this.#isLoaded = true;
  }

  /** A server that is gone or busy is waited for; whatever else is wrong will stay so. */
  async #recover() {
    const { src } = this.element;
    this.#isLoaded = false;
    if (await serverIsBack()) return;
    const answer = await fetch(src, { method: "HEAD" }).catch(() => null);
    if (answer?.status === 503) {
      await sleep(1000 * secondsToWait(answer.headers.get("Retry-After")));
      if (this.element.isConnected) this.play();
    } else this.element.dispatchEvent(new Event("broken"));
  }

  /** Lets go of the file. */
  close() {
    this.pause();
    this.element.removeAttribute("src");
    this.element.load();
  }

  #begin() {
    return this.element.play().catch(() => {}); // paused again before it began, or broken: "error" tells
  }

  #jump(seconds) {
    this.#isSeeking = true;
    this.element.currentTime = Math.max(0, seconds - this.#offset);
  }

  #turnBack() {
    const video = this.element;
    if (video.seeking || !video.readyState || video.paused) return;
    const isOver = this.seconds >= this.#end - EARLY && this.#end < this.#offset + video.duration - EARLY;
    if (isOver || this.seconds < this.#start - 0.25) this.#jump(this.#start);
  }
}
