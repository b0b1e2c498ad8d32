// Small comforts on top of pages that work without them. No globals, no inline handlers: the pages'
// content security policy forbids both.
(() => {
  "use strict";
  const all = (selector, root = document) => root.querySelectorAll(selector);

  // The hub tells scripts of its own pages from those of others by this.
  const proof = () => ({ "X-XSRFToken": document.body.dataset.xsrf ?? "" });

  // Buttons that only make sense with scripting are in the page, hidden.
  const reveal = (root) => all("[data-reveal][hidden], [data-copy][hidden], [data-insert][hidden], [data-select-all][hidden]", root).forEach((el) => { el.hidden = false; });

  function togglePassword(button) {
    const input = document.getElementById(button.dataset.reveal);
    const shown = input.type === "text";
    input.type = shown ? "password" : "text";
    button.setAttribute("aria-pressed", String(!shown));
    button.textContent = shown ? "Show" : "Hide";
  }

  async function copy(button) {
    const input = document.getElementById(button.dataset.copy);
    input.select();
    try {
      await navigator.clipboard.writeText(input.value);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Press Ctrl+C";  // no clipboard without https; the text is selected
    }
  }

  // A line of a reference into the field beside it, once.
  function insert(button) {
    const field = document.getElementById(button.dataset.into);
    const lines = field.value.split("\n").map((line) => line.trim()).filter(Boolean);
    if (!lines.includes(button.dataset.insert)) lines.push(button.dataset.insert);
    field.value = `${lines.join("\n")}\n`;
  }

  function countSelected() {
    const count = document.querySelector("[data-bulk-count]");
    if (!count) return;
    const selected = all("input[name=users]:checked").length;
    count.textContent = selected ? `${selected} selected` : "";
    all("[data-bulk] button").forEach((button) => { button.disabled = selected === 0; });
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-reveal], [data-copy], [data-insert]");
    if (button?.dataset.reveal) togglePassword(button);
    if (button?.dataset.copy) copy(button);
    if (button?.dataset.insert) insert(button);
    all("details.menu[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = event.target.closest("details.menu[open]");
    if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
  });
  document.addEventListener("change", (event) => {
    const master = event.target.closest("[data-select-all]");
    if (master) all(`input[name="${master.dataset.selectAll}"]`).forEach((box) => { box.checked = master.checked; });
    countSelected();
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const question = event.submitter?.dataset.confirm ?? form.dataset.confirm;
    if (question && !window.confirm(question)) { event.preventDefault(); return; }
    const button = form.dataset.busy && form.querySelector("button[type=submit]");
    // After this turn: a disabled button would not be sent with the form.
    if (button) setTimeout(() => { button.disabled = true; button.textContent = form.dataset.busy; });
  });
  // Back from a half-sent form out of the browser's page cache.
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  // Reloading into a proxy's "the hub is away" would leave the person there.
  async function reloadWhenUp() {
    try {
      const { status } = await fetch(location.href, { method: "HEAD", headers: proof() });
      if (status < 502 || status > 504) { location.reload(); return; }
    } catch {
      // no network: look again
    }
    setTimeout(reloadWhenUp, 2000);
  }

  function followProgress(panel) {
    const bar = document.getElementById("progress-bar");
    const message = document.getElementById("progress-message");
    const log = document.getElementById("progress-log");
    const details = document.getElementById("progress-details");
    let source;
    let finished = false;
    const done = () => { finished = true; source.close(); };
    const add = (event) => {
      if (event.progress !== undefined) bar.value = event.progress;
      if (!event.message) return;
      message.textContent = event.message;
      const line = document.createElement("li");
      line.textContent = event.message;
      log.append(line);
      log.scrollTop = log.scrollHeight;
      details.hidden = false;
    };
    const open = () => {
      source = new EventSource(panel.dataset.progressUrl);
      // The stream tells everything from the first event on, whenever it is opened.
      source.onopen = () => log.replaceChildren();
      source.onmessage = (frame) => {
        const event = JSON.parse(frame.data);
        add(event);
        // This page knows where to go on: its redirect is held until the proxy has the server's route.
        if (event.ready || event.failed) { done(); location.reload(); }
      };
      // A closed stream (logged out, already over, hub restarting): the page itself says what is the case.
      source.onerror = () => {
        if (finished || source.readyState !== EventSource.CLOSED) return;
        done();
        setTimeout(reloadWhenUp, 2000);
      };
    };
    open();
    window.addEventListener("pagehide", done);
    // The end of the stream would reload the page, over the answer to the Cancel button.
    panel.addEventListener("submit", done);
  }

  // The page of a stop: looks every other second whether it still says the same.
  async function watchForChange(panel) {
    try {
      const response = await fetch(location.href, { headers: proof() });
      const away = response.status >= 502 && response.status <= 504;
      if (!away && !(await response.text()).includes("data-refresh=")) { location.reload(); return; }
    } catch {
      // The hub restarts or the network is gone: look again.
    }
    setTimeout(watchForChange, panel.dataset.refresh * 1000, panel);
  }

  // Screen readers hear what a swap changed: a live region has to be there before its text.
  function announce() {
    const live = document.getElementById("live");
    if (!live) return;
    const said = [...all("[data-announce]")].map((el) => el.textContent.trim().replace(/\s+/g, " ")).join(", ");
    if (live.dataset.before !== undefined && live.dataset.before !== said) live.textContent = said;
    live.dataset.before = said;
  }

  // The end of a log is what tells.
  document.addEventListener("toggle", (event) => {
    if (event.target.open) all("pre, ol", event.target).forEach((el) => { el.scrollTop = el.scrollHeight; });
  }, true);

  // An error page has no place inside a list; the next refresh, or a reload, shows what is the case.
  document.addEventListener("htmx:before:response", (event) => {
    if (event.detail.ctx.response.status >= 400) event.preventDefault();
  });
  // A list that refreshes itself must not take a selection or an open menu from under somebody's hand.
  document.addEventListener("htmx:before:request", (event) => {
    const busy = document.querySelector("#results input[name=users]:checked, #results details[open]");
    if (event.detail.ctx.sourceElement.id === "results" && busy) event.preventDefault();
    Object.assign(event.detail.ctx.request.headers, proof());
  });

  reveal(document);
  countSelected();
  announce();
  all("details[open] pre").forEach((el) => { el.scrollTop = el.scrollHeight; });
  const refreshing = document.querySelector("[data-refresh]");
  if (refreshing) setTimeout(watchForChange, refreshing.dataset.refresh * 1000, refreshing);
  const starting = document.getElementById("starting");
  if (starting) followProgress(starting);
  document.addEventListener("htmx:after:swap", () => { reveal(document); countSelected(); announce(); });
})();
