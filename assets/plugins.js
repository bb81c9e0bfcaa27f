// Plugins: the bookmarklet, to be dragged or copied.

import { $, t } from "/common.js";
import { install } from "/install.js";

const address = await install();
const link = document.querySelector("[data-bookmarklet]");

link.addEventListener("click", () => { $("status").textContent = t("bookmarklet.drag"); });

$("copy-bookmarklet").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(address);
    $("status").textContent = t("bookmarklet.copied");
  } catch {
    $("status").textContent = t("bookmarklet.drag");
  }
});
