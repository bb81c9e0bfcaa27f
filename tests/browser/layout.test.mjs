// The layout: what stays together and does not move, and the operator's colour.

import { test } from "node:test";
import assert from "node:assert/strict";
import { ORIGIN, axe, ready, visitor } from "./kit.mjs";

test("words keep together at every width: the menu, the facts, a number and its words", async () => {
  const { page, context } = await visitor();
  const top = (selector) => page.$$eval(selector, (all) => all.map((one) => Math.round(one.getBoundingClientRect().top)));
  for (const width of [320, 360, 390, 500, 600, 700, 1100]) {
    await page.setViewportSize({ width, height: 800 });
    for (const language of ["en", "de"]) {
      await page.goto(`${ORIGIN}/${language}/`, { waitUntil: "domcontentloaded" });
      assert.equal(new Set(await top("nav a")).size, 1, `the menu at ${width}, ${language}`);
      assert.ok([1, 3].includes(new Set(await top(".facts h2")).size), `the facts at ${width}, ${language}`);
      const [[or], [number]] = [await top(".or"), await top("#uses")];
      assert.ok(or > number && or < number + 40, `or at ${width}, ${language}`);
    }
  }
  await context.close();
});

test("nothing jumps when the scripts arrive", async () => {
  for (const width of [320, 390, 1100]) {
    for (const locale of ["en-GB", "de-DE"]) {
      const { page, context } = await visitor({ viewport: { width, height: 800 }, locale });
      let release;
      const released = new Promise((resolve) => { release = resolve; });
      await page.route(/\.js$/, (route) => released.then(() => route.continue()));
      await page.goto(`${ORIGIN}/`, { waitUntil: "commit" });
      await page.waitForFunction(() => document.querySelector("footer") && document.styleSheets.length);
      const position = () => page.$eval("#create", (button) => button.getBoundingClientRect().top);
      const before = await position();
      release();
      await ready(page);
      assert.equal(await position(), before, `${width}, ${locale}`);
      await context.close();
    }
  }
});

test("whatever colour the operator chooses, everything can be read in it", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const { page, context } = await visitor({ colorScheme, reducedMotion: "reduce" });
    for (const path of ["/", "/plugins"]) {
      await page.goto(`${ORIGIN}${path}`, { waitUntil: "networkidle" });
      await page.evaluate(axe);
      for (const colour of ["#ffff00", "#0000ff", "#00ff00", "#ff00ff", "#808080", "#000000", "#ffffff", "#0a7d5a"]) {
        const plain = await page.evaluate((colour) => {
          const html = document.documentElement;
          const accent = () => getComputedStyle(html).getPropertyValue("--paper");
          html.className = "plain";
          const before = accent();
          html.style.setProperty("--operator", colour);
          html.className = "dressed";
          return before === accent();
        }, colour);
        assert.ok(!plain, "the colour changes nothing");
        const { violations } = await page.evaluate(() => axe.run(document, { runOnly: ["color-contrast"] }));
        assert.deepEqual(violations.flatMap((one) => one.nodes.map((node) => node.html)), [], `${colour} on ${path}, ${colorScheme}`);
      }
    }
    await context.close();
  }
});

test("the operator's name, colour, links and domains are there with and without scripts", async () => {
  for (const javaScriptEnabled of [true, false]) {
    const { page, context, complaints } = await visitor({ javaScriptEnabled });
    await page.goto(`${ORIGIN}/`, { waitUntil: "networkidle" });
    assert.equal(await page.textContent(".brand"), "Wegwerf");
    assert.match(await page.title(), /^Wegwerf: /);
    const link = (text) => page.getAttribute(`footer >> text=${text}`, "href");
    assert.equal(await link("Imprint"), "https://example.com/imprint");
    assert.equal(await link("Contact"), "mailto:abuse@example.com");
    assert.equal(await link("Source code"), "https://example.com/source");
    assert.deepEqual(await page.locator("#domain option").allTextContents(), ["alias.test", "second.test"]);
    // The default button is orange: red above all.
    const colour = await page.locator("#create").evaluate((button) => {
      const context = document.createElement("canvas").getContext("2d");
      context.fillStyle = getComputedStyle(button).backgroundColor;
      context.fillRect(0, 0, 1, 1);
      return [...context.getImageData(0, 0, 1, 1).data];
    });
    assert.ok(colour[1] > colour[0], `not green: ${colour}`);
    assert.deepEqual(complaints, []);
    await context.close();
  }
});
