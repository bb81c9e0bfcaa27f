// The bookmarklet. It runs inside the page that a visitor is on, so it holds no address, asks
// no server, leaves no global behind and touches nothing of the page but the one field. A window
// of our own origin makes the alias; whatever this page does, all it can learn is that alias.
// Comments on lines of their own are taken out; "{origin}", "{help}" and "{end}" are filled in.
(() => {
  "use strict";
  const origin = "{origin}";
  const mark = "tempalias-bookmarklet";
  const fields = "input:not([type]),input[type=text i],input[type=email i],input[type=search i],textarea";

  // Chosen again: end the one that is running.
  const running = document.querySelector(mark);
  if (running) return running.remove();

  // A closed shadow root: the page's styles stay out, and ours stay in.
  const host = document.createElement(mark);
  const root = host.attachShadow({ mode: "closed" });
  const part = (name, css) => {
    const element = document.createElement(name);
    element.style.cssText = `all:initial;box-sizing:border-box;font:15px/1.4 system-ui,sans-serif;${css}`;
    return element;
  };
  const frame = part("div", "display:none;position:fixed;z-index:2147483647;pointer-events:none;border:3px solid #e8590c;border-radius:6px;box-shadow:0 0 0 4px #e8590c55");
  const box = part("div", "position:fixed;z-index:2147483647;top:12px;right:12px;max-width:calc(100vw - 24px);padding:12px 14px;border-radius:10px;background:#26222b;color:#fff;box-shadow:0 8px 30px #0006");
  const help = part("span", "color:#fff");
  const stop = part("button", "margin-left:12px;padding:6px 12px;border-radius:6px;background:#ffb583;color:#2a1204;font-weight:600;cursor:pointer");
  help.textContent = "{help}";
  stop.textContent = "{end}";
  box.setAttribute("role", "status");
  box.append(help, stop);
  root.append(frame, box);
  document.documentElement.append(host);

  const over = new AbortController();
  const on = (name, act) => addEventListener(name, (event) => {
    if (host.isConnected) act(event);
    else over.abort();
  }, { capture: true, signal: over.signal });
  const end = () => {
    over.abort();
    host.remove();
  };
  const field = (event) => {
    const [element] = event.composedPath();
    return element.matches?.(fields) && !element.disabled && !element.readOnly ? element : null;
  };
  const light = (event) => {
    const found = field(event);
    frame.style.display = found ? "block" : "none";
    if (!found) return;
    const { left, top, width, height } = found.getBoundingClientRect();
    Object.assign(frame.style, { left: `${left - 4}px`, top: `${top - 4}px`, width: `${width + 8}px`, height: `${height + 8}px` });
  };

  // As if it had been typed: pages that keep values themselves listen for this.
  const fill = (element, text) => {
    const prototype = element.localName === "textarea" ? HTMLTextAreaElement : HTMLInputElement;
    Object.getOwnPropertyDescriptor(prototype.prototype, "value").set.call(element, text);
    for (const name of ["input", "change"]) element.dispatchEvent(new Event(name, { bubbles: true }));
    element.focus();
  };

  const pick = (event, element) => {
    event.preventDefault();
    event.stopImmediatePropagation();
    const child = open(`${origin}/fill#${encodeURIComponent(location.origin)}`, "_blank", "popup,width=480,height=720");
    if (!child) return;
    on("message", (message) => {
      if (message.origin !== origin || message.source !== child) return;
      message.stopImmediatePropagation();
      fill(element, String(message.data));
      child.postMessage("filled", origin);
      end();
    });
  };

  on("pointerover", light);
  on("focusin", light);
  on("scroll", () => { frame.style.display = "none"; });
  on("click", (event) => {
    const found = field(event);
    if (found) pick(event, found);
  });
  on("keydown", (event) => {
    if (event.key === "Escape") end();
    else if (event.key === "Enter" && field(event)) pick(event, field(event));
  });
  stop.addEventListener("click", end);
})();
