// The page of the admin app: who looks, the connection, what is asked for and when.

import { drawActs, page } from "./acts.js";
import * as api from "./api.js";
import { clearDiff, drawDiff, noDiff } from "./diff.js";
import { $, isDry, label, make, put, rows, show, stateOf, when, words } from "./draw.js";
import { drawRollout } from "./rollout.js";
import { at, chosen, forget } from "./state.js";
import { follow } from "./stream.js";
import { drawEvents, drawTimeline } from "./timeline.js";

const LOOK = 1000; // milliseconds between two looks at what moves without an event: figures, calls in flight
const POLL = 5000; // between two looks where no stream of events is to be had
const FRESH = 12000; // for which an answer counts as connected without one
const PAGE = 20;
const MOST_EVENTS = 100;

let stream = null;
let number = 0;

// --- signing in ------------------------------------------------------------------------------------------------------

async function enter() {
  try {
    const { body } = await api.read("./");
    at.rights = body.rights;
    put($("who"), `You are ${body.who}${body.rights.includes("write") ? "" : ", and may read"}`);
    show($("account"), true);
    show($("forget"), api.hasToken());
    show($("sign-in"), false);
    show($("content"), true);
    $("told").replaceChildren();
    for (const node of document.querySelectorAll(".writes")) show(node, at.rights.includes("write"));
    begin();
  } catch (error) {
    if (error.status === 401) leave(api.hasToken() ? "Nobody knows this token." : "");
    else if (error.status === 403) leave("This token may not read.");
    else {
      failed = true;
      connected();
      setTimeout(enter, POLL);
    }
  }
}

function leave(why) {
  stream?.stop();
  stream = null;
  api.setToken("", false);
  forget();
  if ($("ask").open) $("ask").close();
  show($("account"), false);
  show($("content"), false);
  show($("sign-in"), true);
  $("sign-in-problem").replaceChildren(...(why ? [make("p", { text: why, kind: "problem" })] : []));
  connected();
  $("token").focus();
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  api.setToken($("token").value.trim(), $("keep").checked);
  $("token").value = "";
  enter().then(() => {
    if (!$("content").hidden) $("main").focus();
  });
});
$("forget").addEventListener("click", () => leave(""));

// --- the connection --------------------------------------------------------------------------------------------------

function begin() {
  refresh();
  stream = follow({
    open: (lastId, signal) =>
      api.ask("events", { accept: "text/event-stream", headers: lastId ? { "last-event-id": lastId } : {}, signal }),
    heard() {
      if (!at.dirty) at.asOf = Date.now();
    },
    told: take,
    state(now, error) {
      at.streaming = now === "live";
      if (error?.status === 401) leave("The token is not known any more.");
      else {
        refresh(); // whatever was missed; and whether it answers without a stream
        connected();
      }
    },
  });
}

function take({ event, data }) {
  at.dirty = true;
  soon();
  if (event === "missed") return;
  let facts;
  try {
    facts = JSON.parse(data);
  } catch {
    return;
  }
  number += 1;
  at.events = [{ ...facts, key: number }, ...at.events].slice(0, MOST_EVENTS);
  drawEvents();
  if (event === "check.failed") announce(`Check ${facts.check ?? ""} did not pass`);
  if (event === "probe.failed") announce(`Probe ${facts.probe ?? ""} did not pass`);
}

let due = null;

function soon() {
  due ??= setTimeout(() => {
    due = null;
    refresh();
  }, 50);
}

function connected() {
  const fresh = at.asOf !== null && Date.now() - at.asOf < FRESH;
  const signedOut = !$("sign-in").hidden;
  const lost = failed || (at.asOf !== null && !fresh);
  const state = signedOut ? "connecting" : at.streaming ? "live" : lost ? "lost" : at.asOf === null ? "connecting" : "polling";
  const says = {
    connecting: signedOut ? "Not signed in" : "Connecting…",
    live: "Connected",
    polling: `Connected, without events: looking every ${POLL / 1000} seconds`,
    lost: "Connection lost. Trying again.",
  };
  $("connection").dataset.state = state;
  document.body.classList.toggle("lost", state === "lost");
  put($("connection-text"), says[state]);
  // Beside what is read out: it changes each second.
  put($("age"), at.asOf === null ? "" : state === "lost" ? `What is shown is ${ago(at.asOf)} old` : `as of ${when(at.asOf, false)}`);
}

function ago(moment) {
  const passed = Math.max(0, Math.round((Date.now() - moment) / 1000));
  return passed < 120 ? `${passed} s` : `${Math.round(passed / 60)} min`;
}

// --- asking ----------------------------------------------------------------------------------------------------------

let going = null;
let again = false;
let failed = false;

// Ask for everything that is shown. What comes while it is asked for is asked for once more.
function refresh() {
  if (going) {
    again = true;
    return going;
  }
  going = ask().finally(() => {
    going = null;
    if (again) {
      again = false;
      soon();
    }
  });
  return going;
}

async function ask() {
  const began = Date.now();
  at.dirty = false;
  try {
    const [versions, history] = await Promise.all([api.read("versions"), readHistory()]);
    at.versions = versions;
    at.history = history.rollouts;
    show($("older-rollouts"), Boolean(history.next));
    await look();
    at.asOf = began;
    if (failed) stream?.now(); // it is there again
    failed = false;
  } catch (error) {
    trouble(error);
  }
  if (at.versions) draw();
  connected();
}

async function readHistory() {
  const { body } = await api.read(`history?limit=${Math.min(at.wanted, 200)}`);
  return body;
}

// Ask for the rollout that is shown, alone: what moves in it moves without events.
async function look() {
  const id = chosen();
  if (id === null) {
    at.shown = null;
    return;
  }
  try {
    const found = await api.read(`rollouts/${id}`);
    if (id === chosen()) at.shown = found;
    else soon();
  } catch (error) {
    if (error.status !== 404) throw error;
    at.shown = null; // forgotten, or a link of another service
  }
}

function trouble(error) {
  at.dirty = true;
  failed = true;
  if (error.status === 401) leave("The token is not known any more.");
  else if (error.status !== 0 && !(error instanceof api.Problem)) throw error;
}

const moves = (shown) =>
  ["staged", "verified", "armed"].includes(shown.state) ||
  shown.report.running.length > 0 ||
  shown.bake?.verdict === "baking" ||
  (shown.in_flight ?? []).length > 0;

let polled = 0;

async function tick() {
  if (!document.hidden && !$("content").hidden) {
    if (!at.streaming && Date.now() - polled > POLL) {
      polled = Date.now();
      await refresh();
    } else if (at.shown && moves(at.shown.body) && !going) {
      try {
        await look();
        drawShown();
        if (!at.dirty) at.asOf = Date.now();
      } catch (error) {
        trouble(error);
      }
    }
  }
  connected();
  setTimeout(tick, LOOK);
}

// --- drawing ---------------------------------------------------------------------------------------------------------

function draw() {
  const { versions, rollout } = at.versions.body;
  rows($("versions"), Object.entries(versions).map(([name, version]) => ({ key: name, cells: [name, version] })));
  put($("standing"), rollout ? `The rollout that is current is ${words(rollout.state)}.` : "No rollout is in progress or on trial.");
  drawShown();
  drawTimeline();
}

let last = "";

function drawShown() {
  const shown = at.shown?.body ?? null;
  show($("rollout-none"), shown === null);
  show($("rollout-body"), shown !== null);
  show($("follow"), location.hash.startsWith("#rollout=") && shown?.id !== at.versions?.body.rollout?.id);
  put($("rollout-none"), location.hash.startsWith("#rollout=") ? "This rollout is not known." : "There was no rollout yet.");
  document.title = shown ? `${label(shown)} ${stateOf(shown)} – hotswap` : "hotswap";
  if (!shown) {
    put($("rollout-title"), "Rollout");
    clearDiff();
    return;
  }
  const now = `${shown.id} ${shown.state}`;
  if (last && last !== now) announce(`${label(shown)}: ${stateOf(shown)}${shown.reason && !isDry(shown) ? `, ${shown.reason}` : ""}`);
  last = now;
  drawRollout(shown);
  drawActs(shown);
  readDiff(shown);
}

let diffOf = "";

async function readDiff(shown) {
  if (!shown.has_diff) {
    diffOf = "";
    clearDiff();
    return;
  }
  if (diffOf === shown.id) return;
  diffOf = shown.id;
  clearDiff();
  try {
    const text = await (await api.ask(`rollouts/${shown.id}/diff`, { accept: "text/x-diff" })).text();
    if (diffOf === shown.id) drawDiff(text);
  } catch (error) {
    if (diffOf !== shown.id) return;
    if (error.status === 409) noDiff("It is not kept any more.");
    else diffOf = ""; // with the next look
  }
}

const announce = (text) => put($("announced"), text);

$("older-rollouts").addEventListener("click", () => {
  at.wanted += PAGE;
  refresh();
});

addEventListener("hashchange", async () => {
  if (!location.hash.startsWith("#rollout=") && location.hash !== "#current" && location.hash !== "") return;
  last = ""; // a look at another one is no news
  await refresh();
  if (again || going) await refresh();
  $("rollout-title").focus();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden || $("content").hidden) return;
  stream?.now();
  refresh();
});

Object.assign(page, { refresh, leave });
enter();
tick();
