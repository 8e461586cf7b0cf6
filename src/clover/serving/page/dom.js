// Elements from text alone: nothing that comes from the server is ever read as markup.

/** An element with attributes and children; strings become text nodes, `text` is a shorthand for one. */
export function element(tag, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  if (text !== undefined) made.textContent = text;
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** An SVG element with attributes. */
export function shape(tag, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** A button with a handler. */
export function button(text, whenPressed, attributes = {}) {
  const made = element("button", { type: "button", text, ...attributes });
  made.addEventListener("click", whenPressed);
  return made;
}

export const byId = (id) => document.getElementById(id);

export const sleep = (milliseconds) => new Promise((wake) => setTimeout(wake, milliseconds));
