// The life of an alias, in the browser.

import { test } from "node:test";
import assert from "node:assert/strict";
import { MARK, ORIGIN, TARGET, create, send, visitor } from "./kit.mjs";

test("an alias is made, used, paused, changed and deleted, and the address is in no URL", async () => {
  const { page, urls, complaints, context } = await visitor();
  const alias = await create(page, { uses: "3" });
  assert.match(alias, /^[0-9a-z]{6}@alias\.test$/);
  assert.match(await page.textContent("#lives"), /^It forwards to marked\.person@mailbox\.test and stops after 3 messages or on \w+,? \d+ \w+, \d\d:\d\d\.$/);
  assert.equal(await page.evaluate(() => document.activeElement.id), "ready");

  await page.click("#manage");
  await page.waitForSelector("#found:not([hidden])");
  assert.equal(new URL(page.url()).pathname, "/manage");
  assert.equal(new URL(page.url()).search, "");
  assert.equal(await page.textContent("#left"), "3 of 3");
  assert.equal(await page.isVisible("#target"), false);
  await page.click("#reveal");
  assert.equal(await page.textContent("#target"), TARGET);

  assert.match(await send(alias), /^250 /);
  await page.click("#refresh");
  await page.waitForFunction(() => document.querySelector("#left").textContent === "2 of 3");
  assert.equal(await page.textContent("#used"), "1");

  await page.click("#pause");
  await page.waitForFunction(() => document.querySelector("#state").dataset.state === "paused");
  assert.match(await send(alias), /^550 5\.1\.1 /);
  await page.click("#pause");
  await page.waitForFunction(() => document.querySelector("#state").dataset.state === "active");
  assert.match(await send(alias), /^250 /);

  await page.fill("#uses", "10");
  await page.click("#save");
  await page.waitForFunction(() => document.querySelector("#left").textContent === "8 of 10");
  await page.click("#save");
  assert.equal(await page.getAttribute("#days", "aria-invalid"), "true");

  await page.goto(`${ORIGIN}/mine`);
  await page.waitForSelector(".badge[data-state=active]");
  assert.match(await page.textContent(".row .left"), /^8 messages left, until /);

  await page.click(".row .manage");
  await page.waitForSelector("#found:not([hidden])");
  await page.click("#delete");
  assert.equal(await page.textContent("#delete"), "Really delete");
  await page.click("#keep");
  await page.click("#delete");
  await page.click("#delete");
  await page.waitForSelector("#deleted:not([hidden])");
  assert.match(await send(alias), /^550 5\.1\.1 /);

  await page.reload();
  await page.waitForSelector("#missing:not([hidden])");
  await page.goto(`${ORIGIN}/mine`);
  await page.waitForSelector("#none:not([hidden])");

  assert.ok(urls.length > 10);
  for (const url of urls) assert.ok(!url.includes(MARK), url);
  // The page of an alias that is gone has asked for it, and the browser notes the answer.
  assert.deepEqual(complaints.filter((text) => !text.includes("404")), []);
  await context.close();
});

test("the key in a link is sent as a header and never in a path", async () => {
  const { page, urls, context } = await visitor();
  await create(page);
  const link = await page.getAttribute("#manage", "href");
  const key = link.split(".")[1];
  await page.goto(`${ORIGIN}${link}`);
  await page.waitForSelector("#found:not([hidden])");
  const sent = urls.filter((url) => url.split("#")[0].includes(key));
  assert.deepEqual(sent, []);
  await context.close();
});

test("the list of one's aliases is forgotten on request, and holds no real address", async () => {
  const { page, context } = await visitor();
  const first = await create(page);
  const second = await create(page);
  const stored = await page.evaluate(() => JSON.stringify(localStorage));
  assert.ok(!stored.includes(MARK), stored);
  await page.goto(`${ORIGIN}/mine`);
  const shown = await page.locator(".row .alias").allTextContents();
  assert.deepEqual(shown, [second, first]);
  await page.click(".row >> nth=0 >> .remove");
  assert.deepEqual(await page.locator(".row .alias").allTextContents(), [first]);
  await page.click("#forget");
  await page.click("#forget");
  await page.waitForSelector("#none:not([hidden])");
  assert.equal(await page.evaluate(() => localStorage.length), 0);
  await context.close();
});
