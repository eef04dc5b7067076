// A unified diff, file by file.

import { $, make, put, show } from "./draw.js";

const FEW = 2000; // lines that are drawn unless somebody asks for all

const KINDS = { "+": "ins", "-": "del" };

let drawn = null;

export function clearDiff() {
  drawn = null;
  show($("diff"), false);
  $("diff-files").replaceChildren();
}

export function drawDiff(text, all = false) {
  const wanted = `${all} ${text}`;
  if (drawn === wanted) return;
  drawn = wanted;
  show($("diff"), true);
  const lines = text.split("\n");
  if (lines[lines.length - 1] === "") lines.pop();
  const shown = all ? lines : lines.slice(0, FEW);
  const files = [];
  for (let place = 0; place < shown.length; place += 1) {
    // "--- " within a hunk may be a line that goes; the head of a file has "+++ " after it and "@@" then.
    const head = shown[place].startsWith("--- ") && shown[place + 1]?.startsWith("+++ ") && (shown[place + 2] ?? "@@").startsWith("@@");
    if (head) {
      files.push(fileOf(shown[place + 1].replace(/^\+\+\+ patch\//, "")));
      place += 1;
    } else {
      if (!files.length) files.push(fileOf("diff"));
      files[files.length - 1].lines.append(lineOf(shown[place]));
    }
  }
  $("diff-files").replaceChildren(...files.flatMap((file) => [file.title, file.lines]));
  show($("diff-none"), lines.length === 0);
  put($("diff-none"), "The sources do not differ.");
  const more = $("diff-all");
  show(more, lines.length > shown.length);
  put(more, `Show all ${lines.length} lines`);
  more.onclick = () => {
    drawDiff(text, true);
    $("diff-files").querySelector("pre")?.focus();
  };
}

export function noDiff(why) {
  clearDiff();
  show($("diff"), true);
  show($("diff-all"), false);
  show($("diff-none"), true);
  put($("diff-none"), why);
}

function fileOf(name) {
  return { title: make("h4", { text: name }), lines: make("pre", { kind: "diff", tabindex: "0", role: "region", "aria-label": `Diff of ${name}` }) };
}

function lineOf(text) {
  const tag = KINDS[text[0]];
  return tag ? make(tag, { text }) : make("span", { text, kind: text.startsWith("@@") ? "at" : "" });
}
