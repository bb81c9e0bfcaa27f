// The front page: the form, and the alias it gave.

import { $, copy, end, manageLink, t } from "/common.js";
import { form, showEnd } from "/form.js";
import { install } from "/install.js";

function show(alias) {
  const until = alias.valid_until && new Date(alias.valid_until);
  const ending = end(alias.max_usage, until);
  const lives = [t("forwards", { target: alias.target, end: ending })];
  if (alias.clamped.length) lives.push(t("clamped"));
  $("alias").textContent = alias.email;
  $("lives").textContent = lives.join(" ");
  $("manage").href = manageLink(alias.aid, alias.updatekey);
  $("copied").textContent = "";
  $("ask").hidden = true;
  $("result").hidden = false;
  $("ready").focus();
}

form(show);
install();

$("copy").addEventListener("click", () => copy($("alias"), $("copy"), $("copied")));

$("share").hidden = !navigator.share;
$("share").addEventListener("click", () => {
  // Who closes the sheet has decided not to share: nothing to say.
  navigator.share({ text: $("alias").textContent }).catch(() => {});
});

$("another").addEventListener("click", () => {
  $("result").hidden = true;
  $("ask").hidden = false;
  showEnd();
  $("target").focus();
});
