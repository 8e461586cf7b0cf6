// The form beside its state: what is typed and chosen, both ways.
import { byId, element } from "./dom.js";
import { countFilters, unfiltered } from "./state.js";

const VALUES = ["choices", "folder", "since", "until", "min", "max", "sure", "least"];
const TICKS = ["whole", "again"];
const WORDS = {
  find: { title: "Find a moment", label: "What to look for", go: "Find", hint: "Say what is seen: who or what, and what happens." },
  ask: { title: "Ask a question", label: "Question", go: "Ask", hint: "The moments that fit are looked at, and answer." },
  library: { title: "Library", label: "Name of a video, or part of it", go: "Show", hint: "" },
};

/** Offers the folders and tags of the library; what it has none of is not shown. */
export function fillFilters({ folders, tags }) {
  const named = folders.filter((folder) => folder !== "" && folder !== ".");
  byId("folder").replaceChildren(element("option", { value: "", text: "all" }),
    ...named.map((folder) => element("option", { value: folder, text: folder })));
  byId("folder-field").hidden = !named.length;
  byId("tags").replaceChildren(...tags.map((tag) => element("label", { class: "chip" },
    element("input", { type: "checkbox", name: "tag", value: tag }), element("span", { dir: "auto", text: tag }))));
  byId("tags-field").hidden = !tags.length;
}

/** A choice that the library does not offer (an old address) is kept, and shown. */
function choose(select, value) {
  if (![...select.options].some((option) => option.value === value)) {
    select.append(element("option", { value, text: value }));
  }
  select.value = value;
}

/** Shows a state in the form. */
export function showState(state) {
  const words = WORDS[state.view];
  document.title = state.q ? `${state.q} – Clover` : `${words.title} – Clover`;
  byId("title").textContent = words.title;
  byId("box-label").textContent = words.label;
  byId("box").placeholder = words.label;
  byId("box").value = state.q;
  byId("go").textContent = words.go;
  byId("hint").textContent = words.hint;
  byId("hint").hidden = !words.hint || Boolean(state.q);
  byId("asking").hidden = state.view !== "ask";
  byId("only").hidden = !state.video;
  showFilters(state);
}

/** Shows the filters of a state, and leaves alone what is being typed into the box. */
export function showFilters(state) {
  for (const name of VALUES) {
    const field = byId(name);
    if (field.tagName === "SELECT") choose(field, state[name]);
    else field.value = state[name];
  }
  for (const name of TICKS) byId(name).checked = state[name];
  for (const box of document.querySelectorAll("#tags input")) box.checked = state.tags.includes(box.value);
  byId("sure-field").hidden = state.view === "library";
  byId("ways-field").hidden = state.view !== "find";
  const number = countFilters(state);
  byId("filters-count").textContent = number ? ` · ${number} on` : "";
  byId("filters-clear").hidden = !number;
}

/** The state that the form says; `view` and `video` are not in the form. */
export function readForm({ view, video }) {
  const state = { view, video, q: byId("box").value.trim() };
  for (const name of VALUES) state[name] = byId(name).value.trim();
  for (const name of TICKS) state[name] = byId(name).checked;
  state.tags = [...document.querySelectorAll("#tags input:checked")].map((box) => box.value);
  return state;
}

/** Calls `whenChanged(state => state)` as filters are changed or cleared. */
export function listenToFilters(whenChanged) {
  byId("filters").addEventListener("change", () => whenChanged((state) => readForm(state)));
  byId("least").addEventListener("change", () => whenChanged((state) => readForm(state)));
  byId("filters-clear").addEventListener("click", () => whenChanged(unfiltered));
}
