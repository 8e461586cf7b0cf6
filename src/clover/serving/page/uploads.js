// Films sent to the library: how far each is, and why one was not taken.
import { request, secondsToWait, sentence } from "./api.js";
import { serverIsBack, tokenIsGiven } from "./connection.js";
import { button, byId, element, sleep } from "./dom.js";
import { asSentence, megabytes } from "./words.js";

const ASK_AGAIN = 500; // milliseconds

let limit = Infinity;
let whenAdded = () => {};
let queue = Promise.resolve();

/** One line of the list: the file's name, how far it is, what became of it. */
class Line {
  constructor(name) {
    this.said = element("span", { class: "said", text: "waiting" });
    this.bar = element("progress", { max: "1", value: "0", "aria-label": `Progress of ${name}` });
    this.tools = element("span", { class: "tools" });
    this.element = element("li", {}, element("b", { dir: "auto", text: name }), this.bar, this.said, this.tools);
    byId("upload-list").prepend(this.element);
  }

  show(text, share) {
    this.said.textContent = text;
    this.bar.value = share;
  }

  finish(kind, text, ...tools) {
    this.element.className = kind;
    this.bar.hidden = true;
    this.said.setAttribute("role", kind === "failed" ? "alert" : "status"); // the end alone is read out, not every step
    this.said.textContent = text;
    this.tools.replaceChildren(...tools, button("Dismiss", () => this.element.remove(), { class: "plain" }));
  }
}

/** Sends a file, and resolves to `{status, body, wait}`; status 0 where the server broke off. */
function send(file, whenSent) {
  return new Promise((resolve) => {
    const sending = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", file);
    sending.upload.addEventListener("progress", (event) => whenSent(event.loaded / Math.max(1, event.total)));
    sending.responseType = "json";
    sending.addEventListener("loadend", () => resolve({
      status: sending.status, body: sending.response, wait: secondsToWait(sending.getResponseHeader("Retry-After")),
    }));
    sending.open("POST", "/api/uploads");
    sending.send(form);
  });
}

/** Sends until the server has taken or refused it; its number, or throws with the reason. */
async function sendFully(file, line) {
  while (true) {
    const { status, body, wait } = await send(file, (share) => line.show(`sending, ${Math.floor(100 * share)} %`, share / 2));
    if (status === 202) return body.id;
    if (status === 401) await tokenIsGiven();
    else if (status === 503 || status === 429) {
      line.show(`the server is busy; sent again in ${wait} s`, 0);
      await sleep(1000 * wait);
    } else if (status === 0) {
      await serverIsBack();
      throw new Error("The connection broke off while sending.");
    } else throw new Error(sentence(status, body));
  }
}

async function follow(id, line) {
  while (true) {
    const upload = await request(`/api/uploads/${encodeURIComponent(id)}`);
    if (upload.state === "done") return;
    if (upload.state === "failed") throw new Error(asSentence(upload.error ?? "it could not be indexed"));
    line.show(upload.state === "waiting" ? "waiting for its turn" : `indexing, ${Math.floor(100 * upload.progress)} %`,
      0.5 + upload.progress / 2);
    await sleep(ASK_AGAIN);
  }
}

async function take(file, line) {
  try {
    if (file.size > limit) throw new Error(`It has ${megabytes(file.size)}; at most ${megabytes(limit)} are taken.`);
    if (!file.size) throw new Error("It is empty.");
    await follow(await sendFully(file, line), line);
    line.finish("done", "added to the library");
    whenAdded();
  } catch (error) {
    const again = button("Try again", () => {
      line.element.remove();
      enqueue([file]);
    });
    line.finish("failed", `Not added. ${error.message}`, again);
  }
}

/** One after the other: the server indexes one at a time anyway. */
function enqueue(files) {
  for (const file of files) {
    const line = new Line(file.name);
    queue = queue.then(() => take(file, line));
  }
}

/** Prepares the place for files; `added` is called after each that the library has taken. */
export function prepareUploads(library, added) {
  limit = library.max_upload_bytes || Infinity;
  whenAdded = added;
  byId("drop-limit").textContent = Number.isFinite(limit) ? `up to ${megabytes(limit)} each` : "";
}

byId("files").addEventListener("change", (event) => {
  enqueue([...event.target.files]);
  event.target.value = ""; // so that the same file can be chosen again
});
for (const [name, isOver] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  byId("drop").addEventListener(name, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", isOver);
    if (name === "drop") enqueue([...event.dataTransfer.files]);
  });
}
