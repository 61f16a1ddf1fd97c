// The cover gallery. Expects media.js in front of it.

function figure(item, signal) {
  const words = item.caption ? `${item.title}, ${item.caption}` : item.title;
  const picture = make("img", { class: "callboard-cover", alt: words, loading: "lazy", src: item.poster || null });
  const frame = make("div", { class: "callboard-frame" }, picture);
  const status = statusLine();
  const facts = make("span", { class: "callboard-facts" }, item.facts);
  const foot = make("div", { class: "callboard-foot" }, facts);
  route(item, signal).then((found) => {
    if (signal.aborted) return;
    if (found === null) return unreachable(item, status);
    picture.addEventListener("error", () => unreachable(item, status), { signal, once: true });
    picture.src = found.url;
    const open = { href: found.url, target: "_blank", title: "Open in full size", class: "callboard-open" };
    frame.replaceChildren(focusable("a", open, picture));
    foot.append(downloadLink(item, found));
  });
  return make("figure", { class: "callboard-figure" }, frame, make("figcaption", {}, heading(item), status, foot));
}

function render({ model, el }) {
  const ending = new AbortController();
  const items = model.get("items");
  const label = items.length === 1 ? items[0].title : `${items.length} pictures`;
  const section = make("section", { class: "callboard-media callboard-gallery", "aria-label": label });
  section.append(...items.map((item) => figure(item, ending.signal)));
  if (items.length === 0) section.append("No pictures yet.");
  el.append(section);
  return () => ending.abort();
}

export default { render };
