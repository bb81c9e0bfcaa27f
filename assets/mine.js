// The aliases that were made in this browser, as they are now.

import { $, ask, copy, count, instant, manageLink, memory, mine, sure, t } from "/common.js";
import { remaining } from "/remaining.js";

function row({ aid, email, key }) {
  const item = $("row").content.cloneNode(true).firstElementChild;
  const part = (selector) => item.querySelector(selector);
  part(".alias").textContent = email;
  part(".manage").href = manageLink(aid, key);
  part(".copy").addEventListener("click", () => copy(part(".alias"), part(".copy"), $("status")));
  part(".remove").addEventListener("click", () => {
    mine.remove(aid);
    item.remove();
    $("status").textContent = t("forgotten");
    showWhetherEmpty();
  });
  refresh(item, aid, key);
  return item;
}

async function refresh(item, aid, key) {
  const part = (selector) => item.querySelector(selector);
  const got = await ask("GET", `/aliases/${aid}`, { key });
  const alias = got.answer;
  if (got.status !== 200) {
    part(".badge").textContent = got.status === 404 ? t("state.over") : "";
    part(".badge").dataset.state = "over";
    part(".left").textContent = got.status === 404 ? "" : t("offline");
    part(".manage").hidden = part(".copy").hidden = got.status === 404;
    return;
  }
  const left = alias.max_usage ? count("left", alias.usage_left) : t("left.any");
  const until = alias.valid_until && t("until", { date: instant(new Date(alias.valid_until)) });
  part(".badge").textContent = t(`state.${alias.state}`);
  part(".badge").dataset.state = alias.state;
  part(".left").textContent = [left, until].filter(Boolean).join(", ");
  part(".fuse span").style.width = `${Math.round(100 * remaining(alias))}%`;
}

function showWhetherEmpty() {
  const isEmpty = !mine.all().length;
  $("none").hidden = !isEmpty;
  $("forget").hidden = isEmpty;
}

$("forget").addEventListener("click", () => {
  if (!sure($("forget"), "forget.sure")) return;
  for (const name of ["aliases", "target", "limits"]) memory.forget(name);
  $("list").replaceChildren();
  $("status").textContent = t("forgotten");
  showWhetherEmpty();
});

$("list").append(...mine.all().map(row));
showWhetherEmpty();
