// The bookmarklet on pages of somebody else's.

import { test } from "node:test";
import assert from "node:assert/strict";
import { MARK, ORIGIN, TARGET, foreignSite, visitor } from "./kit.mjs";

const SHOP = `<!doctype html><title>A shop</title>
<p id="text">Your address, please</p>
<label>Mail <input id="mail" type="email"></label>
<label>Comment <textarea id="comment"></textarea></label>
<label>Number <input id="number" type="number"></label>`;

const STRICT = { "Content-Security-Policy": "default-src 'none'" };

/** The code of the bookmarklet, as it is dragged to the bookmarks bar. */
async function bookmarklet(page) {
  await page.goto(`${ORIGIN}/plugins`);
  await page.waitForSelector("[data-bookmarklet]:not([hidden])");
  const href = await page.getAttribute("[data-bookmarklet]", "href");
  assert.ok(href.startsWith("javascript:"));
  return decodeURIComponent(href.slice("javascript:".length));
}

/** Somebody whose browser knows the real address. */
async function customer() {
  const all = await visitor();
  const code = await bookmarklet(all.page);
  await all.page.evaluate((target) => localStorage.setItem("tempalias.target", JSON.stringify(target)), TARGET);
  return { ...all, code };
}

/** Waits until our window is as its visitor finds it, who has told this browser the real address. */
async function begun(popup) {
  await popup.waitForSelector("#form:not([hidden])");
  await popup.waitForFunction(() => document.activeElement.id === "headline");
}

/** Clicks the field, says yes in our window by the keyboard, and waits until it is closed. */
async function fill({ context, page }, field) {
  const [popup] = await Promise.all([context.waitForEvent("page"), page.click(field)]);
  await begun(popup);
  const heading = await popup.textContent("h1");
  await popup.keyboard.press("Tab");
  assert.equal(await popup.evaluate(() => document.activeElement.id), "target");
  await popup.waitForSelector("#create:not([aria-disabled])");
  // The window may be closed before the key is up again.
  await Promise.all([popup.waitForEvent("close"), popup.keyboard.press("Enter").catch(() => {})]);
  return heading;
}

test("the bookmarklet holds no address and names no site but ours", async () => {
  const { code, context } = await customer();
  assert.ok(!code.includes(MARK));
  assert.ok(code.includes(ORIGIN));
  assert.deepEqual([...code.matchAll(/https?:\/\/[^"`$]+/g)].map(([url]) => url), [ORIGIN]);
  assert.ok(code.length < 6000, `${code.length} characters`);
  await context.close();
});

test("it fills a field on a page with a strict policy, and the page learns the alias only", async () => {
  const all = await customer();
  const { page, code, complaints, urls } = all;
  const shop = await foreignSite(SHOP, STRICT);
  await page.goto(shop);
  // The page is curious: it listens, and looks at all that is said in its realm.
  await page.evaluate(() => {
    window.heard = [];
    addEventListener("message", (event) => heard.push(String(event.data)), true);
    for (const name of ["input", "change"]) addEventListener(name, (event) => heard.push(`${name} ${event.target.value}`));
    window.names = Object.getOwnPropertyNames(window);
  });
  const before = await page.evaluate(() => document.documentElement.outerHTML);
  await page.evaluate(code);
  const heading = await fill(all, "#mail");
  assert.equal(heading, `An alias for ${new URL(shop).host}?`);
  const alias = await page.inputValue("#mail");
  assert.match(alias, /^[0-9a-z]{6}@alias\.test$/);

  const realm = await page.evaluate(() => ({
    added: Object.getOwnPropertyNames(window).filter((name) => !names.includes(name) && name !== "names"),
    heard,
    html: document.documentElement.outerHTML,
    everything: JSON.stringify([heard, localStorage, sessionStorage, document.cookie, location.href]),
  }));
  assert.deepEqual(realm.added, []);
  assert.deepEqual(new Set(realm.heard), new Set([alias, `input ${alias}`, `change ${alias}`]));
  assert.equal(realm.html, before, "it has left something behind");
  assert.ok(!realm.everything.includes(MARK) && !realm.html.includes(MARK));
  for (const url of urls) assert.ok(!url.includes(MARK), url);
  assert.deepEqual(complaints, []);
  await all.context.close();
});

test("a second field is filled after a second start, by the keyboard, a text area too", async () => {
  const all = await customer();
  const { page, code, context } = all;
  await page.goto(await foreignSite(SHOP, STRICT));
  await page.evaluate(code);
  await page.focus("#comment");
  const [popup] = await Promise.all([context.waitForEvent("page"), page.keyboard.press("Enter")]);
  await popup.waitForSelector("#form:not([hidden])");
  await Promise.all([popup.waitForEvent("close"), popup.click("#create").catch(() => {})]);
  assert.match(await page.inputValue("#comment"), /@alias\.test$/);
  await page.evaluate(code);
  await fill(all, "#mail");
  assert.match(await page.inputValue("#mail"), /@alias\.test$/);
  await context.close();
});

test("it is ended by Escape, by its button and by being chosen again, and leaves nothing", async () => {
  const { page, code, context } = await customer();
  await page.goto(await foreignSite(SHOP, STRICT));
  const before = await page.evaluate(() => document.documentElement.outerHTML);
  const same = async () => assert.equal(await page.evaluate(() => document.documentElement.outerHTML), before);
  await page.evaluate(code);
  await page.hover("#mail");
  await page.keyboard.press("Escape");
  await same();
  await page.evaluate(code);
  await page.evaluate(code);
  await same();
  await page.evaluate(code);
  await page.mouse.click(page.viewportSize().width - 40, 34);
  await same();
  // Over: a click on a field is a click on a field again.
  await page.click("#mail");
  assert.equal(context.pages().length, 1);
  await context.close();
});

test("what is no text field is left alone", async () => {
  const { page, code, context } = await customer();
  await page.goto(await foreignSite(SHOP, STRICT));
  await page.evaluate(code);
  await page.click("#number");
  await page.click("#text");
  assert.equal(context.pages().length, 1);
  await context.close();
});

test("when the site cuts the connection, our window shows the alias to be copied", async () => {
  const { page, code, context } = await customer();
  await page.goto(await foreignSite(SHOP, { ...STRICT, "Cross-Origin-Opener-Policy": "same-origin" }));
  await page.evaluate(code);
  const [popup] = await Promise.all([context.waitForEvent("page"), page.click("#mail")]);
  await popup.waitForSelector("#form:not([hidden])");
  await popup.click("#create");
  await popup.waitForSelector("#result:not([hidden])");
  assert.match(await popup.textContent("#alias"), /@alias\.test$/);
  assert.match(await popup.textContent("#lead"), /doesn’t talk to other windows/);
  assert.equal(await popup.evaluate(() => document.activeElement.id), "copy");
  assert.equal(await page.inputValue("#mail"), "");
  await context.close();
});

test("who lies about where it is gets nothing", async () => {
  const { page, context } = await customer();
  await page.goto(await foreignSite(SHOP, {}));
  await page.evaluate(() => {
    window.heard = [];
    addEventListener("message", (event) => heard.push(event.data));
  });
  const [popup] = await Promise.all([
    context.waitForEvent("page"),
    page.evaluate((origin) => { open(`${origin}/fill#${encodeURIComponent("https://bank.example")}`); }, ORIGIN),
  ]);
  await popup.waitForSelector("#form:not([hidden])");
  await popup.waitForFunction(() => document.querySelector("h1").textContent === "An alias for bank.example?");
  await popup.click("#create");
  await popup.waitForSelector("#result:not([hidden])");
  assert.deepEqual(await page.evaluate(() => heard), []);
  await context.close();
});

test("a window that somebody opens does nothing without a yes", async () => {
  const { page, context } = await customer();
  await page.goto(await foreignSite(SHOP, {}));
  let created = 0;
  context.on("request", (request) => { created += request.method() === "POST" ? 1 : 0; });
  const [popup] = await Promise.all([
    context.waitForEvent("page"),
    page.evaluate((origin) => { open(`${origin}/fill#${encodeURIComponent(location.origin)}`); }, ORIGIN),
  ]);
  await popup.waitForLoadState("networkidle");
  assert.equal(await popup.isVisible("#form"), true);
  assert.equal(created, 0);
  await context.close();
});

test("what was typed or clicked for the page behind makes no alias", async () => {
  const { page, context } = await customer();
  await page.goto(await foreignSite(SHOP, {}));
  let created = 0;
  context.on("request", (request) => { created += request.method() === "POST" ? 1 : 0; });
  await context.clock.install();
  await context.clock.pauseAt(Date.now() + 60_000);
  const [popup] = await Promise.all([
    context.waitForEvent("page"),
    page.evaluate((origin) => { open(`${origin}/fill#${encodeURIComponent(location.origin)}`); }, ORIGIN),
  ]);
  const early = async () => {
    for (const field of ["headline", "target", "create"]) {
      await popup.focus(`#${field}`);
      for (const key of ["Enter", "Space"]) await popup.keyboard.press(key);
    }
    await popup.click("#create", { force: true });
  };
  await begun(popup);
  await early();
  await context.clock.runFor(1000);
  // Once more in front.
  await popup.evaluate(() => dispatchEvent(new Event("focus")));
  await early();
  await context.clock.resume();
  await popup.fill("#target", TARGET);
  await popup.click("#create");
  await popup.waitForSelector("#result:not([hidden])");
  assert.equal(created, 1);
  await context.close();
});
