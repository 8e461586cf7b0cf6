// Requests to the server: they wait while it is busy or gone, ask for a token, and fail with a sentence.
import { serverIsBack, tokenIsGiven } from "./connection.js";
import { sleep } from "./dom.js";
import { asSentence } from "./words.js";

const MOST_TRIES = 8;
const LONGEST_WAIT = 30;

/** A request the server refused; the message is a sentence for the user. */
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Seconds that an answer 503 or 429 asks to wait. */
export function secondsToWait(header) {
  const seconds = Number(header);
  return Number.isFinite(seconds) && header !== null ? Math.min(LONGEST_WAIT, Math.max(1, seconds)) : 2;
}

/** The sentence of a refusal. */
export function sentence(status, body) {
  if (typeof body?.error === "string" && body.error) return asSentence(body.error);
  return `The server refused this (${status}).`;
}

async function attempt(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return null; // no server
  }
}

/**
 * The JSON that the server answers.
 *
 * `whenWaiting(seconds)` is told of every time that a busy server asks to wait; `signal` gives the request up.
 * Throws Refused, or AbortError.
 */
export async function request(path, { json, signal, whenWaiting = () => {} } = {}) {
  const options = { signal, headers: { Accept: "application/json" } };
  if (json !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(json);
  }
  for (let tries = 1; ; tries += 1) {
    const answer = await attempt(path, options);
    signal?.throwIfAborted();
    if (answer === null || answer.status === 502 || answer.status === 504) {
      if (tries >= MOST_TRIES) throw new Refused("The server breaks this off every time.", 0);
      await serverIsBack();
      if (tries > 1) await sleep(1000);
    } else if (answer.status === 401) {
      await tokenIsGiven();
    } else if ((answer.status === 503 || answer.status === 429) && tries < MOST_TRIES) {
      const seconds = secondsToWait(answer.headers.get("Retry-After"));
      whenWaiting(seconds);
      await sleep(1000 * seconds);
    } else {
      const body = await answer.json().catch(() => null);
      if (!answer.ok || body === null) throw new Refused(sentence(answer.status, body), answer.status);
      return body;
    }
    signal?.throwIfAborted();
  }
}
