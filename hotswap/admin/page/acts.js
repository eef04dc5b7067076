// What may be done from here: with a rollout, and with a patch that lies on this machine.

import * as api from "./api.js";
import { $, isDry, label, make, problem, put, show } from "./draw.js";
import { at, dryRuns } from "./state.js";

const MOST_PATCHES = 3; // that were uploaded for a dry run, and are held in case they are rolled out

// The page around this, which says what it does: `refresh()`, and `leave(why)` where the token is not known any more.
export const page = { refresh: () => {}, leave: () => {} };

export function drawActs(shown) {
  const may = at.rights.includes("write") ? (shown.actions ?? []) : [];
  const offered = dryRuns.has(shown.id) && isDry(shown) ? [...may, "roll-out"] : may;
  const focused = document.activeElement;
  for (const button of $("acts").children) show(button, offered.includes(button.dataset.act));
  // A button that goes must not take the place of whoever uses the keyboard with it.
  if (focused?.hidden && $("acts").contains(focused)) $("rollout-title").focus();
}

// Ask whoever is there whether, and why; null: no.
function sure({ title, text, yes, danger }) {
  put($("ask-title"), title);
  put($("ask-text"), text);
  put($("ask-yes"), yes).className = danger ? "danger" : "main";
  $("why").value = "";
  const dialog = $("ask");
  return new Promise((resolve) => {
    let answer = null;
    $("ask-form").onsubmit = (event) => {
      event.preventDefault();
      answer = { why: $("why").value.trim() };
      dialog.close();
    };
    $("ask-no").onclick = () => dialog.close();
    dialog.addEventListener(
      "close",
      () => {
        // It gives the focus back to the button, which may have gone meanwhile.
        if (document.activeElement === document.body) $("rollout-title").focus();
        resolve(answer);
      },
      { once: true },
    );
    dialog.showModal();
  });
}

// Run what a button stands for, once at a time, and say what went wrong.
async function doing(button, run) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  $("told").replaceChildren();
  try {
    await run();
  } catch (error) {
    if (!(error instanceof api.Problem)) throw error;
    if (error.status === 401) page.leave("The token is not known any more.");
    else $("told").replaceChildren(problem(error.body, api.inWords(error)), dismiss(button));
  } finally {
    button.removeAttribute("aria-disabled");
    page.refresh();
  }
}

function dismiss(button) {
  const close = make("button", { type: "button", text: "Dismiss this message" });
  close.addEventListener("click", () => {
    $("told").replaceChildren();
    (button.hidden ? $("rollout-title") : button).focus();
  });
  return make("p", {}, close);
}

const ACTS = {
  commit: { yes: "Commit", says: "It goes live, at once and for everybody." },
  confirm: { yes: "Confirm", says: "Its trial ends: it is permanent." },
  rollback: { yes: "Roll back", says: "What was live before is live again.", danger: true },
  abort: { yes: "Give up", says: "It is over before it was live. What is live stays as it is.", danger: true },
};

for (const button of document.querySelectorAll("#acts button")) {
  const act = button.dataset.act;
  if (act === "roll-out") continue;
  button.addEventListener("click", () =>
    doing(button, async () => {
      const { body, tag } = at.shown; // what whoever presses it has seen
      const asked = ACTS[act];
      const answer = asked ? await sure({ title: `${asked.yes}: ${label(body)}?`, text: asked.says, ...asked }) : { why: "" };
      if (answer) await api.write(`rollouts/${body.id}/${act}?wait=30`, tag, answer);
    }),
  );
}

$("undo").addEventListener("click", () =>
  doing($("undo"), async () => {
    const { tag } = at.versions;
    const answer = await sure({ title: "Take back what went live last?", text: ACTS.rollback.says, yes: "Roll back", danger: true });
    if (answer) await api.write("undo?wait=30", tag, answer);
  }),
);

// --- a patch from here -----------------------------------------------------------------------------------------------

// Read what was chosen: what goes live is, byte for byte, what the dry run has seen.
async function chosenPatch() {
  const fields = { version: $("version").value.trim(), undo: $("older").checked ? "true" : "", rehearse: $("rehearse").checked ? "true" : "" };
  const files = [];
  for (const name of ["patch", "signature"]) {
    const file = $(name).files[0];
    if (file) files.push([name, new Blob([await file.arrayBuffer()]), file.name]);
  }
  return { fields, files };
}

function formOf({ fields, files }, why) {
  const form = new FormData();
  for (const [name, value] of Object.entries({ ...fields, why })) if (value) form.append(name, value);
  for (const [name, data, called] of files) form.append(name, data, called);
  return form;
}

// Show a rollout that was begun here.
function turnTo(id) {
  location.hash = `rollout=${id}`;
}

$("upload").addEventListener("submit", (event) => {
  event.preventDefault();
  const button = $("upload").querySelector("button[type=submit]");
  doing(button, async () => {
    put($("upload-status"), "It is being sent…");
    try {
      const patch = await chosenPatch();
      const { tag } = await api.read("versions");
      const { id } = await send(formOf(patch, ""), "dry_run=true&wait=0", null);
      dryRuns.set(id, { patch, tag });
      if (dryRuns.size > MOST_PATCHES) dryRuns.delete(dryRuns.keys().next().value);
      turnTo(id);
    } finally {
      put($("upload-status"), "");
    }
  });
});

document.querySelector("[data-act=roll-out]").addEventListener("click", ({ currentTarget }) =>
  doing(currentTarget, async () => {
    const { body } = at.shown;
    const { patch, tag } = dryRuns.get(body.id);
    const answer = await sure({ title: `Roll out ${label(body)}?`, text: "It is checked again, and goes live at once if it passes.", yes: "Commit" });
    if (!answer) return;
    const { id } = await send(formOf(patch, answer.why), "wait=0", tag);
    turnTo(id);
  }),
);

// A rollout that began and was refused is shown as any other: with its checks.
async function send(form, query, tag) {
  try {
    return await api.write(`rollouts?${query}`, tag, form);
  } catch (error) {
    if (!(error instanceof api.Problem) || !error.body.rollout) throw error;
    return { id: error.body.rollout.replace(/^.*\//, "") };
  }
}
