// One rollout: where it stands, its checks, its bake, who still runs old code, its plan.

import { $, isDry, kindOf, label, list, make, pairs, problem, put, rows, seconds, sentences, share, show, stateOf, when, words } from "./draw.js";

const WAY = ["staged", "verified", "live", "permanent"];
const VERDICTS = { passed: "good", failed: "bad", error: "bad", timed_out: "bad", inconclusive: "warn", baking: "" };

export function drawRollout(shown) {
  put($("rollout-title"), `Rollout of ${label(shown)}`);
  drawSteps(shown);
  drawProblem(shown);
  pairs(
    $("facts"),
    [
      ["State", stateOf(shown)],
      ["Reason", shown.reason === shown.problem?.detail ? "" : shown.reason],
      ["By", shown.by],
      ["Why", shown.why],
      ["Note", shown.note],
      ["Began", when(shown.started)],
      ["Changed", when(shown.changed)],
      ["Pause of the swap", shown.pause === null ? "" : seconds(shown.pause)],
      ["Digest", shown.digest],
    ].filter(([, value]) => value),
  );
  drawChecks(shown.report);
  drawBake(shown);
  drawRehearsal(shown.rehearsal);
  drawFlights(shown);
  drawPlan(shown.plan, shown.remark);
}

function drawSteps(shown) {
  const ended = WAY.includes(shown.state) || shown.state === "armed" ? [] : [shown.state];
  const way = shown.state === "armed" ? ["staged", "verified", "armed", "live", "permanent"] : [...WAY.slice(0, ended.length ? reached(shown) : 4), ...ended];
  const at = way.indexOf(shown.state);
  list(
    $("steps"),
    way.map((name, place) => ({ name, place })),
    (step) => step.name,
    () => make("li"),
    (node, { name, place }) => {
      put(node, name === shown.state ? stateOf(shown) : words(name));
      node.classList.toggle("bad", place === at && kindOf(shown) === "bad");
      node.toggleAttribute("data-done", place < at);
      if (place === at) node.setAttribute("aria-current", "step");
      else node.removeAttribute("aria-current");
    },
  );
}

// How many steps one that is over has taken.
function reached(shown) {
  if (shown.state === "rolled_back") return 3;
  return isDry(shown) ? 2 : Object.keys(shown.plan?.modules ?? {}).length ? 1 : 0;
}

let drawnProblem = "";

function drawProblem(shown) {
  const told = JSON.stringify([shown.id, shown.problem ?? null]);
  if (told === drawnProblem) return;
  drawnProblem = told;
  $("rollout-problem").replaceChildren(...(shown.problem ? [problem(shown.problem)] : []));
}

function drawChecks(report) {
  const items = [
    ...report.results.map((one) => ({
      key: one.name,
      cells: [
        one.name,
        { text: words(one.verdict) + (one.tolerated ? ", tolerated" : ""), kind: VERDICTS[one.verdict] ?? "bad" },
        seconds(one.duration),
        { text: one.detail && one.detail !== one.message ? `${one.message}\n${one.detail}` : one.message, kind: "said" },
      ],
    })),
    ...report.running.map((name) => ({ key: name, cells: [name, "running", "", ""] })),
    ...report.waiting.map((name) => ({ key: name, cells: [name, "waiting", "", ""] })),
  ];
  rows($("check-rows"), items);
  show($("checks"), items.length > 0);
}

function drawRehearsal(found) {
  if (!show($("rehearsal"), Boolean(found))) return;
  const told = [found.verdict, found.reason, found.step && `at: ${found.step}`, ...found.remarks].filter(Boolean);
  put($("rehearsal-text"), `${told.join("; ")} (${seconds(found.duration)})`);
}

function drawFlights(shown) {
  const flights = shown.in_flight ?? [];
  show($("in-flight"), flights.length > 0);
  rows(
    $("flights"),
    flights.map((one, place) => ({
      key: place,
      cells: [one.function, { text: `${one.file}:${one.line}`, kind: "mono" }, one.task || one.thread || "–", when(one.since, false)],
    })),
  );
}

function drawPlan(plan, remark) {
  // It is empty as long as the patch is being loaded, or where that came to nothing.
  if (!show($("plan"), Object.keys(plan?.modules ?? {}).length > 0)) return;
  const of = (kind) => Object.keys(plan.modules).filter((name) => plan.modules[name] === kind);
  const told = ["changed", "new", "removed"].filter((kind) => of(kind).length).map((kind) => `${kind}: ${of(kind).join(", ")}`);
  put($("plan-modules"), `Modules ${[...told, `unchanged: ${of("unchanged").length}`].join("; ")}`);
  const place = (one) => (one.name ? `${one.module}:${one.name}` : one.module);
  sentences($("unsupported"), plan.unsupported.map((one) => `Unsupported: ${place(one)}: ${one.sentence} [${one.code}]`));
  sentences($("warnings"), [...(remark ? [remark] : []), ...plan.warnings].map((text) => `Warning: ${text}`));
  sentences($("effects"), plan.effects.map((one) => `Effect: ${one.what} (${one.kind}): ${one.outcome}${one.allowed ? ", allowed" : ""}`));
  show($("names-table"), plan.names.length > 0);
  rows(
    $("names"),
    plan.names.map((one) => ({ key: `${one.module}:${one.name}:${one.fate}`, cells: [{ text: `${one.module}:${one.name}`, kind: "mono" }, one.fate, one.why] })),
  );
}

// --- the bake --------------------------------------------------------------------------------------------------------

const MOST = 120; // samples of a chart
let samples = [];
let sampled = "";

function drawBake(shown) {
  const bake = shown.bake;
  if (!show($("bake"), Boolean(bake))) return;
  const going = bake.verdict === "baking";
  put($("bake-left"), going ? `${Math.ceil(bake.remaining)} s of ${bake.seconds} s left ` : `${words(bake.verdict)} `);
  $("bake-progress").value = bake.seconds ? Math.min(1, 1 - bake.remaining / bake.seconds) : 1;
  show($("bake-progress"), going);
  put($("bake-reason"), bake.reason);
  const both = (name, tell) => ({ key: name, cells: [name, tell(bake.old), tell(bake.new)] });
  rows($("sides"), [
    both("Sessions", (side) => side.sessions),
    both("Errors", (side) => side.errors),
    both("Error rate", (side) => share(side.error_rate)),
    both("Half take at most", (side) => seconds(side.median)),
    both("Nine of ten", (side) => seconds(side.p90)),
    both("99 of 100", (side) => seconds(side.p99)),
  ]);
  const last = bake.exception ? `; the last: ${bake.exception}` : "";
  put($("exceptions"), `Unhandled exceptions through code of the patch: ${bake.exceptions}${last}`);
  show($("probes-table"), bake.probes.length > 0);
  rows(
    $("probes"),
    bake.probes.map((one) => ({
      key: one.name,
      cells: [
        one.name,
        { text: one.last ? words(one.last) : "not asked yet", kind: VERDICTS[one.last] ?? "" },
        one.passed,
        one.failed + one.errors,
        { text: one.message, kind: "said" },
      ],
    })),
  );
  sample(shown.id, bake, going);
}

function sample(id, bake, going) {
  if (sampled !== id) samples = [];
  sampled = id;
  if (going) {
    const at = bake.seconds - bake.remaining;
    const last = samples[samples.length - 1];
    if (last && at - last.at < 0.5) return;
    const since = (side) => (last ? Math.max(0, (bake[side].sessions - last[side].sessions) / (at - last.at)) : 0);
    samples.push({ at, old: bake.old, new: bake.new, rates: { old: since("old"), new: since("new") } });
    samples = samples.slice(-MOST);
  }
  if (!show($("charts"), samples.length > 2)) return;
  const drawn = samples.slice(1);
  chart($("chart-rate"), (side) => drawn.map((one) => one.rates[side]), "Sessions a second", (value) => value.toFixed(value < 10 ? 1 : 0));
  chart($("chart-errors"), (side) => drawn.map((one) => one[side].error_rate ?? 0), "Error rate", share);
}

function chart(svg, of, what, tell) {
  const now = (values) => tell(values[values.length - 1]);
  const sides = { new: of("new"), old: of("old") };
  const top = Math.max(...sides.new, ...sides.old) || 1;
  for (const [side, values] of Object.entries(sides)) {
    let line = svg.querySelector(`.line-${side}`);
    if (!line) {
      line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
      line.setAttribute("class", `line-${side}`);
      svg.append(line);
    }
    const step = 300 / Math.max(1, values.length - 1);
    line.setAttribute("points", values.map((value, place) => `${(place * step).toFixed(1)},${(76 - (value / top) * 70).toFixed(1)}`).join(" "));
  }
  for (const side of ["new", "old"]) put(svg.parentNode.querySelector(`.of-${side}`), `${side} ${now(sides[side])}`);
  svg.setAttribute("aria-label", `${what} since the bake began: at most ${tell(top)}`);
}
