// Shared by the widgets and joined in front of each: where a saved file can be had from, and the parts of a card.
// Words that came from a provider reach the page as textContent or as attributes, never as markup.

const PROBE_MS = 4000;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

// Without this, JupyterLab takes keys from a focused player: pressing d twice would delete the cell.
function focusable(tag, attributes, ...children) {
  return make(tag, { "data-lm-suppress-shortcuts": "true", ...attributes }, ...children);
}

function pageConfig() {
  try {
    return JSON.parse(document.getElementById("jupyter-config-data").textContent);
  } catch {
    return null; // not a Jupyter page: VS Code, Colab, an export
  }
}

// Each way to write the file's path as "under some folder": the server's own root first, then from the top down.
function pathsUnderRoots(path, serverRoot) {
  const parts = path.split("/");
  const ways = [];
  for (let i = 1; i < parts.length; i++) {
    const way = { folder: parts.slice(0, i).join("/"), rest: parts.slice(i).map(encodeURIComponent).join("/") };
    if (serverRoot !== null && way.folder === serverRoot) ways.unshift(way);
    else ways.push(way);
  }
  return ways.map((way) => way.rest);
}

function candidates(item) {
  const page = pageConfig();
  const found = [];
  if (page !== null && typeof page.baseUrl === "string") {
    let root = typeof page.serverRoot === "string" ? page.serverRoot.replace(/\/+$/, "") : null;
    if (root !== null && item.home) root = root.replace(/^~(?=\/|$)/, item.home);
    for (const rest of pathsUnderRoots(item.path, root)) {
      found.push({ route: "files", url: new URL(`${page.baseUrl}files/${rest}`, location.href).href });
    }
  }
  if (item.loopback_url) found.push({ route: "loopback", url: item.loopback_url });
  return found;
}

async function ask(url, options, signal) {
  const limit = new AbortController();
  const stop = () => limit.abort();
  const timer = setTimeout(stop, PROBE_MS);
  signal.addEventListener("abort", stop);
  try {
    const answer = await fetch(url, { ...options, cache: "no-store", signal: limit.signal });
    void answer.body?.cancel();
    return answer.ok && !answer.redirected ? answer.headers : null; // a login page answers by redirection
  } catch {
    return null; // refused, not there, not allowed here: all mean the next candidate
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}

async function answers(url, bytes, signal) {
  const head = await ask(url, { method: "HEAD" }, signal);
  if (head !== null && head.has("content-length") && !head.has("content-encoding")) {
    return Number(head.get("content-length")) === bytes;
  }
  if (head === null && signal.aborted) return false;
  const part = await ask(url, { headers: { Range: "bytes=0-0" } }, signal);
  return part !== null && (part.get("content-range") ?? "").endsWith(`/${bytes}`);
}

// The first address that answers with the file's own size; null where this browser reaches none.
async function route(item, signal) {
  if (item.missing) return null;
  for (const candidate of candidates(item)) {
    if (signal.aborted) return null;
    if (await answers(candidate.url, item.bytes, signal)) return candidate;
  }
  return null;
}

function heading(item) {
  return make(
    "header",
    { class: "callboard-head" },
    make("span", { class: "callboard-title" }, item.title),
    item.caption ? make("span", { class: "callboard-caption" }, item.caption) : null,
  );
}

// Shows what a person should know and otherwise takes no room.
function statusLine() {
  return make("p", { class: "callboard-status", role: "status", "aria-live": "polite" });
}

// A player without its file is a promise nobody keeps: its poster takes its place, and the path is given in words.
function unreachable(item, status, media = null) {
  const why = item.missing
    ? "File missing. It was here when it was saved: "
    : item.changed
    ? "File changed since it was saved; session.verify() has it fetched again: "
    : "This browser cannot reach the file. It is kept at ";
  status.replaceChildren(why, make("code", {}, item.shown_path));
  if (media === null) return;
  const poster = media.tagName === "VIDEO" && item.poster ? item.poster : null;
  if (poster === null) media.hidden = true;
  else media.replaceWith(make("img", { class: "callboard-still", alt: item.title, src: poster }));
}

function downloadLink(item, found) {
  const label = `Download ${item.download_name}`;
  const link = focusable("a", { class: "callboard-button", title: label, "aria-label": label }, "Download");
  // Another origin ignores the download attribute; the service sends the file as an attachment when asked to.
  link.href = found.route === "loopback" ? `${found.url}${found.url.includes("?") ? "&" : "?"}download=1` : found.url;
  link.download = item.download_name;
  return link;
}

function mediaElement(tag, item, preload) {
  const label = item.caption ? `${item.title}, ${item.caption}` : item.title;
  return focusable(tag, { controls: true, preload, "aria-label": label, class: `callboard-${tag}` });
}

// A media element that is only taken out of the page goes on loading and playing.
function release(media) {
  media.pause();
  media.removeAttribute("src");
  media.load();
}
