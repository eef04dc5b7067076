// Drawing in place: what stays the same is not touched, so that focus, selection and screen readers keep their place.
// Nothing here reads markup: what others wrote is text.

export const $ = (id) => document.getElementById(id);

export function put(node, text) {
  const wanted = text === null || text === undefined ? "" : String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
  return node;
}

export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
  return shown;
}

export function make(tag, { text, kind, ...more } = {}, ...children) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  for (const [name, value] of Object.entries(more)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// One child of `parent` for each of `items`, in their order; `key(item)` says which is which.
export function list(parent, items, key, create, update) {
  const wanted = new Set(items.map((item) => String(key(item))));
  // First: what moves loses the focus.
  for (const child of Array.from(parent.children)) if (!wanted.has(child.dataset.key)) child.remove();
  const there = new Map(Array.from(parent.children, (child) => [child.dataset.key, child]));
  let after = null;
  for (const item of items) {
    const name = String(key(item));
    let node = there.get(name);
    if (!node) {
      node = create(item);
      node.dataset.key = name;
    }
    update(node, item);
    const place = after === null ? parent.firstChild : after.nextSibling;
    if (place !== node) parent.insertBefore(node, place);
    after = node;
  }
}

// Rows of a table; a cell is text, or { text, kind }, the first one is the head of its row.
export function rows(body, items) {
  list(
    body,
    items,
    (item) => item.key,
    (item) =>
      make("tr", {}, ...item.cells.map((_, place) => (place ? make("td") : make("th", { scope: "row" })))),
    (row, item) =>
      item.cells.forEach((cell, place) => {
        const { text, kind = "" } = cell !== null && typeof cell === "object" ? cell : { text: cell };
        const node = put(row.children[place], text);
        if (node.className !== kind) node.className = kind;
      }),
  );
}

export function pairs(node, items) {
  const flat = items.flatMap(([name, value]) => [
    { key: `${name}?`, tag: "dt", text: name },
    { key: name, tag: "dd", text: value },
  ]);
  list(node, flat, (one) => one.key, (one) => make(one.tag), (made, one) => put(made, one.text));
}

export function sentences(node, texts) {
  list(node, [...new Set(texts)], (text) => text, (text) => make("li", { text }), () => {});
  show(node, texts.length > 0);
}

// --- words -----------------------------------------------------------------------------------------------------------

const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const words = (name) => name.replace(/_/g, " ");

export function when(text, withDate = true) {
  const moment = new Date(text);
  return Number.isNaN(moment.getTime()) ? String(text ?? "") : (withDate ? DATE : CLOCK).format(moment);
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 100) return `${Math.round(value)} s`;
  if (value >= 1) return `${value.toFixed(1)} s`;
  if (value >= 0.001) return `${(value * 1000).toPrecision(3)} ms`;
  return `${Math.round(value * 1e6)} µs`;
}

export const share = (value) => (value === null || value === undefined ? "–" : `${(value * 100).toFixed(2)} %`);

export const label = (rollout) => `${rollout.name}${rollout.version ? ` ${rollout.version}` : ""}`;

// A dry run ends as one that was given up: its reason says what it was.
export const isDry = (rollout) => rollout.state === "rejected" && rollout.reason === "a dry run";

export const stateOf = (rollout) => (isDry(rollout) ? "dry run passed" : words(rollout.state));

const KINDS = { live: "good", permanent: "good", rejected: "bad", rolled_back: "bad", died: "bad" };

export const kindOf = (rollout) => (isDry(rollout) ? "good" : (KINDS[rollout.state] ?? ""));

// What a problem (RFC 9457) says, for people.
export function problem(body, meaning = "") {
  const node = make("div", { kind: "problem" });
  if (meaning) node.append(make("p", { text: meaning }));
  if (body.detail) node.append(make("p", { text: body.detail }));
  if (body.advice) node.append(make("p", { text: body.advice }));
  const told = [
    ...(body.failed_checks ?? []).map((one) => [`${one.name}: ${words(one.verdict)}`, one.message, one.detail]),
    ...(body.changes ?? []).map((one) => [[one.module, one.name].filter(Boolean).join(":"), one.sentence, one.code]),
  ];
  if (told.length) {
    node.append(
      make(
        "ul",
        {},
        ...told.map(([title, text, more]) => {
          const item = make("li", {}, make("strong", { text: title }), text ? `: ${text}` : "");
          if (more && more !== text) item.append(make("pre", { text: more }));
          return item;
        }),
      ),
    );
  }
  if (body.stack) node.append(make("pre", { text: body.stack }));
  return node;
}
