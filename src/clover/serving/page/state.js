// What the page shows, as an address that can be shared: both directions.

const TEXTS = ["q", "choices", "video", "folder", "since", "until", "min", "max", "sure", "least"];
const FLAGS = ["whole", "again"];
const VIEWS = ["find", "ask", "library"];

const DEFAULTS = Object.freeze({
  view: "find", q: "", choices: "", video: "", folder: "", since: "", until: "", min: "", max: "",
  sure: "0", least: "0.25", whole: false, again: false, tags: [],
});

/** The state of an address such as "?q=a+red+ball"; what it does not say is as by default. */
export function readState(address) {
  const query = new URLSearchParams(address);
  const state = { ...DEFAULTS, tags: query.getAll("tag") };
  for (const name of TEXTS) if (query.has(name)) state[name] = query.get(name);
  for (const name of FLAGS) state[name] = query.get(name) === "1";
  if (VIEWS.includes(query.get("view"))) state.view = query.get("view");
  return state;
}

/** The address of a state; what is as by default is left out. */
export function addressOf(state) {
  const query = new URLSearchParams();
  if (state.view !== DEFAULTS.view) query.set("view", state.view);
  for (const name of TEXTS) if (state[name] !== DEFAULTS[name]) query.set(name, state[name]);
  for (const name of FLAGS) if (state[name]) query.set(name, "1");
  for (const tag of state.tags) query.append("tag", tag);
  const text = query.toString();
  return text ? `/?${text}` : "/";
}

/** Without any filter. */
export const unfiltered = (state) => ({
  ...state, folder: "", since: "", until: "", min: "", max: "", sure: DEFAULTS.sure, whole: false, again: false, tags: [],
});

/** How many filters narrow what is found. */
export function countFilters(state) {
  const narrowing = ["folder", "since", "until", "min", "max"].filter((name) => state[name]).length;
  return narrowing + state.tags.length + (state.view === "library" ? 0 : Number(state.sure > 0));
}

/** The filters as the API takes them. */
export function filtersOf(state) {
  const filters = {};
  for (const name of ["folder", "since", "until"]) if (state[name]) filters[name] = state[name];
  if (state.min !== "") filters.min_seconds = Number(state.min);
  if (state.max !== "") filters.max_seconds = Number(state.max);
  if (state.tags.length) filters.tags = state.tags;
  return filters;
}
