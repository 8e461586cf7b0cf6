// A video opened large: native controls, the found span in a loop, its scores, and what can be done with it.
import { isStill, pictureAt } from "./card.js";
import { button, byId, element } from "./dom.js";
import { SpanPlayer } from "./player.js";
import { holdPreviews } from "./previews.js";
import { timelineOf } from "./timeline.js";
import { certainty, clock, meaning, percent, span } from "./words.js";

const LARGE_WIDTH = 1280;
const LONGEST_CLIP = 120; // seconds
const MOST_ROWS = 400;
const CANNOT_PLAY = "This video cannot be played: its file is gone, has changed, or is of a kind that browsers do not play.";

function scoreTable(found) {
  const rows = found.timeline.slice(0, MOST_ROWS).map((window) => element("tr", {},
    element("td", { text: clock(window.start_seconds) }), element("td", { text: clock(window.end_seconds) }),
    element("td", { text: window.score.toFixed(3) })));
  return element("details", { class: "scores" }, element("summary", { text: "Scores as a table" }),
    element("table", {},
      element("thead", {}, element("tr", {}, ...["from", "to", "score"].map((text) => element("th", { scope: "col", text })))),
      element("tbody", {}, ...rows)));
}

function facts(found) {
  if (found.confidence === undefined) return element("p", { class: "soft", text: span(found) });
  const { word } = certainty(found.confidence);
  const again = found.reranked === null || found.reranked === undefined ? "" : ` · second look ${found.reranked.toFixed(3)}`;
  return element("div", {},
    element("p", { text: `${isStill(found.video) ? "" : `${span(found)} · `}${word}, ${percent(found.confidence)}${again}` }),
    element("p", { class: "soft", text: `${meaning(found.confidence)}.` }));
}

/** Opens a result; `ask(video)` is offered where it is given. Focus returns to where it was upon closing. */
export function openTheatre(found, scale, { ask = null } = {}) {
  const dialog = byId("theatre");
  let timeline = null;
  const player = new SpanPlayer(found, { class: "screen", controls: true, whenMoved: (seconds) => timeline?.show(seconds) });
  const isMoment = found.timeline.length > 0 && !isStill(found.video);
  if (isMoment) {
    timeline = timelineOf(found, scale, (seconds, window) => {
      const isFound = seconds >= found.start_seconds && seconds < found.end_seconds;
      const part = isFound ? found : window;
      player.playFrom(seconds, part.start_seconds, part.end_seconds);
    });
  }
  const large = isStill(found.video)
    ? element("img", { class: "screen", src: pictureAt(found.video, 0, LARGE_WIDTH), alt: found.video.name, tabindex: "-1" })
    : player.element;
  const clip = `/api/videos/${encodeURIComponent(found.video.id)}/clip?start_seconds=${found.start_seconds}&end_seconds=${Math.min(found.end_seconds, found.start_seconds + LONGEST_CLIP)}`;
  const tools = element("p", { class: "tools" },
    isMoment
      ? button("Play the moment", () => player.playFrom(found.start_seconds, found.start_seconds, found.end_seconds))
      : null,
    ask ? button("Ask about this video", () => { dialog.close(); ask(found.video); }) : null,
    isMoment ? element("a", { href: clip, download: "", text: "Save the clip" }) : null);
  dialog.replaceChildren(
    element("div", { class: "theatre-top" },
      element("h2", { id: "theatre-name", dir: "auto", text: found.video.name }),
      button("Close", () => dialog.close(), { class: "plain" })),
    large, ...(timeline ? [timeline.element] : []), facts(found), tools,
    ...(timeline ? [scoreTable(found)] : []));
  player.element.addEventListener("broken", () => {
    player.element.replaceWith(element("p", { class: "problem", role: "alert", text: CANNOT_PLAY }));
  });
  holdPreviews(true);
  dialog.addEventListener("close", () => {
    player.close();
    dialog.replaceChildren();
    holdPreviews(false);
  }, { once: true });
  dialog.showModal();
  large.focus();
  if (large === player.element) player.play();
}

// a click beside the video closes it
byId("theatre").addEventListener("click", (event) => {
  if (event.target === event.currentTarget) event.currentTarget.close();
});
