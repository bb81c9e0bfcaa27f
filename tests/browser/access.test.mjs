// Access: axe on every page, narrow screens, the keyboard.

import { test } from "node:test";
import assert from "node:assert/strict";
import { ORIGIN, TARGET, axe, create, ready, visitor } from "./kit.mjs";

const PAGES = ["/", "/mine", "/manage", "/about", "/privacy", "/plugins", "/fill", "/nothing", "/de/"];
const RULES = { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] };

/** What axe finds, in a line each. */
async function findings(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate((rules) => axe.run(document, rules), RULES);
  return violations.map((one) => `${one.impact} ${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`);
}

/** From now on pages are as a browser without scripts shows them. axe itself is one, and could not
    run there. */
function withoutScripts(page) {
  return page.route((url) => url.origin === ORIGIN, async (route) => {
    if (route.request().resourceType() === "script") return route.abort();
    if (route.request().resourceType() !== "document") return route.continue();
    const response = await route.fetch();
    const html = (await response.text()).replace(/<script .*?<\/script>|<link rel="modulepreload".*?>/g, "");
    return route.fulfill({ response, body: html.replace(/(<\/?)noscript>/g, "$1div>") });
  });
}

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing on any page, ${colorScheme}`, async () => {
    const { page, context } = await visitor({ colorScheme, reducedMotion: "reduce" });
    for (const path of PAGES) {
      await page.goto(`${ORIGIN}${path}`, { waitUntil: "networkidle" });
      assert.deepEqual(await findings(page), [], path);
    }
    await context.close();
  });

  test(`axe finds nothing on any page without scripts, ${colorScheme}`, async () => {
    const { page, context } = await visitor({ colorScheme, reducedMotion: "reduce" });
    await withoutScripts(page);
    for (const path of PAGES) {
      await page.goto(`${ORIGIN}${path}`);
      assert.deepEqual(await findings(page), [], path);
    }
    const off = await visitor({ javaScriptEnabled: false });
    for (const target of [TARGET, "nobody@alias.test"]) {
      await off.page.goto(`${ORIGIN}/`);
      await off.page.fill("#target", target);
      await off.page.click("#create");
      const heading = await off.page.locator("h1").textContent();
      const body = (await off.page.content()).replace(/<script .*?<\/script>/g, "");
      await page.route(`${ORIGIN}/answer`, (route) => route.fulfill({ body, contentType: "text/html" }), { times: 1 });
      await page.goto(`${ORIGIN}/answer`);
      assert.deepEqual(await findings(page), [], heading);
    }
    await off.context.close();
    await context.close();
  });

  test(`axe finds nothing in each state of form, result and management, ${colorScheme}`, async () => {
    const { page, context } = await visitor({ colorScheme, reducedMotion: "reduce" });
    await page.goto(`${ORIGIN}/`);
    await ready(page);
    await page.fill("#target", "nobody");
    await page.click("#create");
    await page.waitForSelector("#target-error:not([hidden])");
    assert.deepEqual(await findings(page), [], "an error");
    await create(page);
    assert.deepEqual(await findings(page), [], "the result");
    const link = await page.getAttribute("#manage", "href");
    await page.goto(`${ORIGIN}/mine`, { waitUntil: "networkidle" });
    assert.deepEqual(await findings(page), [], "the list");
    await page.goto(`${ORIGIN}${link}`);
    await page.waitForSelector("#found:not([hidden])");
    assert.deepEqual(await findings(page), [], "management");
    await page.click("#delete");
    assert.deepEqual(await findings(page), [], "before it is deleted");
    await context.close();
  });
}

test("nothing is cut off or scrolls sideways at 320 pixels, which is also 1280 at 400 %", async () => {
  const { page, context } = await visitor({ viewport: { width: 320, height: 640 } });
  const wide = () => page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    const out = [...document.querySelectorAll("body *")].filter((element) => {
      const box = element.getBoundingClientRect();
      return box.width && box.height && box.right > width + 1 && !element.closest("pre, .skip");
    });
    return [document.documentElement.scrollWidth - width, ...out.map((element) => element.outerHTML.slice(0, 80))];
  });
  for (const language of ["en", "de"]) {
    for (const path of ["/", "/mine", "/manage", "/about", "/privacy", "/plugins", "/fill"]) {
      await page.goto(`${ORIGIN}/${language}${path}`, { waitUntil: "networkidle" });
      assert.deepEqual(await wide(), [0], `${language}${path}`);
    }
  }
  await create(page);
  assert.deepEqual(await wide(), [0], "the result");
  await page.goto(`${ORIGIN}${await page.getAttribute("#manage", "href")}`);
  await page.waitForSelector("#found:not([hidden])");
  assert.deepEqual(await wide(), [0], "management");
  await context.close();
});

test("an alias can be made and copied with the keyboard alone, and the focus is seen", async () => {
  const { page, context } = await visitor({ permissions: ["clipboard-read", "clipboard-write"] });
  await page.goto(`${ORIGIN}/`);
  await ready(page);
  const tabTo = async (id) => {
    for (let steps = 0; steps < 30; steps += 1) {
      await page.keyboard.press("Tab");
      if (await page.evaluate((id) => document.activeElement.id === id, id)) return;
    }
    assert.fail(`${id} cannot be reached`);
  };
  await page.keyboard.press("Tab");
  assert.equal(await page.textContent(":focus"), "Skip to the content");
  await tabTo("target");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid");
  await page.keyboard.type(TARGET);
  await tabTo("create");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#result:not([hidden])");
  await tabTo("copy");
  await page.keyboard.press("Space");
  await page.waitForFunction(() => document.querySelector("#copy").textContent === "Copied");
  await context.close();
});

test("who wants less motion gets none", async () => {
  const { page, context } = await visitor({ reducedMotion: "reduce" });
  await page.goto(`${ORIGIN}/`);
  const moving = await page.evaluate(() => document.getAnimations().length);
  assert.equal(moving, 0);
  await context.close();
});

test("everything to be pressed is at least 24 pixels high and wide", async () => {
  const { page, context } = await visitor({ viewport: { width: 390, height: 800 } });
  await create(page);
  const small = await page.evaluate(() => [...document.querySelectorAll("button, .button, input, select, summary, nav a, footer a")]
    .map((element) => [element, element.getBoundingClientRect()])
    .filter(([element, box]) => box.width && (box.height < 24 || box.width < 24) && element.type !== "checkbox")
    .map(([element]) => element.outerHTML.slice(0, 80)));
  assert.deepEqual(small, []);
  await context.close();
});
