// Whether the server answers, and whether it lets us in; what is asked meanwhile waits for both.
import { byId, sleep } from "./dom.js";
import { asSentence } from "./words.js";

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 10000;

let returning = null; // a promise while the server is gone
let hurry = () => {};
let entering = null; // a promise while a token is asked for

async function answers() {
  try {
    return (await fetch("/api/health", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

/** Shows that the server is gone until it answers again; resolves then, to whether it had been gone at all. */
export function serverIsBack() {
  returning ??= waitForServer().finally(() => {
    returning = null;
  });
  return returning;
}

async function waitForServer() {
  const banner = byId("banner");
  let wasGone = false;
  for (let wait = FIRST_WAIT; !(await answers()); wait = Math.min(LONGEST_WAIT, 2 * wait)) {
    byId("banner-text").textContent =
      `The server does not answer. It is asked again every ${Math.round(wait / 1000)} s; what you asked for is kept.`;
    banner.hidden = false;
    wasGone = true;
    await Promise.race([sleep(wait), new Promise((wake) => { hurry = wake; })]);
  }
  banner.hidden = true;
  return wasGone;
}

/** Asks for the token in place of the page, and resolves when the server has taken it. */
export function tokenIsGiven() {
  entering ??= askForToken().finally(() => {
    entering = null;
  });
  return entering;
}

async function askForToken() {
  const [section, main, box, problem] = ["token", "main", "token-box", "token-error"].map(byId);
  section.hidden = false;
  main.hidden = true;
  box.focus();
  while (true) {
    await new Promise((given) => byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      given();
    }, { once: true }));
    problem.textContent = await refusal(box.value);
    if (!problem.textContent) break;
    box.select();
  }
  box.value = "";
  section.hidden = true;
  main.hidden = false;
  byId("box").focus();
}

/** Why a token was not taken; empty where it was. */
async function refusal(token) {
  try {
    const answer = await fetch("/api/session", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }),
    });
    if (answer.ok) return "";
    if (answer.status === 401) return "This is not the token of this library.";
    return asSentence((await answer.json().catch(() => ({}))).error ?? `the server refused (${answer.status})`);
  } catch {
    await serverIsBack();
    return "The server did not answer; please send the token again.";
  }
}

async function signOut() {
  await fetch("/api/session", { method: "DELETE" }).catch(() => {});
  location.reload();
}

byId("banner-retry").addEventListener("click", () => hurry());
byId("sign-out").addEventListener("click", signOut);
// a form that waits for its script must never send itself
byId("token-form").addEventListener("submit", (event) => event.preventDefault());
