// Which previews move: those in view, or only the one that is pointed at; none while a video is open.
import { byId } from "./dom.js";

const MOST_AT_ONCE = 6;
const REMEMBERED = "clover-moving-previews";

const still = matchMedia("(prefers-reduced-motion: reduce)");
const inView = new Set();
let pointedAt = null;
let isHeld = false; // a video is open above the page

/** What was chosen with the button, else what the system asks for; storage may be forbidden. */
function areMoving() {
  let chosen = null;
  try {
    chosen = localStorage.getItem(REMEMBERED);
  } catch { /* as if nothing had been chosen */ }
  return chosen === null ? !still.matches && !navigator.connection?.saveData : chosen === "yes";
}

function choose(moving) {
  try {
    localStorage.setItem(REMEMBERED, moving ? "yes" : "no");
  } catch { /* holds until the page is left */ }
  show(moving);
}

let moving = true;

function show(value) {
  moving = value;
  byId("moving").setAttribute("aria-pressed", String(moving));
  update();
}

function update() {
  const ordered = [...inView].sort((one, other) => one.place - other.place);
  const playing = new Set(moving && !isHeld ? ordered.slice(0, MOST_AT_ONCE) : []);
  if (pointedAt && !isHeld && (moving || !still.matches)) playing.add(pointedAt);
  for (const preview of known) {
    if (playing.has(preview)) preview.play();
    else preview.pause();
  }
}

const known = new Set();
const watched = new WeakMap();
const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const preview = watched.get(entry.target);
    if (entry.isIntersecting) inView.add(preview);
    else inView.delete(preview);
  }
  update();
}, { threshold: 0.6 });

/** Takes a preview in: something with `play`, `pause` and its `place` among the results. */
export function watchPreview(target, preview) {
  known.add(preview);
  watched.set(target, preview);
  observer.observe(target);
  const point = () => {
    pointedAt = preview;
    update();
  };
  const leave = () => {
    if (pointedAt === preview) pointedAt = null;
    update();
  };
  target.addEventListener("pointerenter", point);
  target.addEventListener("pointerleave", leave);
  target.addEventListener("focus", point);
  target.addEventListener("blur", leave);
}

/** Lets go of all previews, before others are shown. */
export function forgetPreviews() {
  observer.disconnect();
  for (const preview of known) preview.pause();
  known.clear();
  inView.clear();
  pointedAt = null;
}

/** While held, nothing moves. */
export function holdPreviews(held) {
  isHeld = held;
  update();
}

byId("moving").addEventListener("click", () => choose(!moving));
still.addEventListener("change", () => show(areMoving()));
show(areMoving());
