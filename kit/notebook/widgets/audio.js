// The audio player: the browser's own controls, and a waveform that shows and sets the place. Expects media.js.

const STEP_S = 5;

function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds || 0));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

// Draws the loudnesses as bars; those before `share` of the width are the played ones.
function draw(canvas, peaks, share) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (width === 0 || height === 0) return;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const brush = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  const pitch = Math.max(2, Math.round(3 * ratio));
  const count = Math.floor(width / pitch);
  brush.clearRect(0, 0, width, height);
  for (let i = 0; i < count; i++) {
    const from = Math.floor((i * peaks.length) / count);
    const to = Math.max(from + 1, Math.floor(((i + 1) * peaks.length) / count));
    const loud = Math.max(...peaks.slice(from, to), 0);
    const tall = Math.max(2 * ratio, Math.min(1, loud) * (height - 4 * ratio));
    brush.fillStyle = style.getPropertyValue((i + 0.5) / count <= share ? "--cb-played" : "--cb-wave");
    brush.fillRect(i * pitch, (height - tall) / 2, pitch - Math.max(1, Math.round(ratio)), tall);
  }
  brush.fillStyle = style.getPropertyValue("--cb-head");
  if (share > 0) brush.fillRect(Math.min(width - 2 * ratio, share * width), 0, 2 * ratio, height);
}

function waveform(audio, item, peaks, ending) {
  const canvas = focusable("canvas", {
    class: "callboard-wave", role: "slider", tabindex: "0", "aria-label": `Position in ${item.title}`,
    "aria-valuemin": "0", "aria-valuemax": String(Math.round(item.duration_s || 0)), title: "Click to go there",
  });
  const length = () => (Number.isFinite(audio.duration) ? audio.duration : item.duration_s || 0);
  const show = () => {
    const total = length();
    draw(canvas, peaks, total > 0 ? audio.currentTime / total : 0);
    canvas.setAttribute("aria-valuemax", String(Math.round(total)));
    canvas.setAttribute("aria-valuenow", String(Math.round(audio.currentTime)));
    canvas.setAttribute("aria-valuetext", `${clock(audio.currentTime)} of ${clock(total)}`);
  };
  const go = (seconds) => {
    if (audio.hasAttribute("src")) audio.currentTime = Math.min(Math.max(0, seconds), length());
  };
  const keys = {
    ArrowRight: () => go(audio.currentTime + STEP_S), ArrowUp: () => go(audio.currentTime + STEP_S),
    ArrowLeft: () => go(audio.currentTime - STEP_S), ArrowDown: () => go(audio.currentTime - STEP_S),
    Home: () => go(0), End: () => go(length()),
    " ": () => (audio.paused ? audio.play().catch(() => {}) : audio.pause()),
  };
  const on = (target, name, act) => target.addEventListener(name, act, { signal: ending.signal });
  on(canvas, "pointerdown", (event) => {
    const box = canvas.getBoundingClientRect();
    go(((event.clientX - box.left) / box.width) * length());
  });
  on(canvas, "keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  });
  for (const name of ["timeupdate", "seeking", "seeked", "loadedmetadata", "ended"]) on(audio, name, show);
  follow(audio, show, ending);
  redraw(canvas, show, ending);
  return canvas;
}

// While it plays the line moves with the screen's own beat, unless the person asked for less motion.
function follow(audio, show, ending) {
  let beat = 0;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const step = () => {
    show();
    beat = audio.paused || ending.signal.aborted || still.matches ? 0 : requestAnimationFrame(step);
  };
  audio.addEventListener("play", () => { if (beat === 0) step(); }, { signal: ending.signal });
  ending.signal.addEventListener("abort", () => cancelAnimationFrame(beat));
}

function redraw(canvas, show, ending) {
  const sizes = new ResizeObserver(show);
  sizes.observe(canvas);
  const themes = new MutationObserver(() => setTimeout(show, 200)); // the theme's style sheet follows its name
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "data-jp-theme-light", "class"] });
  ending.signal.addEventListener("abort", () => { sizes.disconnect(); themes.disconnect(); });
}

function render({ model, el }) {
  const item = model.get("item");
  const peaks = model.get("peaks");
  const ending = new AbortController();
  const audio = mediaElement("audio", item, model.get("preload"));
  const status = statusLine();
  const foot = make("footer", { class: "callboard-foot" }, make("span", { class: "callboard-facts" }, item.facts));
  const cover = item.poster ? make("img", { class: "callboard-thumb", src: item.poster, alt: "" }) : null;
  const wave = peaks.length > 0 ? waveform(audio, item, peaks, ending) : null;
  const top = make("div", { class: "callboard-row" }, cover, make("div", { class: "callboard-column" }, heading(item), wave));
  el.append(make("section", { class: "callboard-media", "aria-label": item.title }, top, audio, status, foot));

  audio.addEventListener("error", () => unreachable(item, status, audio), { signal: ending.signal });
  route(item, ending.signal).then((found) => {
    if (ending.signal.aborted) return;
    if (found === null) return unreachable(item, status, audio);
    audio.src = found.url;
    foot.append(downloadLink(item, found));
  });
  return () => {
    ending.abort();
    release(audio);
  };
}

export default { render };
