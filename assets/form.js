// The form that asks for an alias: on the front page, and in the window of the bookmarklet.

import { $, ask, end, mark, memory, mine, reason, site, t, translated, whole } from "/common.js";

const DAY = 24 * 60 * 60 * 1000;

/** Brings the form to life; `created` gets the alias. */
export function form(created) {
  recall();
  showEnd();
  // One request, one key: a repeated request (a double click, a lost answer) gives the same alias.
  let once = randomKey();
  let busy = false;
  $("form").noValidate = true;
  $("form").addEventListener("input", () => {
    once = randomKey();
    showEnd();
  });
  $("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const request = busy ? null : read();
    if (!request) return;
    busy = true;
    $("create").setAttribute("aria-disabled", "true");
    const got = await ask("POST", "/aliases", { body: request, once });
    $("create").removeAttribute("aria-disabled");
    busy = false;
    if (got.status !== 201) return refuse(got);
    once = randomKey();
    remember(request);
    mine.add(got.answer);
    created(got.answer);
  });
  $("forget").addEventListener("click", () => {
    memory.forget("target");
    $("target").value = "";
    $("remember").checked = false;
    $("forget").hidden = true;
    $("target").focus();
  });
  site.then(sayTheMost);
}

function recall() {
  const limits = memory.read("limits");
  if (limits) [$("days").value, $("uses").value] = [limits.days ?? "", limits.uses ?? ""];
  const target = memory.read("target");
  if (target) $("target").value = target;
  $("remember").checked = Boolean(target);
  $("forget").hidden = !target;
}

function remember(request) {
  memory.write("limits", { days: request.days, uses: request["max-usage"] });
  if ($("remember").checked) memory.write("target", request.target);
  else memory.forget("target");
  $("forget").hidden = !$("remember").checked;
}

function sayTheMost({ max_days: days, max_usage: uses }) {
  if (days) $("days").max = days;
  if (uses) $("uses").max = uses;
}

export function showEnd() {
  const [days, uses] = [whole($("days")), whole($("uses"))];
  const known = !Number.isNaN(days) && !Number.isNaN(uses) && (days || uses);
  const until = days && new Date(Date.now() + days * DAY);
  $("ends").textContent = known ? t("stops", { end: end(uses, until) }) : "";
}

/** The request for the API, or null when a field needs another look. */
function read() {
  const limits = [$("days"), $("uses")];
  mark([$("target")], $("target-error"));
  mark(limits, $("limits-error"));
  mark([], $("form-error"));
  const request = { target: $("target").value.trim() };
  if (!request.target) return mark([$("target")], $("target-error"), t("target.missing"));
  for (const [name, field, what] of [["days", limits[0], "whole.days"], ["max-usage", limits[1], "whole.messages"]]) {
    const number = whole(field);
    if (Number.isNaN(number)) return mark([field], $("limits-error"), t(what));
    if (number !== null) request[name] = number;
  }
  if (!request.days && !request["max-usage"]) return mark(limits, $("limits-error"), t("limits.none"));
  if ($("domain")) request.domain = $("domain").value;
  return request;
}

function refuse(got) {
  if (got.answer?.error === "invalid-data") {
    const text = translated(got.answer.description) ?? t("target.wrong"); // the limits were checked above
    mark([$("target")], $("target-error"), text);
  } else {
    mark([], $("form-error"), reason(got));
  }
}

/** 128 random bits. `crypto.randomUUID` exists only under HTTPS. */
function randomKey() {
  const octets = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(octets, (octet) => octet.toString(16).padStart(2, "0")).join("");
}
