// Figures as people read them.

/** 75.5 as "1:15.5", 3 as "0:03", 3700 as "1:01:40"; tenths only where there are some. */
export function clock(seconds) {
  const tenths = Math.round(Math.max(0, seconds) * 10);
  const whole = Math.floor(tenths / 10);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const rest = String(whole % 60).padStart(2, "0") + (tenths % 10 ? `.${tenths % 10}` : "");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export const span = (result) => `${clock(result.start_seconds)}–${clock(result.end_seconds)}`;

/** 0.987 as "98 %": rounded down, so that nothing is called certain. */
export const percent = (share) => `${Math.floor(100 * share + 1e-6)} %`;

export const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)} MiB`;

/** Share of meaningless queries that a match beats, as a word and a class for its colour. */
export function certainty(confidence) {
  if (confidence >= 0.99) return { word: "Strong match", level: "strong" };
  if (confidence >= 0.95) return { word: "Good match", level: "good" };
  if (confidence >= 0.8) return { word: "Weak match", level: "weak" };
  return { word: "Probably not", level: "none" };
}

/** What a confidence says, in a sentence. */
export const meaning = (confidence) =>
  `Scores higher than the best that ${Math.floor(100 * confidence + 1e-6)} of 100 meaningless queries find in this library`;

/** The day of an ISO 8601 time, in the reader's own form. */
export function day(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) || date.getTime() <= 0 ? "" : date.toLocaleDateString(undefined, { dateStyle: "medium" });
}

/** With a capital, and a full stop where there is no sign at the end. */
export const asSentence = (text) => `${text.slice(0, 1).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

/** A folder as shown; the topmost one has no name of its own. */
export const folderName = (folder) => (folder === "." ? "" : folder);
