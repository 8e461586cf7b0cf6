// An answer: the most probable ones as bars, or "I don't know" and why.
import { element } from "./dom.js";
import { asSentence, percent } from "./words.js";

/** Answers as a list of bars, best first. */
function bars(answers) {
  return element("ol", { class: "answers" }, ...answers.map(({ answer, probability }) => {
    const bar = element("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${Math.max(1, 100 * probability)}%`;
    return element("li", {}, element("span", { class: "said", dir: "auto", text: answer }),
      element("span", { class: "share", text: percent(probability) }), element("span", { class: "rail" }, bar));
  }));
}

/** What is shown above the evidence. */
export function answerPanel({ answers, unknown, method }) {
  const isKnown = unknown === null;
  const verdict = element("div", {},
    element("p", { class: isKnown ? "verdict" : "verdict unknown", dir: "auto", text: isKnown ? answers[0].answer : "I don’t know" }),
    isKnown ? null : element("p", { text: asSentence(unknown) }),
    answers.length ? element("p", { class: "soft method", text: `By the ${method}, from the moments below.` }) : null);
  const guesses = element("div", {}, isKnown ? null : element("p", { class: "soft", text: "Had it to guess:" }), bars(answers));
  return answers.length ? [verdict, guesses] : [verdict];
}

/** What one moment says, and how much it counts. */
export function testimony({ weight, answers }) {
  const said = answers.slice(0, 2).map(({ answer, probability }) => `${answer} ${percent(probability)}`).join(", ");
  return element("p", { class: "testimony" }, element("span", { class: "soft", text: "says " }),
    element("b", { dir: "auto", text: said }), element("span", { class: "soft", text: ` · counts ${percent(weight)}` }));
}

/** "red, blue, , Red" as ["red", "blue", "Red"]. */
export const choicesOf = (text) => [...new Set(text.split(",").map((one) => one.trim()).filter(Boolean))];
