// The page by keyboard: "/" to the search box, arrows between results.
import { byId } from "./dom.js";

const TYPING = ["INPUT", "SELECT", "TEXTAREA"];
const previews = () => [...document.querySelectorAll("#results .preview")];

/** How many cards stand in the first row. */
const columns = (cards) => Math.max(1, cards.filter((card) => card.offsetParent && topOf(card) === topOf(cards[0])).length);
const topOf = (card) => Math.round(card.getBoundingClientRect().top + scrollY);

function step(event) {
  const cards = previews();
  const place = cards.indexOf(document.activeElement);
  if (place < 0) return;
  const row = columns(cards);
  const next = { ArrowLeft: place - 1, ArrowRight: place + 1, ArrowUp: place - row, ArrowDown: place + row, Home: 0, End: cards.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  if (next < 0 && event.key === "ArrowUp") byId("box").focus();
  else if (next >= 0 && next < cards.length) {
    cards[next].focus();
    cards[next].closest("li").scrollIntoView({ block: "nearest" });
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("theatre").open) return;
  const isTyping = TYPING.includes(document.activeElement?.tagName);
  if (event.key === "/" && !isTyping) {
    event.preventDefault();
    byId("box").focus();
    byId("box").select();
  } else if (event.key === "ArrowDown" && document.activeElement === byId("box")) {
    event.preventDefault();
    previews()[0]?.focus();
  } else step(event);
});
