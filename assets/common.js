// What all pages share: texts, dates, what this browser remembers, the API, the branding.

const html = document.documentElement;
const messages = await (await fetch(html.dataset.messages)).json();

/** The language of the page in the visitor's own variety, for dates and numbers. */
const locale = navigator.languages.find((one) => one.split("-")[0] === html.lang) ?? html.lang;
const plural = new Intl.PluralRules(html.lang);
const day = new Intl.DateTimeFormat(locale, { weekday: "long", day: "numeric", month: "long" });
const time = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
const seconds = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });

export const $ = (id) => document.getElementById(id);

/** What links to other pages begin with: the chosen language, or nothing. */
export const base = html.dataset.base;

/** The text for `key`, with `{name}` replaced from `values`. */
export function t(key, values = {}) {
  return (messages[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** As `t`, in the form that goes with the number `n`. */
export function count(key, n) {
  return t(`${key}.${plural.select(n)}`, { n });
}

/** An API sentence in the page's language, if it is among the messages. */
export function translated(sentence) {
  return messages[sentence];
}

/** "Friday, 12 June, 14:00". */
export function instant(date) {
  return `${day.format(date)}, ${time.format(date)}`;
}

/** "14:00:30". */
export function clock(date) {
  return seconds.format(date);
}

/** "after 5 messages or on Friday, 12 June, 14:00", of whichever limits there are. */
export function end(uses, until) {
  const after = uses && count("after", uses);
  const on = until && t("on", { date: instant(until) });
  return after && on ? t("either", { after, on }) : after || on;
}

/** Shows `text` beside the fields and moves there; without text, takes the mark away. */
export function mark(fields, message, text = "") {
  message.textContent = text;
  message.hidden = !text;
  for (const field of fields) {
    if (text) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }
  if (text) fields[0]?.focus();
}

// More days or messages than any server grants; it cuts them to what it does.
const PLENTY = 100_000;

/** The whole number in `field`; null: left empty; NaN: something else. */
export function whole(field) {
  if (field.validity.badInput) return NaN;
  if (field.value === "") return null;
  const number = Number(field.value);
  return Number.isInteger(number) && number >= 1 ? Math.min(number, PLENTY) : NaN;
}

/** Asks the API. `{status, answer, retry}`; status 0 when it cannot be reached. */
export async function ask(method, path, { key, body, once } = {}) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  if (once) headers["Idempotency-Key"] = once;
  try {
    const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    const answer = await response.json().catch(() => null);
    return { status: response.status, answer, retry: Number(response.headers.get("Retry-After")) };
  } catch {
    return { status: 0, answer: null };
  }
}

/** Why a request failed, in the visitor's words. */
export function reason({ status, answer, retry }) {
  if (status === 0) return t("offline");
  if (answer?.error === "rate-limited") {
    return t("slow.down", { time: clock(Date.now() + 1000 * (retry || 1)) });
  }
  if (answer?.error === "rbl-check-failed") return t("listed");
  return translated(answer?.description) ?? (html.lang === "en" && answer?.description) ?? t("nonsense");
}

/** Copies the text of `element`, and says so only when it is true. */
export async function copy(element, button, status) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    const before = button.dataset.text ?? button.textContent;
    button.dataset.text = before;
    button.textContent = t("copied");
    status.textContent = t("copied.long");
    setTimeout(() => { button.textContent = before; }, 4000);
  } catch {
    getSelection().selectAllChildren(element);
    const keys = /Mac|iP/.test(navigator.platform) ? "⌘C" : html.lang === "de" ? "Strg+C" : "Ctrl+C";
    status.textContent = t("selected", { keys });
  }
}

/** A button that asks once more before it acts; true at the second press. */
export function sure(button, key) {
  if (button.dataset.sure) {
    delete button.dataset.sure;
    return true;
  }
  button.dataset.sure = "asked";
  button.textContent = t(key);
  return false;
}

/** What this browser remembers. It may refuse to; then everything works, and is forgotten. */
export const memory = {
  read(name) {
    try {
      return JSON.parse(localStorage.getItem(`tempalias.${name}`));
    } catch {
      return null;
    }
  },
  write(name, value) {
    try {
      localStorage.setItem(`tempalias.${name}`, JSON.stringify(value));
    } catch { /* it has refused */ }
  },
  forget(name) {
    try {
      localStorage.removeItem(`tempalias.${name}`);
    } catch { /* it has refused */ }
  },
};

/** The aliases made in this browser, the newest first. Never their targets. */
export const mine = {
  all: () => memory.read("aliases") ?? [],
  add({ aid, email, updatekey }) {
    const others = mine.all().filter((one) => one.aid !== aid);
    memory.write("aliases", [{ aid, email, key: updatekey }, ...others].slice(0, 200));
  },
  remove: (aid) => memory.write("aliases", mine.all().filter((one) => one.aid !== aid)),
};

/** Where an alias is managed: its key behind the #, which browsers never send. */
export function manageLink(aid, key) {
  return `${base}/manage#${aid}.${key}`;
}

/** What the operator has set; the most that is granted, for one. */
export const site = fetch("/site.json").then((response) => response.json(), () => ({}));

/** Shows what needs a script. */
for (const part of document.querySelectorAll("[data-script]")) part.hidden = false;
for (const link of document.querySelectorAll("nav a")) {
  if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
}
site.then(({ url }) => {
  for (const element of document.querySelectorAll("[data-origin]")) element.textContent = url ?? location.origin;
});
