// Keeps the page current, and copies commands. Without it everything works after a reload.
"use strict";

(() => {
  // The page is fetched again after this time also if nothing changed: it shows durations.
  const REFRESH = 15_000;
  const TYPING = 150;
  const events = document.body.dataset.events;
  let source = null;
  let isStale = false;
  let isLoading = false;
  let isAskedAgain = false;
  let typing = 0;

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

  /** Makes `present` like `next` and leaves alone what is the same: focus, selection and scroll positions stay. */
  function morph(present, next) {
    if (present.nodeType !== next.nodeType || present.nodeName !== next.nodeName) {
      present.replaceWith(document.importNode(next, true));
      return;
    }
    if (present.nodeType !== Node.ELEMENT_NODE) {
      if (present.nodeValue !== next.nodeValue) present.nodeValue = next.nodeValue;
      return;
    }
    // What a person types or chooses is theirs.
    if (present === document.activeElement && present.matches("input, select")) return;
    // What a person has opened stays open.
    for (const { name } of [...present.attributes]) if (name !== "open" && !next.hasAttribute(name)) present.removeAttribute(name);
    for (const { name, value } of next.attributes) if (present.getAttribute(name) !== value) present.setAttribute(name, value);
    if (present.matches("input")) present.value = next.value;
    const old = [...present.childNodes];
    const fresh = [...next.childNodes];
    fresh.forEach((child, at) => (at < old.length ? morph(old[at], child) : present.append(document.importNode(child, true))));
    old.slice(fresh.length).forEach((child) => child.remove());
    if (present.matches("select")) present.value = next.value;
  }

  function show(page) {
    morph(document.getElementById("main"), page.getElementById("main"));
    document.title = page.title;
    const at = page.getElementById("at");
    if (at) {
      document.getElementById("at").textContent = at.textContent;
      document.getElementById("live").dataset.lost = page.getElementById("live").dataset.lost;
    }
    prepare();
  }

  /** Fetches the page; once more, if something changed meanwhile, so that many changes do not postpone it for ever. */
  async function refresh() {
    isAskedAgain = isLoading;
    if (isLoading) return;
    isLoading = true;
    try {
      do {
        isAskedAgain = false;
        const address = location.href;
        const page = await load(address);
        if (address === location.href) show(page);
        else isAskedAgain = true;
      } while (isAskedAgain);
      isStale = false;
      live(true);
    } catch {
      isStale = true;
    }
    isLoading = false;
  }

  function live(isLive) {
    const line = document.getElementById("live");
    line.classList.toggle("lost", !isLive);
    const text = isLive ? "Live" : line.dataset.lost;
    if (line.textContent !== text) line.textContent = text;
  }

  function connect() {
    if (source || document.hidden) return;
    source = new EventSource(events);
    source.addEventListener("connected", () => refresh());
    source.addEventListener("changed", () => refresh());
    source.onerror = () => {
      live(false);
      isStale = true;
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
