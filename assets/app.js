// The page's behaviour: a client of the public API, like any other.

const DAY = 24 * 60 * 60 * 1000;

// More days or messages than any server grants; it cuts them to what it does.
const PLENTY = 100_000;

const $ = (id) => document.getElementById(id);

const instant = new Intl.DateTimeFormat("en-GB", {
  weekday: "long", day: "numeric", month: "long", hour: "2-digit", minute: "2-digit",
});

/** "after 5 messages or on Friday 12 June at 14:00", of whichever limits there are. */
function end(messages, until) {
  const parts = [];
  if (messages) parts.push(`after ${messages} message${messages === 1 ? "" : "s"}`);
  if (until) parts.push(`on ${instant.format(until)}`);
  return parts.join(" or ") + (parts.length === 2 ? ", whichever comes first" : "");
}

/** The whole number in `field`; null: left empty; NaN: something else. */
function count(field) {
  if (field.validity.badInput) return NaN;
  if (field.value === "") return null;
  const number = Number(field.value);
  return Number.isInteger(number) && number >= 1 ? Math.min(number, PLENTY) : NaN;
}

function showEnd() {
  const [days, messages] = [count($("days")), count($("uses"))];
  const known = !Number.isNaN(days) && !Number.isNaN(messages) && (days || messages);
  const until = days && new Date(Date.now() + days * DAY);
  $("ends").textContent = known ? `Stops ${end(messages, until)}.` : "";
}

/** Shows `text` beside `field` and moves there; without text, takes the mark away. */
function mark(fields, message, text = "") {
  message.textContent = text;
  message.hidden = !text;
  for (const field of fields) {
    if (text) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }
  if (text) fields[0]?.focus();
}

function markTarget(text) {
  mark([$("target")], $("target-error"), text);
}

function markLimits(text, fields = [$("days"), $("uses")]) {
  mark(fields, $("limits-error"), text);
}

function markForm(text) {
  mark([], $("form-error"), text);
}

/** The request for the API, or null when a field needs another look. */
function request() {
  markTarget();
  markLimits();
  markForm();
  const wish = { target: $("target").value.trim() };
  if (!wish.target) {
    markTarget("Please enter the address that messages go to.");
    return null;
  }
  for (const [name, field, what] of [["days", $("days"), "days"], ["max-usage", $("uses"), "messages"]]) {
    const number = count(field);
    if (Number.isNaN(number)) {
      markLimits(`The number of ${what} must be a whole number, 1 or more.`, [field]);
      return null;
    }
    if (number !== null) wish[name] = number;
  }
  if (!wish.days && !wish["max-usage"]) {
    markLimits("Please choose how long the alias lives: days, messages, or both.");
    return null;
  }
  return wish;
}

/** Asks for the alias; what is refused ends as a message where it belongs. */
async function create(wish) {
  let response;
  try {
    response = await fetch("/aliases", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(wish),
    });
  } catch {
    markForm("The server cannot be reached. Please check your connection and try again.");
    return;
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) {
    showResult(answer);
  } else if (answer?.error === "invalid-data") {
    markTarget(answer.description); // the limits have been checked above
  } else {
    markForm(answer?.description ?? "The server gave no usable answer. Please try again later.");
  }
}

function showResult(alias) {
  const until = alias.valid_until && new Date(alias.valid_until);
  $("alias").textContent = alias.email;
  $("lives").textContent = `It forwards to ${alias.target} and stops ${end(alias.max_usage, until)}.`;
  if (alias.clamped.length) $("lives").textContent += " This is the most this server grants.";
  $("place").textContent = `${location.origin}/aliases/${alias.aid}`;
  $("key").textContent = alias.updatekey;
  $("copied").textContent = "";
  $("copy").textContent = "Copy";
  $("ask").hidden = true;
  $("result").hidden = false;
  $("ready").focus();
}

async function copy() {
  try {
    await navigator.clipboard.writeText($("alias").textContent);
    $("copy").textContent = "Copied";
    $("copied").textContent = "Copied. Paste it wherever an address is asked for.";
  } catch {
    getSelection().selectAllChildren($("alias"));
    $("copied").textContent = "It is selected: press Ctrl+C (on a Mac ⌘C) to copy it.";
  }
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = $("create");
  if (button.getAttribute("aria-disabled") === "true") return; // a double click is one wish
  const wish = request();
  if (!wish) return;
  button.setAttribute("aria-disabled", "true");
  await create(wish);
  button.removeAttribute("aria-disabled");
});

$("another").addEventListener("click", () => {
  $("result").hidden = true;
  $("ask").hidden = false;
  showEnd();
  $("target").focus();
});

$("copy").addEventListener("click", copy);
$("days").addEventListener("input", showEnd);
$("uses").addEventListener("input", showEnd);
$("origin").textContent = location.origin;
showEnd();
