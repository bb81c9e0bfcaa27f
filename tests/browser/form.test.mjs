// The form: what it says, what it remembers, what it does when something is wrong.

import { test } from "node:test";
import assert from "node:assert/strict";
import { MARK, NAMED, ORIGIN, TARGET, create, foreignSite, ready, visitor } from "./kit.mjs";

const focused = (page) => page.evaluate(() => document.activeElement.id);

test("the front page loads little, complains about nothing, and asks nobody else", async () => {
  const { page, urls, complaints, context } = await visitor();
  const session = await context.newCDPSession(page);
  await session.send("Network.enable");
  let octets = 0;
  session.on("Network.loadingFinished", (event) => { octets += event.encodedDataLength; });
  await page.goto(`${ORIGIN}/`, { waitUntil: "networkidle" });
  await ready(page);
  assert.ok(octets > 5_000 && octets < 40_000, `${octets} octets, headers included`);
  assert.deepEqual(urls.filter((url) => url !== "about:blank" && !url.startsWith(ORIGIN)), []);
  assert.deepEqual(complaints, []);
  assert.equal(await page.evaluate(() => document.cookie), "");
  await context.close();
});

test("the sentence follows the limits", async () => {
  const { page, context } = await visitor();
  await page.goto(`${ORIGIN}/`);
  await ready(page);
  const said = () => page.textContent("#ends");
  assert.match(await said(), /^Stops after 5 messages or on \w+,? \d+ \w+, \d\d:\d\d\.$/);
  await page.fill("#days", "");
  assert.equal(await said(), "Stops after 5 messages.");
  await page.fill("#uses", "1");
  assert.equal(await said(), "Stops after 1 message.");
  await page.fill("#uses", "");
  assert.equal(await said(), "");
  await page.fill("#days", "1.5");
  assert.equal(await said(), "");
  await context.close();
});

test("a German visitor reads German, and whoever chooses English keeps it", async () => {
  const { page, context, complaints } = await visitor({ locale: "de-AT" });
  await page.goto(`${ORIGIN}/`);
  await ready(page);
  assert.match(await page.textContent("#ends"), /^Endet nach 5 Nachrichten oder am \w+, \d+\. \p{L}+, \d\d:\d\d\.$/u);
  assert.equal(await page.getAttribute("html", "lang"), "de");
  await page.fill("#target", "niemand");
  await page.click("#create");
  await page.waitForSelector("#target-error:not([hidden])");
  assert.equal(await page.textContent("#target-error"), "Eine Adresse hat genau ein @, wie du@example.com.");
  await page.click("footer [hreflang=en]");
  await page.click("nav >> text=About");
  assert.equal(new URL(page.url()).pathname, "/en/about");
  assert.equal(await page.getAttribute("html", "lang"), "en");
  assert.deepEqual(complaints.filter((text) => !text.includes("400")), []);
  await context.close();
});

test("what is wrong is said beside the field, which gets the focus and keeps its value", async () => {
  const { page, context } = await visitor();
  await page.goto(`${ORIGIN}/`);
  await ready(page);
  const refused = async (field, value, message, text) => {
    await page.fill(field, value);
    await page.click("#create");
    await page.waitForSelector(`${message}:not([hidden])`);
    assert.match(await page.textContent(message), text);
    assert.equal(await focused(page), field.slice(1));
    assert.equal(await page.getAttribute(field, "aria-invalid"), "true");
    assert.equal(await page.inputValue(field), value);
    assert.ok((await page.getAttribute(field, "aria-describedby")).includes(message.slice(1)));
  };
  await refused("#target", "", "#target-error", /^Please enter the address/);
  await refused("#target", "nobody", "#target-error", /exactly one @/);
  await refused("#target", "x@alias.test", "#target-error", /address of this service/);
  await page.fill("#target", TARGET);
  await refused("#days", "0", "#limits-error", /number of days must be a whole number/);
  assert.equal(await page.getAttribute("#target", "aria-invalid"), null);
  await page.fill("#uses", "");
  await refused("#days", "", "#limits-error", /how long the alias lives/);
  await context.close();
});

test("international addresses are not refused by the page", async () => {
  const { page, context } = await visitor();
  await create(page, { target: "someone@bücher.example" });
  assert.match(await page.textContent("#lives"), /someone@xn--bcher-kva\.example/);
  await context.close();
});

test("limits are remembered, the address only when asked, and it can be forgotten", async () => {
  const { page, context } = await visitor();
  await create(page, { days: "7", uses: "2" });
  await page.goto(`${ORIGIN}/`);
  await ready(page);
  assert.deepEqual([await page.inputValue("#days"), await page.inputValue("#uses")], ["7", "2"]);
  assert.equal(await page.inputValue("#target"), "");
  await page.fill("#target", TARGET);
  await page.check("#remember");
  await page.click("#create");
  await page.waitForSelector("#result:not([hidden])");
  await page.goto(`${ORIGIN}/`);
  await ready(page);
  assert.equal(await page.inputValue("#target"), TARGET);
  await page.click("#forget");
  assert.equal(await focused(page), "target");
  assert.ok(!(await page.evaluate(() => JSON.stringify(localStorage))).includes(MARK));
  await page.reload();
  await ready(page);
  assert.equal(await page.inputValue("#target"), "");
  await context.close();
});

test("a browser that remembers nothing still makes aliases", async () => {
  const { page, context } = await visitor();
  await page.addInitScript(() => {
    Object.defineProperty(window, "localStorage", { get() { throw new DOMException("no", "SecurityError"); } });
  });
  assert.match(await create(page), /@alias\.test$/);
  await context.close();
});

test("Copied is said when it is true", async () => {
  const { page, context } = await visitor({ permissions: ["clipboard-read", "clipboard-write"] });
  const alias = await create(page);
  await page.click("#copy");
  await page.waitForFunction(() => document.querySelector("#copy").textContent === "Copied");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), alias);
  assert.match(await page.textContent("#copied"), /^Copied\./);
  assert.equal(await page.getAttribute("#copied", "role"), "status");
  await context.close();
});

test("when the clipboard refuses, the alias is selected and the keys are named", async () => {
  const { page, context } = await visitor();
  await page.addInitScript(() => {
    Clipboard.prototype.writeText = () => Promise.reject(new DOMException("no", "NotAllowedError"));
  });
  const alias = await create(page);
  await page.click("#copy");
  await page.waitForFunction(() => document.querySelector("#copied").textContent);
  assert.equal(await page.textContent("#copied"), "It’s selected: press Ctrl+C to copy it.");
  assert.equal(await page.textContent("#copy"), "Copy");
  assert.equal(await page.evaluate(() => String(getSelection())), alias);
  await context.close();
});

test("Share is there where the browser can share, and shares the alias", async () => {
  const { page, context } = await visitor();
  await page.addInitScript(() => {
    navigator.share = async (what) => { document.title = `shared ${what.text}`; };
  });
  const alias = await create(page);
  await page.click("#share");
  assert.equal(await page.title(), `shared ${alias}`);
  await context.close();
});

test("a lost answer is no lost alias: the request is repeated with the same key", async () => {
  const { page, context } = await visitor();
  await page.goto(`${ORIGIN}/`);
  await ready(page);
  await page.fill("#target", TARGET);
  const keys = [];
  let lose = true;
  await page.route("**/aliases", async (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    if (lose) await route.fetch().then(() => route.abort());
    else await route.continue();
  });
  await page.click("#create");
  await page.waitForSelector("#form-error:not([hidden])");
  assert.match(await page.textContent("#form-error"), /cannot be reached/);
  lose = false;
  await page.click("#create");
  await page.waitForSelector("#result:not([hidden])");
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  await page.click("#another");
  assert.equal(await focused(page), "target");
  await page.click("#create");
  await page.waitForSelector("#result:not([hidden])");
  assert.notEqual(keys[2], keys[0]);
  await context.close();
});

test("a double click is one wish", async () => {
  const { page, context } = await visitor();
  await page.goto(`${ORIGIN}/`);
  await ready(page);
  await page.fill("#target", TARGET);
  let requests = 0;
  page.on("request", (request) => { requests += request.method() === "POST" ? 1 : 0; });
  await page.dblclick("#create");
  await page.waitForSelector("#result:not([hidden])");
  assert.equal(requests, 1);
  await context.close();
});

test("who has to wait is told until when", async () => {
  const { page, context } = await visitor();
  await page.goto(`${ORIGIN}/`);
  await ready(page);
  await page.fill("#target", TARGET);
  await page.route("**/aliases", (route) => route.fulfill({
    status: 429,
    headers: { "Retry-After": "25" },
    json: { error: "rate-limited", description: "You have had an alias just now." },
  }));
  await page.click("#create");
  await page.waitForSelector("#form-error:not([hidden])");
  assert.match(await page.textContent("#form-error"), /next one at \d\d:\d\d:\d\d/);
  assert.equal(await page.inputValue("#target"), TARGET);
  await context.close();
});

test("without a script the form gives an alias, and the address is in no URL", async () => {
  const { page, urls, complaints, context } = await visitor({ javaScriptEnabled: false });
  await page.goto(`${ORIGIN}/`);
  await page.fill("#target", TARGET);
  await page.click("#create");
  assert.equal(await page.locator("h1").textContent(), "Your alias is ready");
  assert.match(await page.locator("output").textContent(), /^[0-9a-z]{6}@alias\.test$/);
  assert.ok(!(await page.content()).includes(MARK));
  for (const url of urls) assert.ok(!url.includes(MARK), url);
  assert.deepEqual(complaints, []);
  await context.close();
});

/** Sends the form at `url` without a script; the status of the answer, and what was said of its origin. */
async function submitted(page, url) {
  await page.goto(url);
  await page.fill("#target", TARGET);
  const [request] = await Promise.all([page.waitForRequest((request) => request.method() === "POST"), page.click("#create")]);
  const response = await request.response();
  await page.waitForLoadState();
  const { origin, "sec-fetch-site": site, host } = await request.allHeaders();
  return { status: response.status(), origin, site, host };
}

test("over plain HTTP, by a name, the form without a script is taken from our own page", async () => {
  const { page, context } = await visitor({ javaScriptEnabled: false });
  const dotted = NAMED.replace("alias.test:", "alias.test.:");
  for (const origin of [NAMED, dotted]) {
    const { host } = new URL(origin);
    assert.deepEqual(await submitted(page, `${origin}/de/`), { status: 201, origin, site: undefined, host });
    assert.match(await page.locator("output").textContent(), /@alias\.test$/);
  }
  await context.close();
});

test("it is taken, too, when a proxy has made the page hide its origin", async () => {
  const { page, context } = await visitor({ javaScriptEnabled: false });
  await page.route((url) => url.origin === NAMED && url.pathname === "/", async (route) => {
    const response = await route.fetch({ url: `${ORIGIN}/` });
    await route.fulfill({ response, headers: { ...response.headers(), "referrer-policy": "no-referrer" } });
  });
  const { status, origin, site } = await submitted(page, `${NAMED}/`);
  assert.deepEqual({ status, origin, site }, { status: 201, origin: "null", site: undefined });
  await context.close();
});

test("another site's page cannot send it", async () => {
  const { page, context } = await visitor({ javaScriptEnabled: false });
  for (const to of [ORIGIN, NAMED]) {
    const form = `<form method="post" action="${to}/aliases"><input name="target" id="target"><input name="days" value="1"><button id="create">`;
    const { status } = await submitted(page, await foreignSite(form, {}));
    assert.equal(status, 403, to);
    assert.equal(await page.locator("h1").count(), 1);
  }
  await context.close();
});
