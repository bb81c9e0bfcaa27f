// The bookmarklet as a link that can be dragged to the bookmarks bar.

import { t } from "/common.js";

const SOURCE = "/bookmarklet.js";

/** Makes the bookmarklet, for this site and language; its address. */
export async function install() {
  const source = await (await fetch(SOURCE)).text();
  const texts = { origin: location.origin, help: t("bookmarklet.help"), end: t("bookmarklet.end") };
  const code = source
    .replace(/^\s*\/\/.*\n/gm, "")
    .replace(/"\{(\w+)\}"/g, (_, name) => JSON.stringify(texts[name]))
    .replace(/\n\s*/g, "\n");
  const address = `javascript:${encodeURIComponent(code)}`;
  for (const link of document.querySelectorAll("[data-bookmarklet]")) {
    link.href = address;
    link.title = t("bookmarklet.drag");
    link.hidden = false;
    // Here it would fill our own form with an alias for itself.
    link.addEventListener("click", (event) => event.preventDefault());
  }
  return address;
}
