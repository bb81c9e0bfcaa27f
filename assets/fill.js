// The window that the bookmarklet opens: it makes an alias for the site behind it, after a yes.
//
// The site says its origin behind the #. It cannot lie to any use: the alias is posted to that
// origin exactly, and the browser delivers it nowhere else. A click of the visitor's is needed,
// because any site can open this window.

import { $, copy, manageLink, t } from "/common.js";
import { form } from "/form.js";

/** After the window has come to the front, Create does nothing for so long, in milliseconds: a key or click may still
    be meant for the page behind, which chose the moment. A double click is over by then. */
const SETTLED_AFTER = 1000;

/** How long the site may take to say that the field is filled, in milliseconds. */
const FILLED_WITHIN = 1500;

const site = originOf(location.hash.slice(1));

/** The origin that `text` stands for, when it is that of a web site. */
function originOf(text) {
  try {
    const origin = decodeURIComponent(text);
    const url = new URL(origin);
    return url.origin === origin && /^https?:$/.test(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

async function hand(alias) {
  $("form").hidden = true;
  $("alias").textContent = alias.email;
  $("manage").href = manageLink(alias.aid, alias.updatekey);
  if (await filled(alias.email)) {
    $("lead").textContent = t("filled");
    $("result").hidden = false;
    window.close();
  } else {
    $("lead").textContent = t("severed");
    $("result").hidden = false;
    $("copy").focus();
  }
}

/** Whether the site behind us has taken `email`; false when it cut the connection (COOP). */
function filled(email) {
  const opener = window.opener;
  if (!site || !opener || opener.closed) return false;
  return new Promise((resolve) => {
    addEventListener("message", (message) => {
      if (message.source === opener && message.origin === site.origin && message.data === "filled") resolve(true);
    });
    setTimeout(() => resolve(false), FILLED_WITHIN);
    opener.postMessage(email, site.origin);
  });
}

let settling;

function settle() {
  clearTimeout(settling);
  $("create").setAttribute("aria-disabled", "true");
  settling = setTimeout(() => {
    settling = null;
    $("create").removeAttribute("aria-disabled");
  }, SETTLED_AFTER);
}

// Before the form hears of it.
$("form").addEventListener("submit", (event) => {
  if (!settling) return;
  event.preventDefault();
  event.stopImmediatePropagation();
});
addEventListener("focus", settle);
settle();
form(hand);
if (site) $("headline").textContent = t("for.site", { site: site.host });
// Never on Create, which a key that was meant for the page behind would press.
($("target").value ? $("headline") : $("target")).focus();
$("copy").addEventListener("click", () => copy($("alias"), $("copy"), $("copied")));
$("close").addEventListener("click", () => window.close());
