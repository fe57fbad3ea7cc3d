// Keeps the page current, and copies commands. Without it everything works after a reload.
"use strict";

(() => {
  // The page is fetched again after this time also if nothing changed: it shows durations.
  const REFRESH = 15_000;
  const RETRY = 5_000;
  const TYPING = 150;
  const events = document.body.dataset.events;
  let source = null;
  let isStale = false;
  let isLoading = false;
  let isAskedAgain = false;
  let typing = 0;
  let retry = 0;
  // What had the focus when the page was last fetched.
  let focused = null;

  /** The document at an address, parsed by the browser without running anything in it. */
  function load(address) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("GET", address);
      request.responseType = "document";
      request.timeout = 10_000;
      request.onload = () => {
        // In a cluster: the session has ended, and the same address shows the form to sign in.
        if (request.status === 401 && request.getResponseHeader("www-authenticate")) location.reload();
        request.status === 200 || request.status === 404 ? resolve(request.response) : reject(request.status);
      };
      request.onerror = request.ontimeout = request.onabort = () => reject(0);
      request.send();
    });
  }

  /** What a node is about: it only becomes one about the same. Of those without a key, the first becomes the first of its kind. */
  function keyOf(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return node.nodeName;
    const key = node.id || node.dataset.key || node.getAttribute("aria-labelledby");
    return key ? `=${key}` : node.nodeName;
  }

  /** Whether one can become the other: a link that leads elsewhere is another link, and so is a button that copies something else. */
  function isSame(present, next) {
    if (present.nodeType !== next.nodeType || present.nodeName !== next.nodeName) return false;
    if (present.nodeType !== Node.ELEMENT_NODE) return true;
    return ["href", "data-copy"].every((name) => present.getAttribute(name) === next.getAttribute(name));
  }

  /** Makes `present` like `next` and leaves alone what is the same: focus, selection and scroll positions stay. */
  function morph(present, next) {
    if (!isSame(present, next)) {
      present.replaceWith(document.importNode(next, true));
      return;
    }
    if (present.nodeType !== Node.ELEMENT_NODE) {
      if (present.nodeValue !== next.nodeValue) present.nodeValue = next.nodeValue;
      return;
    }
    // What a person types or chooses is theirs.
    if (present === focused && present.matches("input, select")) return;
    // What a person has opened stays open.
    for (const { name } of [...present.attributes]) if (name !== "open" && !next.hasAttribute(name)) present.removeAttribute(name);
    for (const { name, value } of next.attributes) if (present.getAttribute(name) !== value) present.setAttribute(name, value);
    if (present.matches("input")) present.value = next.value;
    morphChildren(present, next);
    if (present.matches("select")) present.value = next.value;
  }

  /** The same for what is in them: each becomes what has its key, wherever that is. */
  function morphChildren(present, next) {
    const fresh = [...next.childNodes];
    const wanted = new Set(fresh.map(keyOf));
    const known = new Map([...wanted].map((key) => [key, []]));
    for (const child of [...present.childNodes]) wanted.has(keyOf(child)) ? known.get(keyOf(child)).push(child) : child.remove();
    let at = present.firstChild;
    for (const child of fresh) {
      const old = known.get(keyOf(child)).shift();
      // Rather texts are moved than elements, which would lose focus and scroll positions.
      while (old?.nodeType === Node.ELEMENT_NODE && at && at !== old && at.nodeType !== Node.ELEMENT_NODE) at = at.nextSibling;
      if (!old) {
        present.insertBefore(document.importNode(child, true), at);
        continue;
      }
      if (old === at) at = at.nextSibling;
      else present.insertBefore(old, at);
      morph(old, child);
    }
    for (const left of known.values()) left.forEach((child) => child.remove());
  }

  function show(page) {
    focused = document.activeElement;
    morph(document.getElementById("main"), page.getElementById("main"));
    document.title = page.title;
    const at = page.getElementById("at");
    if (at) document.getElementById("at").textContent = at.textContent;
    prepare();
    // What was moved has lost it.
    if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
  }

  /** Fetches the page; once more, if something changed meanwhile, so that many changes do not postpone it for ever. */
  async function refresh() {
    isAskedAgain = isLoading;
    if (isLoading) return;
    isLoading = true;
    clearTimeout(retry);
    try {
      do {
        isAskedAgain = false;
        const address = location.href;
        const page = await load(address);
        if (address === location.href) show(page);
        else isAskedAgain = true;
      } while (isAskedAgain);
      isStale = false;
    } catch {
      isStale = true;
      retry = setTimeout(() => document.hidden || refresh(), RETRY);
    }
    isLoading = false;
    sayWhetherLive();
  }

  function sayWhetherLive() {
    const isConnected = source?.readyState === EventSource.OPEN;
    const problem = !isConnected ? "Not connected." : isStale ? "The page cannot be refreshed." : "";
    const line = document.getElementById("live");
    line.classList.toggle("lost", problem !== "");
    const text = problem ? `${problem} What is shown is from ${document.getElementById("at").textContent}.` : "Live";
    if (line.textContent !== text) line.textContent = text;
  }

  function connect() {
    if (source || document.hidden) return;
    source = new EventSource(events);
    source.addEventListener("connected", () => refresh());
    source.addEventListener("changed", () => refresh());
    source.onerror = () => {
      isStale = true;
      sayWhetherLive();
      // A browser gives up on some errors.
      if (source?.readyState === EventSource.CLOSED) disconnect(), setTimeout(connect, 2000);
    };
  }

  function disconnect() {
    source?.close();
    source = null;
  }

  /** Buttons work only with this script, so it is this script that shows them. */
  function prepare() {
    for (const button of document.querySelectorAll("button.copy[hidden]")) button.hidden = false;
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button.copy");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });

  /** The address of the filter, without what is empty. */
  function filtered(form) {
    const pairs = [...new FormData(form)].filter(([name, value]) => value && !(name === "sort" && value === "state"));
    const query = new URLSearchParams(pairs).toString();
    return query ? `/?${query}` : "/";
  }

  document.addEventListener("input", (event) => {
    const form = event.target.form;
    if (form?.id !== "filter") return;
    clearTimeout(typing);
    typing = setTimeout(() => {
      history.replaceState(null, "", filtered(form));
      refresh();
    }, TYPING);
  });

  document.addEventListener("submit", (event) => {
    if (event.target.id !== "filter") return;
    event.preventDefault();
    history.replaceState(null, "", filtered(event.target));
    refresh();
  });

  // A browser allows six connections to a server: tabs that nobody sees have none.
  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", connect);
  setInterval(() => !document.hidden && (isStale || source) && refresh(), REFRESH);
  prepare();
  connect();
})();
