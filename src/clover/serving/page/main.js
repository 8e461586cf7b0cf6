// The page: an address says what is shown; a form makes addresses; three views show them.
import { Refused, request } from "./api.js";
import { answerPanel, choicesOf, testimony } from "./answer.js";
import { resultCard, videoCard } from "./card.js";
import { button, byId, element } from "./dom.js";
import { fillFilters, listenToFilters, readForm, showFilters, showState } from "./filters.js";
import "./keys.js";
import { forgetPreviews } from "./previews.js";
import { addressOf, countFilters, filtersOf, readState, unfiltered } from "./state.js";
import { openTheatre } from "./theatre.js";
import { scaleOf } from "./timeline.js";
import { prepareUploads } from "./uploads.js";
import { asSentence, count } from "./words.js";

const NUM_RESULTS = 24;
const NUM_RERANKED = 50;
const NUM_ANSWERS = 4;
const PAGE_OF_VIDEOS = 24;
const LIKELY = 0.8;

let library = null;
let state = readState(location.search);
let giveUp = new AbortController();
const lastAddress = { find: "/", ask: "/?view=ask", library: "/?view=library" };

const say = (text) => { byId("status").textContent = text; };

/** Shows another state, with an address of its own unless it came from one. */
function go(next, { isNew = true } = {}) {
  state = next;
  if (isNew && addressOf(state) !== location.pathname + location.search) history.pushState(null, "", addressOf(state));
  show();
}

const ask = (video) => go({ ...unfiltered(state), view: "ask", q: "", video: video.id });

async function show() {
  giveUp.abort();
  giveUp = new AbortController();
  const { signal } = giveUp;
  lastAddress[state.view] = addressOf(state);
  for (const link of document.querySelectorAll("nav a")) {
    link.href = lastAddress[link.dataset.view];
    link.toggleAttribute("aria-current", link.dataset.view === state.view);
    if (link.dataset.view === state.view) link.setAttribute("aria-current", "page");
  }
  showState(state);
  byId("uploads").hidden = state.view !== "library" || !library?.accepts_uploads;
  byId("results").setAttribute("aria-busy", "true");
  try {
    library ??= await learn();
    byId("uploads").hidden = state.view !== "library" || !library.accepts_uploads;
    await { find, ask: answer, library: list }[state.view](signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused)) throw error;
    clear();
    say("");
    byId("results").replaceChildren(element("p", { class: "problem", role: "alert", text: error.message }),
      button("Try again", show));
  }
  if (!signal.aborted) byId("results").removeAttribute("aria-busy");
}

/** What the library is, before anything is asked of it. */
async function learn() {
  const known = await request("/api/library");
  byId("facts").textContent = `${known.name} · ${count(known.num_videos, "video", "videos")} · ${count(known.num_moments, "moment", "moments")}`;
  byId("box").maxLength = known.max_query_characters || -1;
  document.querySelector("nav [data-view=ask]").hidden = !known.can_ask;
  byId("sign-out").hidden = !known.needs_token;
  byId("choices-hint").textContent = `separated by commas; ${known.ask_needs_choices ? "at least two" : "may stay empty"}`;
  fillFilters(known);
  showFilters(state);
  prepareUploads(known, learnAnew);
  return known;
}

async function learnAnew() {
  library = await learn();
  if (state.view === "library") show();
}

const busy = (seconds) => say(`The server is busy; asked again in ${seconds} s.`);

function clear() {
  forgetPreviews();
  byId("answer").hidden = true;
  byId("answer").replaceChildren();
  byId("notes").replaceChildren();
  byId("results").replaceChildren();
  byId("moving").hidden = true;
}

function note(...texts) {
  byId("notes").append(...texts.map((text) => element("li", { text: asSentence(text) })));
}

/** Shows cards; `make(one, place)` gives each. The list takes the shape of its first picture. */
function showCards(items, make, list = element("ul", { class: "cards" })) {
  const cards = items.map((item, place) => make(item, list.childElementCount + place));
  list.append(...cards.map((card) => card.element));
  cards[0]?.preview.picture.addEventListener("load", ({ target }) => {
    list.style.setProperty("--shape", Math.min(16 / 9, Math.max(1, target.naturalWidth / target.naturalHeight)));
  });
  byId("moving").hidden = !list.childElementCount;
  return list;
}

async function find(signal) {
  if (!state.q) {
    await listAll(signal, "");
    return;
  }
  say("Searching …");
  const { results, notes } = await request("/api/search", { signal, whenWaiting: busy, json: {
    query: state.q, num_results: NUM_RESULTS, by_video: state.whole, min_confidence: Number(state.sure),
    rerank: state.again ? NUM_RERANKED : 0, filters: filtersOf(state),
  } });
  clear();
  note(...notes);
  if (!results.length) {
    nothing(`Nothing found for “${state.q}”.`);
    return;
  }
  if (results.every((result) => result.confidence < LIKELY)) {
    note("Probably nothing here fits: meaningless queries find moments that score as well");
  }
  say(`${count(results.length, state.whole ? "video" : "moment", state.whole ? "videos" : "moments")}, best first`);
  const scale = scaleOf(results);
  const open = (found) => openTheatre(found, scale, { ask: library.can_ask ? ask : null });
  byId("results").replaceChildren(element("h2", { class: "unseen", text: "Results" }),
    showCards(results, (found, place) => resultCard(found, place, scale, { open })));
}

/** Says that there is nothing, and what could be done about it. */
function nothing(text) {
  say(text);
  const isFiltered = countFilters(state) > 0;
  const reason = state.sure > 0 ? "No moment fits as surely as the filters ask." : "The filters may leave it out.";
  byId("results").replaceChildren(element("div", { class: "nothing" },
    element("p", { text: isFiltered ? reason : library.num_videos ? "Try other words." : "The library is empty; add videos first." }),
    isFiltered ? button("Clear the filters", () => go(unfiltered(state))) : null));
}

async function answer(signal) {
  if (state.video) {
    const { name } = await request(`/api/videos/${encodeURIComponent(state.video)}`, { signal });
    byId("only-name").textContent = name;
  }
  const choices = choicesOf(state.choices);
  const needsChoices = library.ask_needs_choices && choices.length < 2;
  if (!state.q || needsChoices) {
    clear();
    say(state.q ? "This model chooses between answers: give at least two possible ones, separated by commas." : "");
    return;
  }
  say("Looking …");
  const reply = await request("/api/ask", { signal, whenWaiting: busy, json: {
    question: state.q, choices, num_answers: NUM_ANSWERS, min_probability: Number(state.least),
    min_confidence: Number(state.sure), video: state.video || null, filters: filtersOf(state),
  } });
  clear();
  note(...reply.notes);
  byId("answer").replaceChildren(...answerPanel(reply));
  byId("answer").hidden = false;
  say(`${reply.unknown === null ? `Answer: ${reply.answers[0].answer}` : "I don’t know"}. ${count(reply.evidence.length, "moment", "moments")} looked at.`);
  if (!reply.evidence.length) return;
  const scale = scaleOf(reply.evidence);
  const open = (found) => openTheatre(found, scale, { ask });
  byId("results").replaceChildren(element("h2", { class: "unseen", text: "Evidence" }),
    showCards(reply.evidence, (found, place) => resultCard(found, place, scale, { open, extra: [testimony(found)] })));
}

const list = (signal) => listAll(signal, state.q);

/** The videos of the library, some at a time. */
async function listAll(signal, name) {
  const query = new URLSearchParams({ limit: PAGE_OF_VIDEOS, name });
  for (const [key, value] of Object.entries(filtersOf(state))) {
    if (key !== "tags") query.set(key, value);
  }
  for (const tag of state.tags) query.append("tag", tag);
  const open = (found) => openTheatre(found, null, { ask: library.can_ask ? ask : null });
  let cards;
  const more = button("Show more", () => fetchMore().catch((error) => say(error.message)), { class: "more" });
  async function fetchMore() {
    query.set("offset", cards?.childElementCount ?? 0);
    const { total, videos } = await request(`/api/videos?${query}`, { signal, whenWaiting: busy });
    if (!cards) clear();
    const isFirst = !cards;
    cards = showCards(videos, (video, place) => videoCard(video, place, { open, ask: library.can_ask ? ask : null }), cards);
    if (!total) nothing(name ? `No video is called “${name}”.` : "No videos.");
    else {
      if (isFirst) byId("results").replaceChildren(element("h2", { class: "unseen", text: "Videos" }), cards, more);
      say(`${count(cards.childElementCount, "video", "videos")}${cards.childElementCount < total ? ` of ${total.toLocaleString("en")}` : ""}`);
      more.hidden = cards.childElementCount >= total || !videos.length;
    }
  }
  await fetchMore();
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const next = readForm(state);
  if (addressOf(next) !== addressOf(state)) history.pushState(null, "", addressOf(next));
  state = next;
  show().then(() => {
    const bar = document.querySelector(".bar");
    if (bar.getBoundingClientRect().top > innerHeight / 2) bar.scrollIntoView(); // open filters hide the results
  });
});
byId("only-clear").addEventListener("click", () => go({ ...state, video: "" }));
listenToFilters((change) => go(change(state)));
document.addEventListener("click", (event) => {
  const link = event.target.closest("nav a, .brand");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  go(readState(new URL(link.href).search));
  byId("box").focus();
});
addEventListener("popstate", () => go(readState(location.search), { isNew: false }));
if (countFilters(state)) byId("filters").open = true;
show();
