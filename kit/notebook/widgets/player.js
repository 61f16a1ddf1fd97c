// The video player. Expects media.js in front of it.

function render({ model, el }) {
  const item = model.get("item");
  const ending = new AbortController();
  const video = mediaElement("video", item, model.get("preload"));
  if (item.poster) video.poster = item.poster;
  if (item.width && item.height) video.style.aspectRatio = `${item.width} / ${item.height}`;
  const status = statusLine();
  const foot = make("footer", { class: "callboard-foot" }, make("span", { class: "callboard-facts" }, item.facts));
  el.append(make("section", { class: "callboard-media", "aria-label": item.title }, heading(item), video, status, foot));

  const on = (name, act) => video.addEventListener(name, act, { signal: ending.signal });
  on("error", () => unreachable(item, status, video));
  on("loadedmetadata", () => {
    if (video.videoWidth === 0) status.textContent = "This browser plays the sound only: it lacks the video's codec.";
  });
  route(item, ending.signal).then((found) => {
    if (ending.signal.aborted) return;
    if (found === null) return unreachable(item, status, video);
    video.src = found.url;
    foot.append(downloadLink(item, found));
  });
  return () => {
    ending.abort();
    release(video);
  };
}

export default { render };
