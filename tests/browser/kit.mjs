// What the browser tests share: the browser, the appliance that was started for them, a sender of
// mail, a site of somebody else's.
//
// The appliance comes in the environment: ORIGIN (page and API) and SMTP (the MX), as addresses.

import { createServer } from "node:http";
import { connect } from "node:net";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after } from "node:test";
import { chromium } from "playwright-core";

export const ORIGIN = process.env.ORIGIN;

/** Must never be in a URL, in a log, or on somebody else's page. */
export const MARK = "marked.person";
export const TARGET = `${MARK}@mailbox.test`;

/** The appliance once more, as another computer sees it: by a name, over plain HTTP. */
export const NAMED = `http://named.alias.test:${new URL(ORIGIN).port}`;

const QUIET = [
  "--host-resolver-rules=MAP *.alias.test 127.0.0.1, MAP *.alias.test. 127.0.0.1", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

export const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: QUIET });
after(() => browser.close());

/** A fresh visitor: a page, with the URLs it asked for and what it had to complain about. */
export async function visitor(options = {}) {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "Europe/Berlin", ...options });
  const urls = [];
  const complaints = [];
  context.on("request", (request) => urls.push(request.url()));
  const listen = (page) => {
    page.setDefaultTimeout(15_000);
    page.on("framenavigated", (frame) => urls.push(frame.url()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complaints.push(message.text());
    });
  };
  context.on("page", listen);
  const page = await context.newPage();
  return { context, page, urls, complaints };
}

/** Makes an alias by the form; its address. */
export async function create(page, { target = TARGET, days = "3", uses = "5" } = {}) {
  await page.goto(`${ORIGIN}/`);
  await ready(page);
  await page.fill("#target", target);
  await page.fill("#days", days);
  await page.fill("#uses", uses);
  await page.press("#target", "Enter");
  await page.waitForSelector("#result:not([hidden])");
  return page.textContent("#alias");
}

/** Waits until the scripts have taken over. */
export async function ready(page) {
  await page.waitForFunction(() => document.querySelector("#ends")?.textContent);
}

/** Sends a message to `recipient`; the answer to its end, or to the command that was refused. */
export async function send(recipient) {
  const [host, port] = process.env.SMTP.split(":");
  const socket = connect(Number(port), host);
  socket.setEncoding("utf8");
  const lines = lineReader(socket);
  const reply = async () => {
    for (;;) {
      const line = await lines();
      if (line[3] !== "-") return line;
    }
  };
  let answer = await reply();
  const text = `From: shop@client.test\r\nTo: ${recipient}\r\nSubject: Hello\r\n\r\nHello!\r\n.\r\n`;
  for (const command of ["EHLO client.test\r\n", "MAIL FROM:<shop@client.test>\r\n", `RCPT TO:<${recipient}>\r\n`, "DATA\r\n", text]) {
    if (!/^[23]/.test(answer)) break;
    socket.write(command);
    answer = await reply();
  }
  socket.end("QUIT\r\n");
  return answer;
}

function lineReader(socket) {
  const pieces = socket[Symbol.asyncIterator]();
  let buffer = "";
  return async () => {
    while (!buffer.includes("\r\n")) {
      const { value, done } = await pieces.next();
      if (done) throw new Error(`the MX has hung up after ${JSON.stringify(buffer)}`);
      buffer += value;
    }
    const end = buffer.indexOf("\r\n");
    const line = buffer.slice(0, end);
    buffer = buffer.slice(end + 2);
    return line;
  };
}

/** A site of somebody else's that answers with `html` and `headers`; its origin. */
export async function foreignSite(html, headers) {
  const server = createServer((_, response) => {
    response.writeHead(200, { "Content-Type": "text/html; charset=utf-8", ...headers });
    response.end(html);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  after(() => server.close());
  // Another name than ours, so that it is another site and not only another port.
  return `http://localhost:${server.address().port}`;
}
