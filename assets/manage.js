// One alias for its holder. Name and key come behind the #, which browsers never send.

import { $, ask, copy, instant, mark, mine, reason, sure, t, whole } from "/common.js";
import { remaining } from "/remaining.js";

let name;
let key;
let alias;

/** Shows one of the three states of the page. */
function only(id) {
  for (const part of ["missing", "deleted", "found"]) $(part).hidden = part !== id;
}

async function load() {
  [name, key] = location.hash.slice(1).split(".");
  if (!name || !key) return only("missing");
  return take(await ask("GET", path(), { key }));
}

function path() {
  return `/aliases/${encodeURIComponent(name)}`;
}

/** What the API answered: an alias to show, or a reason not to. True when it is an alias. */
function take(got) {
  mark([], $("form-error"));
  if (got.status === 200) show(got.answer);
  else if (got.status === 404) only("missing");
  else if (got.answer?.error === "invalid-data") mark([$("days"), $("uses")], $("limits-error"), reason(got));
  else mark([], $("form-error"), reason(got));
  return got.status === 200;
}

function show(answer) {
  alias = answer;
  const { max_usage: all, usage_left: left, used, state } = alias;
  $("alias").textContent = alias.email;
  $("state").textContent = t(`state.${state}`);
  $("state").dataset.state = state;
  $("left").textContent = all ? t("of", { n: left, all }) : t("unlimited");
  $("used").textContent = used;
  $("until").textContent = alias.valid_until ? instant(new Date(alias.valid_until)) : t("never");
  if (alias.valid_until) $("until").dateTime = alias.valid_until;
  else $("until").removeAttribute("datetime");
  $("target").textContent = alias.target;
  $("bounced").hidden = state !== "suspended";
  $("pause").textContent = t(isStopped() ? "resume" : "pause");
  $("fuse").style.width = `${Math.round(100 * remaining(alias))}%`;
  only("found");
}

function isStopped() {
  return alias.state === "suspended" || alias.paused;
}

$("refresh").addEventListener("click", async () => {
  if (take(await ask("GET", path(), { key }))) $("status").textContent = t("refreshed");
});

$("pause").addEventListener("click", async () => {
  const paused = !isStopped();
  if (take(await ask("PATCH", path(), { key, body: { paused } }))) {
    $("status").textContent = t(paused ? "paused" : "resumed");
  }
});

$("change").addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = [$("days"), $("uses")];
  mark(fields, $("limits-error"));
  const change = {};
  for (const [member, field, what] of [["days", fields[0], "whole.days"], ["max-usage", fields[1], "whole.messages"]]) {
    const number = whole(field);
    if (Number.isNaN(number)) return mark([field], $("limits-error"), t(what));
    if (number !== null) change[member] = number;
  }
  if (!Object.keys(change).length) return mark(fields, $("limits-error"), t("nothing"));
  const got = await ask("PATCH", path(), { key, body: change });
  if (!take(got)) return;
  for (const field of fields) field.value = "";
  $("status").textContent = [t("saved"), got.answer.clamped.length && t("clamped")].filter(Boolean).join(" ");
});

$("delete").addEventListener("click", async () => {
  $("keep").hidden = false;
  if (!sure($("delete"), "delete.sure")) return;
  const got = await ask("DELETE", path(), { key });
  calm();
  if (got.status === 204 || got.status === 404) {
    mine.remove(name);
    only("deleted");
    $("deleted-head").focus();
  } else {
    mark([], $("form-error"), reason(got));
  }
});

function calm() {
  delete $("delete").dataset.sure;
  $("delete").textContent = t("delete");
  $("keep").hidden = true;
}

$("keep").addEventListener("click", () => {
  calm();
  $("delete").focus();
});

$("reveal").addEventListener("click", () => {
  $("reveal").hidden = true;
  $("target").hidden = false;
});

$("copy").addEventListener("click", () => copy($("alias"), $("copy"), $("status")));
addEventListener("hashchange", load);
load();
