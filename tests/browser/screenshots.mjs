// Pictures of every page in its states, for docs/screenshots; scripts/screenshots starts what is
// needed. What it is to show is in PICTURES; with an argument, only those whose name contains it.

import { mkdir } from "node:fs/promises";
import { ORIGIN, browser, create, foreignSite, ready, send, visitor } from "./kit.mjs";

const FOLDER = process.env.SCREENSHOTS ?? "../../docs/screenshots";
const TARGET = "robin@mailbox.example";

const WIDTHS = { desktop: 1100, tablet: 500, phone: 390, small: 320 };

const open = (path) => async (page) => {
  await page.goto(`${ORIGIN}${path}`, { waitUntil: "networkidle" });
};

/** What is done before the picture is taken, beside opening a page. */
const STATES = {
  async form(page) {
    await page.goto(`${ORIGIN}/`);
    await ready(page);
  },
  async error(page) {
    await STATES.form(page);
    await page.fill("#target", "robin");
    await page.fill("#days", "7");
    await page.click("#create");
    await page.waitForSelector("#target-error:not([hidden])");
  },
  async result(page) {
    await create(page, { target: TARGET });
  },
  async copied(page) {
    await create(page, { target: TARGET });
    await page.click("#copy");
    await page.waitForFunction(() => document.querySelector("#copied").textContent);
  },
  async manage(page) {
    const alias = await create(page, { target: TARGET });
    for (let n = 0; n < 2; n += 1) await send(alias);
    await page.goto(`${ORIGIN}${await page.getAttribute("#manage", "href")}`);
    await page.waitForSelector("#found:not([hidden])");
  },
  async missing(page) {
    await page.goto(`${ORIGIN}/manage#k7m2q1.x`);
    await page.waitForSelector("#missing:not([hidden])");
  },
  async mine(page) {
    for (const [days, uses, sent] of [["14", "3", 2], ["3", "5", 0]]) {
      const alias = await create(page, { target: TARGET, days, uses });
      for (let n = 0; n < sent; n += 1) await send(alias);
    }
    await page.goto(`${ORIGIN}/mine`, { waitUntil: "networkidle" });
  },
  "mine-empty": open("/mine"),
  about: open("/about"),
  privacy: open("/privacy"),
  plugins: open("/plugins"),
  "not-found": open("/nothing"),
  "without-script": open("/"),
  async "without-script-result"(page) {
    await page.goto(`${ORIGIN}/`);
    await page.fill("#target", TARGET);
    await page.click("#create");
  },
  async "without-script-refused"(page) {
    await page.goto(`${ORIGIN}/`);
    await page.fill("#target", "robin@demo.test");
    await page.click("#create");
  },
  async bookmarklet(page) {
    await useBookmarklet(page);
    await page.hover("#mail");
  },
  async "bookmarklet-window"(page, context) {
    await useBookmarklet(page);
    const [popup] = await Promise.all([context.waitForEvent("page"), page.click("#mail")]);
    await popup.setViewportSize({ width: 480, height: 720 });
    await popup.waitForSelector("#create:not([aria-disabled])");
    await ready(popup);
    return popup;
  },
};

/** States and how they are shown: `state-width-theme`, and `-german`. */
const PICTURES = `
form-desktop-light form-desktop-dark form-desktop-dark-german form-phone-light form-phone-dark-german form-small-light-german
error-desktop-light error-phone-dark result-desktop-light result-phone-dark result-phone-light-german
manage-desktop-dark manage-phone-light mine-desktop-light mine-phone-dark about-desktop-light privacy-phone-dark
plugins-desktop-light plugins-phone-dark not-found-desktop-light not-found-phone-dark
without-script-result-desktop-light bookmarklet-desktop-light bookmarklet-window-desktop-light
`.trim().split(/\s+/);

const SHOP = `<!doctype html><title>A shop</title><meta name="viewport" content="width=device-width">
<style>body{font:18px/1.5 Georgia,serif;max-width:34rem;margin:4rem auto;color:#333}input{font:inherit;padding:.5rem;width:20rem}</style>
<h1>Your receipt</h1><p>Where may we send it?</p><p><label>E-mail<br><input id="mail" type="email"></label></p>`;

async function useBookmarklet(page) {
  await page.goto(`${ORIGIN}/plugins`);
  await page.waitForSelector("[data-bookmarklet]:not([hidden])");
  const href = await page.getAttribute("[data-bookmarklet]", "href");
  await page.evaluate((target) => localStorage.setItem("tempalias.target", JSON.stringify(target)), TARGET);
  await page.setViewportSize({ width: 900, height: 420 });
  await page.goto(await foreignSite(SHOP, { "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'" }));
  await page.evaluate(decodeURIComponent(href.slice("javascript:".length)));
}

async function take(name) {
  const [, state, width, theme, german] = name.match(/^(.*)-(desktop|tablet|phone|small)-(light|dark)(-german)?$/);
  const { page, context } = await visitor({
    viewport: { width: WIDTHS[width], height: width === "desktop" ? 800 : 844 },
    colorScheme: theme,
    locale: german ? "de-DE" : "en-GB",
    reducedMotion: "reduce",
    javaScriptEnabled: !state.startsWith("without-script"),
    permissions: ["clipboard-read", "clipboard-write"],
  });
  const shown = (await STATES[state](page, context)) ?? page;
  const isPage = shown === page && state !== "bookmarklet";
  // Images that are out of sight would be loaded when they are scrolled to.
  await shown.evaluate(() => Promise.all([...document.images].filter((image) => image.checkVisibility()).map((image) => {
    image.loading = "eager";
    return image.decode();
  })));
  await shown.screenshot({ path: `${FOLDER}/${name}.png`, fullPage: isPage === true });
  await context.close();
}

await mkdir(FOLDER, { recursive: true });
const asked = process.argv.slice(2);
for (const name of asked.length ? asked : PICTURES) await take(name);
await browser.close();
