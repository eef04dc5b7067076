// What was, newest first: rollouts, and the events since the page was opened.

import { $, isDry, kindOf, label, list, make, put, show, stateOf, when } from "./draw.js";
import { at } from "./state.js";

export function drawTimeline() {
  list(
    $("timeline"),
    at.history,
    (one) => one.id || `${one.name} ${one.started}`,
    (one) =>
      make(
        "li",
        {},
        one.id ? make("a", { href: `#rollout=${one.id}`, text: label(one) }) : make("span", { text: label(one) }),
        " ",
        make("span", { kind: "state" }),
        " ",
        make("time", { kind: "when" }),
        make("div", { kind: "said" }),
      ),
    (node, one) => {
      const [title, state, time, said] = node.children;
      put(title, label(one));
      put(state, stateOf(one));
      state.className = `state ${kindOf(one)}`;
      put(time, when(one.changed));
      time.dateTime = one.changed;
      put(said, [one.by && `by ${one.by}`, one.why, isDry(one) ? "" : one.reason].filter(Boolean).join("; "));
      if (one.id !== "" && one.id === at.shown?.body.id) {
        title.setAttribute("aria-current", "true");
      } else {
        title.removeAttribute("aria-current");
      }
    },
  );
}

export function drawEvents() {
  show($("events-none"), at.events.length === 0);
  show($("events"), at.events.length > 0);
  list(
    $("events"),
    at.events,
    (one) => one.key,
    (one) =>
      make(
        "li",
        {},
        make("time", { kind: "when", text: when(one.time, false), datetime: one.time }),
        make("span", { kind: one.level === "error" ? "bad" : one.level === "warning" ? "warn" : "", text: `${one.event} ${tellOf(one)}` }),
      ),
    () => {},
  );
}

const tellOf = (one) =>
  [one.patch, one.patch?.endsWith(` ${one.version}`) ? "" : one.version, one.check, one.probe, one.verdict, one.who, one.method, one.path, one.status, one.message || one.reason]
    .filter((part) => part !== null && part !== undefined && part !== "")
    .join(" ");
