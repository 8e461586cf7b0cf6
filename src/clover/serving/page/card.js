// One result: a preview that moves, where it is from, how sure it is, and the scores of its video.
import { button, element, sleep } from "./dom.js";
import { SpanPlayer } from "./player.js";
import { watchPreview } from "./previews.js";
import { timelineOf } from "./timeline.js";
import { certainty, clock, day, folderName, meaning, percent, span } from "./words.js";

const PICTURE_WIDTH = 480;
const MOST_TRIES = 3; // for a picture
const SILENT_SECONDS = 8; // of a video in the library's list

/** The address of a picture of a video at a time. */
export const pictureAt = (video, seconds, width = PICTURE_WIDTH) =>
  `${video.thumbnail_url}?at_seconds=${seconds.toFixed(2)}&width=${width}`;

/** Whether it is a still image. */
export const isStill = (video) => video.media_type.startsWith("image/");

/** A preview: a picture, and above it the moving span as soon as it is played. */
class Preview {
  #found;
  #player = null;
  #whenMoved;
  #isBroken = false;
  #tries = 0;

  constructor(found, place, label, whenMoved = () => {}) {
    this.#found = found;
    this.#whenMoved = whenMoved;
    this.place = place;
    const middle = (found.start_seconds + found.end_seconds) / 2;
    this.picture = element("img", { src: pictureAt(found.video, middle), alt: "", loading: "lazy", decoding: "async" });
    this.picture.addEventListener("error", () => this.#askAgain());
    this.element = element("button", { type: "button", class: "preview", "aria-label": label }, this.picture);
  }

  /** A busy server refuses pictures too, and tells an image nothing of when to come again. */
  async #askAgain() {
    this.#tries += 1;
    if (this.#tries > MOST_TRIES) {
      this.picture.hidden = true;
      return;
    }
    await sleep(1000 * 2 ** this.#tries);
    if (this.picture.isConnected) this.picture.src = `${this.picture.src}`;
  }

  get #made() {
    if (!this.#player) {
      this.#player = new SpanPlayer(this.#found, { whenMoved: this.#whenMoved, muted: true, tabindex: "-1", "aria-hidden": "true" });
      this.#player.element.addEventListener("playing", () => this.#player.element.classList.add("shown"));
      this.#player.element.addEventListener("broken", () => this.#giveUp());
      this.picture.after(this.#player.element);
    }
    return this.#player;
  }

  #giveUp() {
    this.#isBroken = true;
    this.#player.element.remove();
    this.element.append(element("span", { class: "broken", text: "cannot be played" }));
  }

  play() {
    if (this.#isBroken || isStill(this.#found.video)) return;
    if (this.#player === null || this.#player.element.paused) this.#made.play();
  }

  pause() {
    this.#player?.pause();
  }

  playFrom(seconds, start, end) {
    if (!this.#isBroken && !isStill(this.#found.video)) this.#made.playFrom(seconds, start, end);
  }
}

function certaintyLine(confidence) {
  const { word, level } = certainty(confidence);
  const bar = element("span", { class: "meter", "aria-hidden": "true" }, element("span", { class: "fill" }));
  bar.firstChild.style.width = `${Math.round(100 * confidence)}%`;
  return element("p", { class: `certainty ${level}`, title: meaning(confidence) },
    bar, element("b", { text: word }), element("span", { text: ` ${percent(confidence)}` }),
    element("span", { class: "unseen", text: `. ${meaning(confidence)}.` }));
}

function origin(video) {
  const parts = [folderName(video.folder), video.seconds && !isStill(video) ? `${clock(video.seconds)} long` : "", day(video.modified)];
  return element("p", { class: "origin soft", dir: "auto", text: parts.filter(Boolean).join(" · ") });
}

/**
 * The card of a result. `scale` is that of all timelines shown; `open(found, seconds)` shows it large; `extra` are
 * elements to show below.
 */
export function resultCard(found, place, scale, { open, extra = [] }) {
  const { word } = certainty(found.confidence);
  const isMoving = !isStill(found.video);
  const what = isMoving ? `Play ${span(found)} of` : "Show";
  const label = `${what} ${found.video.name}. ${word}, ${percent(found.confidence)}`;
  let timeline = null;
  const preview = new Preview(found, place, label, (seconds) => timeline.show(seconds));
  if (isMoving) timeline = timelineOf(found, scale, (seconds, window) => {
    const isFound = seconds >= found.start_seconds && seconds < found.end_seconds;
    const part = isFound ? found : window;
    preview.playFrom(seconds, part.start_seconds, part.end_seconds);
  });
  if (isMoving) preview.element.append(element("span", { class: "badge", "aria-hidden": "true", text: span(found) }));
  preview.element.addEventListener("click", () => open(found));
  watchPreview(preview.element, preview);
  const card = element("li", { class: "card" }, preview.element, timeline?.element ?? null,
    element("h3", { class: "name", dir: "auto", title: found.video.name, text: found.video.name }),
    origin(found.video), certaintyLine(found.confidence), ...extra);
  return { element: card, preview };
}

/** The card of a video in the library's list. */
export function videoCard(video, place, { open, ask }) {
  const found = { video, start_seconds: 0, end_seconds: Math.min(video.seconds || SILENT_SECONDS, SILENT_SECONDS), timeline: [] };
  const preview = new Preview(found, place, `Play ${video.name}`);
  if (video.seconds && !isStill(video)) preview.element.append(element("span", { class: "badge", "aria-hidden": "true", text: clock(video.seconds) }));
  preview.element.addEventListener("click", () => open({ ...found, end_seconds: video.seconds || SILENT_SECONDS }));
  watchPreview(preview.element, preview);
  const tags = element("p", { class: "chips" }, ...video.tags.map((tag) => element("span", { class: "chip", dir: "auto", text: tag })));
  const card = element("li", { class: "card" }, preview.element,
    element("h3", { class: "name", dir: "auto", title: video.name, text: video.name }), origin(video),
    video.tags.length ? tags : null, ask ? button("Ask about it", () => ask(video), { class: "plain" }) : null);
  return { element: card, preview };
}
