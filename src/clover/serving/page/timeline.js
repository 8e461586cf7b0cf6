// The scores of a video's windows over time: bars, the found span marked, a place to seek.
import { element, shape } from "./dom.js";
import { clock, count } from "./words.js";

const WIDE = 1000;
const HIGH = 100;
const LOWEST_BAR = 6;
const FEW = 3; // windows that would be blocks rather than bars

/** The least and the greatest score of several timelines, so that their bars may be compared. */
export function scaleOf(results) {
  const scores = results.flatMap((result) => result.timeline.map((window) => window.score));
  return { least: Math.min(...scores), greatest: Math.max(...scores) };
}

/** How long a video is, by what is known of it. */
export const lengthOf = (result) =>
  Math.max(result.video.seconds || 0, result.end_seconds, ...result.timeline.map((window) => window.end_seconds));

/** The scores in words. */
export function describe(result) {
  const best = result.timeline.reduce((one, other) => (other.score > one.score ? other : one));
  const worst = result.timeline.reduce((one, other) => (other.score < one.score ? other : one));
  return `${count(result.timeline.length, "window", "windows")}; best ${best.score.toFixed(2)} at ` +
    `${clock(best.start_seconds)} to ${clock(best.end_seconds)}, least ${worst.score.toFixed(2)} at ` +
    `${clock(worst.start_seconds)}. Found: ${clock(result.start_seconds)} to ${clock(result.end_seconds)}.`;
}

const middle = (window) => (window.start_seconds + window.end_seconds) / 2;

/** Windows overlap; side by side, each is shown around its middle, up to half the way to that of the next. */
const sideBySide = (timeline) => timeline.map((window, place) => {
  const [before, after] = [timeline[place - 1], timeline[place + 1]];
  return {
    ...window,
    from: before ? (middle(before) + middle(window)) / 2 : window.start_seconds,
    to: after ? (middle(window) + middle(after)) / 2 : window.end_seconds,
  };
});

function drawing(result, windows, scale, seconds) {
  const svg = shape("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const place = (time) => (WIDE * time) / seconds;
  const range = Math.max(scale.greatest - scale.least, 1e-6);
  svg.append(shape("rect", {
    class: "found", x: place(result.start_seconds), y: 0, height: HIGH,
    width: place(result.end_seconds - result.start_seconds),
  }));
  for (const window of windows) {
    const height = LOWEST_BAR + (HIGH - LOWEST_BAR) * Math.max(0, (window.score - scale.least) / range);
    const isFound = middle(window) > result.start_seconds + 1e-3 && middle(window) < result.end_seconds - 1e-3;
    const width = place(window.to - window.from);
    svg.append(shape("rect", {
      class: isFound ? "bar in" : "bar", x: place(window.from), y: HIGH - height, height,
      width: width > 8 ? width - 3 : width,
    }));
  }
  return svg;
}

/**
 * A timeline of a result; `whenSought(seconds, window)` is called upon a click or an arrow key.
 *
 * Returns `{element, show(seconds)}`; `show` moves the mark of the time that is played.
 */
export function timelineOf(result, scale, whenSought) {
  const seconds = lengthOf(result);
  const windows = sideBySide(result.timeline);
  const at = (time) => windows.find((window) => time < window.to) ?? windows.at(-1);
  const mark = element("span", { class: "mark", hidden: true });
  const said = element("span", { class: "said" });
  const track = element("div", {
    class: windows.length > FEW ? "track" : "track few", role: "slider", tabindex: "0", "aria-label": `Scores over time, ${result.video.name}`,
    "aria-valuemin": "0", "aria-valuemax": seconds.toFixed(1), title: describe(result),
  }, drawing(result, windows, scale, seconds), mark);

  let now = result.start_seconds;
  let place = windows.indexOf(at((result.start_seconds + result.end_seconds) / 2));
  const say = (time) => {
    const window = at(time);
    track.setAttribute("aria-valuenow", time.toFixed(1));
    track.setAttribute("aria-valuetext", `${clock(time)}, score ${window.score.toFixed(2)}`);
    said.textContent = `${clock(time)} · score ${window.score.toFixed(2)}`;
  };
  const seek = (time) => {
    now = Math.min(Math.max(0, time), Math.max(0, seconds - 0.05));
    place = windows.indexOf(at(now));
    say(now);
    whenSought(now, at(now));
  };
  const timeAt = (event) => {
    const box = track.getBoundingClientRect();
    return (seconds * (event.clientX - box.left)) / box.width;
  };
  track.addEventListener("click", (event) => seek(timeAt(event)));
  track.addEventListener("pointermove", (event) => say(Math.min(seconds, Math.max(0, timeAt(event)))));
  track.addEventListener("pointerleave", () => {
    said.textContent = "";
    track.setAttribute("aria-valuenow", now.toFixed(1));
  });
  track.addEventListener("blur", () => { said.textContent = ""; });
  track.addEventListener("keydown", (event) => {
    const next = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: windows.length - 1, Enter: place }[event.key];
    if (next === undefined) return;
    place = Math.min(windows.length - 1, Math.max(0, next));
    event.preventDefault();
    event.stopPropagation(); // the arrows go through the windows here, not through the results
    seek(middle(windows[place]));
  });
  say(now);
  said.textContent = "";
  const figure = element("figure", { class: "timeline" }, track,
    element("figcaption", {}, element("span", { text: "0:00" }), said, element("span", { text: clock(seconds) }),
      element("span", { class: "unseen", text: describe(result) })));
  return {
    element: figure,
    show(time) {
      mark.hidden = false;
      mark.style.left = `${Math.min(100, (100 * time) / seconds)}%`;
    },
  };
}
