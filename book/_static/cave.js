/* The book's moving parts: one file for every widget, film and player.

In the built book each page loads this file; a notebook that is opened elsewhere carries
its text along (caveman.py puts it into each output, _ext/pages.py takes it out of the
built pages). Nothing is fetched, and nothing moves before somebody presses Play.

Every widget is a function of an id, the id of its box, and of data that Python computed.
*/
window.Cave = window.Cave || (() => {
"use strict";

const PAPER = "#fcf7eb", SANS = "Seravek, 'Segoe UI', Ubuntu, 'Noto Sans', 'DejaVu Sans', sans-serif";

/* ------------------------------------------------------------------ what all share */

/* Call f when the page turns from light to dark; for printing it turns light, see below. */
function onTheme(f) {
  new MutationObserver(f).observe(document.documentElement,
    {attributes: true, attributeFilter: ["data-theme"]});
}

/* The context of a canvas, in CSS pixels, sharp on every screen. The drawing keeps the
   size that the canvas asks for, or, where fluid, follows the width that the page gives:
   then letters keep their size on a phone. flat: its height stays. */
function surface(element, fluid = false, flat = false) {
  const asked = {w: +element.getAttribute("width"), h: +element.getAttribute("height")};
  const c = element.getContext("2d"), own = {c, ...asked};
  own.blank = () => {
    const k = Math.max(1, window.devicePixelRatio || 1), real = element.clientWidth;
    if (fluid && real > 0) { own.w = real; own.h = flat ? asked.h : Math.round(real * asked.h / asked.w); }
    const wide = Math.round(own.w * k), high = Math.round(own.h * k);
    if (element.width !== wide || element.height !== high) {
      element.width = wide; element.height = high; }
    c.setTransform(k, 0, 0, k, 0, 0);
    c.clearRect(0, 0, own.w, own.h);
  };
  return own;
}

/* Draw again when a box gets another width, as in a folded cell that is opened. */
function onResize(element, f) {
  let was = element.clientWidth;
  new ResizeObserver(() => {
    if (element.clientWidth !== was) { was = element.clientWidth; f(); } }).observe(element);
}

/* A Play button and the slider that it pushes. */
function transport(button, range, fps, frame) {
  let timer = null;
  function stop() {
    clearInterval(timer); timer = null;
    button.textContent = "Play"; button.setAttribute("aria-pressed", "false");
  }
  button.onclick = () => {
    if (timer) return stop();
    if (+range.value >= +range.max) { range.value = 0; frame(); }
    button.textContent = "Pause"; button.setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      if (+range.value >= +range.max) return stop();
      range.value = +range.value + 1; frame();
    }, 1000 / fps);
  };
  range.oninput = frame;
  return stop;
}

const open = (id, colors) => {
  const box = document.getElementById(id);
  return {box, colors, ink: () => getComputedStyle(box).color};
};

/* A widget of a chapter's own: script sees its box, data, colours and the page's ink. */
function widget(id, data, colors, script) {
  const {box, ink} = open(id, colors);
  script(box, data, colors, ink, onTheme);
}

/* A drawing that follows sliders. */
function movable(id, data, colors, paint) {
  const {box, ink} = open(id, colors), s = surface(box.querySelector("canvas"));
  function draw() {
    const v = {};
    for (const x of box.querySelectorAll("input")) {
      v[x.name] = +x.value; x.nextElementSibling.textContent = x.value; }
    s.blank(); s.c.save();
    box.querySelector("[aria-live]").textContent = paint(v, s.c, s.w, s.h, ink, colors, data) || "";
    s.c.restore();
  }
  box.addEventListener("input", draw); onTheme(draw); draw();
}

/* --------------------------------------------------------------- carts and pendulums */

/* Each draws one frame f, a list of numbers, on c, w by h CSS pixels. */
const DRAW = {
  /* f: cart position, pole angle. Beyond 12 degrees, where the task ends, it has fallen. */
  cartpole(c, f, w, h, ink, color) {
    const s = w / 5.2, x = w / 2 + f[0] * s, y = h * 0.82, L = s;
    c.strokeStyle = ink; c.lineWidth = 1; c.beginPath(); c.moveTo(0, y); c.lineTo(w, y); c.stroke();
    for (const e of [-2.4, 2.4]) {
      c.beginPath(); c.moveTo(w / 2 + e * s, y - 8); c.lineTo(w / 2 + e * s, y + 8); c.stroke(); }
    c.fillStyle = color; c.fillRect(x - s * .25, y - s * .3, s * .5, s * .24);
    c.fillStyle = ink;
    for (const d of [-.13, .13]) { c.beginPath(); c.arc(x + d * s, y - s * .05, s * .05, 0, 7); c.fill(); }
    c.strokeStyle = ink; c.lineWidth = Math.max(4, s * .09); c.lineCap = "round"; c.beginPath();
    c.moveTo(x, y - s * .28);
    c.lineTo(x + L * Math.sin(f[1]), y - s * .28 - L * Math.cos(f[1])); c.stroke();
  },
  /* f: angle from upright, torque. */
  pendulum(c, f, w, h, ink, color) {
    const R = Math.min(w, h) * .4, x = w / 2, y = h / 2;
    c.strokeStyle = ink; c.globalAlpha = .25; c.lineWidth = 1; c.beginPath(); c.arc(x, y, R, 0, 7); c.stroke();
    c.globalAlpha = 1; c.strokeStyle = color; c.lineWidth = 9; c.lineCap = "round"; c.beginPath();
    c.moveTo(x, y); c.lineTo(x - R * Math.sin(f[0]), y - R * Math.cos(f[0])); c.stroke();
    c.fillStyle = ink; c.beginPath(); c.arc(x, y, 4, 0, 7); c.fill();
    if (f.length > 1) { c.globalAlpha = .25; c.fillRect(w / 2, h - 10, -f[1] / 2 * w * .45, 8); c.globalAlpha = 1; }
  },
};

/* Frames with a slider. paint draws one; or data.draw names an entry of DRAW. */
function player(id, data, colors, paint) {
  const {box, ink} = open(id, colors), s = surface(box.querySelector("canvas"), data.fluid);
  const b = box.querySelector("button"), r = box.querySelector("input"), o = box.querySelector("output");
  const draw = paint || ((f, ink, c, w, h, color) => DRAW[data.draw](c, f, w, h, ink, color));
  function frame() {
    s.blank(); s.c.save();
    draw(data.frames[+r.value], ink(), s.c, s.w, s.h, data.color, data, r, colors);
    s.c.restore();
    o.textContent = data.words[+r.value];
    r.setAttribute("aria-valuetext", data.words[+r.value]);
  }
  transport(b, r, data.fps, frame);
  onTheme(frame); if (data.fluid) onResize(box, frame); frame();
}

/* Episodes of one start side by side: a slider over training time, and a player. */
function film(id, data, colors) {
  const {box, ink} = open(id, colors);
  const stage = box.querySelector("[name=stage]"), step = box.querySelector("[name=step]");
  const cells = [...box.querySelectorAll("canvas")], places = cells.map(x => surface(x));
  function frame() {
    const shown = stage ? +stage.value : 0;
    if (stage) {
      stage.parentNode.querySelector("output").textContent = data.stages[shown];
      stage.setAttribute("aria-valuetext", data.stages[shown]); }
    cells.forEach((cv, i) => {
      const p = data.panels[i], all = p.films[Math.min(shown, p.films.length - 1)];
      const at = Math.min(+step.value, all.length - 1), s = places[i];
      s.blank(); s.c.save();
      DRAW[data.draw](s.c, all[at], s.w, s.h, ink(), p.color);
      s.c.restore();
      const lasts = p.lasts[Math.min(shown, p.lasts.length - 1)], now = at * data.every;
      cv.nextElementSibling.textContent = `${p.name}: ` + (
        now > lasts ? `over after ${lasts} steps` : `step ${now}`);
    });
  }
  transport(box.querySelector("button"), step, data.fps, frame);
  if (stage) stage.oninput = frame;
  onTheme(frame); frame();
}

/* Points that wander in a plane and leave trails. */
function chase(id, data, colors) {
  player(id, data, colors, (f, ink, c, w, h, color, data, r) => {
    const {low, high, goal, names, axes} = data, n = +r.value + 1;
    const X = v => 24 + (v - low[0]) / (high[0] - low[0]) * (w - 60);
    const Y = v => h - 34 - (v - low[1]) / (high[1] - low[1]) * (h - 74);
    c.font = `15px ${SANS}`; c.fillStyle = ink; c.textAlign = "right";
    c.fillText(axes[0] + " →", w - 6, h - 6); c.textAlign = "left";
    c.fillText("↑ " + axes[1], 6, 16);
    names.forEach(([name, color, dash], i) => {
      c.strokeStyle = c.fillStyle = color; c.lineWidth = 2; c.setLineDash(dash); c.beginPath();
      data.frames.slice(0, n).forEach(g => c.lineTo(X(g[2 * i]), Y(g[2 * i + 1]))); c.stroke();
      c.beginPath(); c.moveTo(w - 150, 10 + 22 * i); c.lineTo(w - 110, 10 + 22 * i); c.stroke();
      c.setLineDash([]); c.beginPath(); c.arc(X(f[2 * i]), Y(f[2 * i + 1]), 6, 0, 7); c.fill();
      c.fillStyle = ink; c.fillText(name, w - 102, 15 + 22 * i); });
    c.strokeStyle = ink; c.lineWidth = 2; c.beginPath();
    for (const d of [[-7, 0], [7, 0], [0, -7], [0, 7]]) {
      c.moveTo(X(goal[0]), Y(goal[1])); c.lineTo(X(goal[0]) + d[0], Y(goal[1]) + d[1]); }
    c.stroke();
  });
}

/* ---------------------------------------------------------------------- the valley */

/* An icon is a list of [path, fill, stroke, line width] in a box from -0.5 to 0.5. */
function icon(c, shapes, x, y, size) {
  c.save(); c.translate(x, y); c.scale(size, size); c.lineJoin = c.lineCap = "round";
  for (const [path, fill, stroke, width] of shapes) {
    const p = new Path2D(path);
    if (fill) { c.fillStyle = fill; c.fill(p); }
    if (stroke) { c.strokeStyle = stroke; c.lineWidth = width; c.stroke(p); }
  }
  c.restore();
}

/* The landscape of a grid, a tile a place, u pixels wide. */
function landscape(c, u, map) {
  map.kinds.forEach((row, j) => row.forEach((kind, i) => {
    c.fillStyle = map.ground[kind] || map.ground["."];
    c.fillRect(i * u, j * u, u + .5, u + .5);
    c.strokeStyle = "rgba(60,45,30,.28)"; c.lineWidth = 1; c.strokeRect(i * u + .5, j * u + .5, u - 1, u - 1);
    if (map.icons[kind]) icon(c, map.icons[kind], (i + .5) * u, (j + .5) * u, u);
  }));
}

/* The colour of a number: below zero blue, at zero grey rock, above it gold to white. */
function rock(stops, t) {
  t = Math.max(-1, Math.min(1, t));
  let k = 0;
  while (k < stops.length - 2 && t > stops[k + 1][0]) k++;
  const [[a, low], [b, high]] = [stops[k], stops[k + 1]], s = (t - a) / (b - a);
  return low.map((v, i) => Math.round(v + s * (high[i] - v)));
}
const bright = rgb => .3 * rgb[0] + .6 * rgb[1] + .1 * rgb[2] > 125;
const digits = v => Math.abs(v) < 9.95 ? v.toFixed(1).replace("-0.0", "0.0") : v.toFixed(0);

/* A number for each place (null: a mountain), as colour and as figures, with icons. */
function field(c, u, map, values, top, arrows) {
  map.kinds.flat().forEach((kind, k) => {
    const columns = map.kinds[0].length, x = k % columns * u, y = Math.floor(k / columns) * u;
    const v = values[k], rgb = v === null ? null : rock(map.rock, v / top);
    c.fillStyle = rgb ? `rgb(${rgb})` : map.ground.m; c.fillRect(x, y, u + .5, u + .5);
    c.strokeStyle = "rgba(0,0,0,.35)"; c.lineWidth = 1; c.strokeRect(x + .5, y + .5, u - 1, u - 1);
    if (!rgb) return icon(c, map.icons.m, x + u / 2, y + u / 2, u);
    if (map.icons[kind]) {
      c.globalAlpha = .9; c.fillStyle = map.ground[kind] || map.ground["."];
      c.beginPath(); c.arc(x + .24 * u, y + .26 * u, .2 * u, 0, 7); c.fill(); c.globalAlpha = 1;
      icon(c, map.icons[kind], x + .24 * u, y + .26 * u, .34 * u); }
    c.fillStyle = bright(rgb) ? "#1d130a" : "#fffaf0"; c.textAlign = "center";
    c.font = `600 ${Math.max(10, Math.min(15, u * .25))}px ${SANS}`;
    c.fillText(digits(v).replace("-", "−"), x + u / 2, y + u * .9);
    if (arrows && arrows[k]) {
      c.strokeStyle = c.fillStyle;
      arrows[k].forEach((p, a) => { if (p > 20) arrow(c, x + u * .56, y + u * .4, a, u * .3 * p / 100, u); });
    }
  });
}

/* Moves: north, east, south, west. */
const TOWARDS = [[0, -1], [1, 0], [0, 1], [-1, 0]];
function arrow(c, x, y, a, length, u) {
  const [dx, dy] = TOWARDS[a], X = x + dx * length, Y = y + dy * length, head = Math.max(3, u * .075);
  c.lineWidth = Math.max(1.3, u * .035); c.lineCap = "round"; c.beginPath(); c.moveTo(x, y); c.lineTo(X, Y);
  c.moveTo(X - dx * head - dy * head, Y - dy * head + dx * head); c.lineTo(X, Y);
  c.lineTo(X - dx * head + dy * head, Y - dy * head - dx * head); c.stroke();
}

/* What the colours mean, from -top to top or from 0, with numbers. */
function legend(element, stops, top, low, ink, words) {
  const s = element.cave = element.cave || surface(element, true, true), {c} = s; s.blank();
  const {w} = s, left = 4, wide = w - 8;
  for (let i = 0; i < wide; i++) {
    const t = low + (1 - low) * i / (wide - 1); c.fillStyle = `rgb(${rock(stops, t)})`; c.fillRect(left + i, 2, 1.5, 12); }
  c.strokeStyle = ink; c.lineWidth = 1; c.globalAlpha = .6; c.strokeRect(left, 2, wide, 12); c.globalAlpha = 1;
  c.fillStyle = ink; c.font = `13px ${SANS}`;
  const ticks = low < 0 ? [-1, -.5, 0, .5, 1] : [0, .25, .5, .75, 1];
  for (const t of ticks) {
    const x = left + (t - low) / (1 - low) * wide;
    c.textAlign = t === ticks[0] ? "left" : t === 1 ? "right" : "center";
    c.fillText(digits(t * top).replace("-", "−"), x, 29); }
  c.textAlign = "center"; c.fillText(words, w / 2, 46);
}

/* Numbers of places that change, with a slider: values, rewards. */
function fieldFilm(id, data, colors) {
  const {box, ink} = open(id, colors), [map, key] = box.querySelectorAll("canvas");
  player(id, {...data, fluid: true}, colors, (f, now, c, w) => {
    field(c, w / data.map.kinds[0].length, data.map, f, data.top,
      data.arrows && data.arrows[+box.querySelector("input").value]);
    legend(key, data.map.rock, data.top, data.low, now, data.scale);
  });
}

/* Hunters on one day, in one wind: Ugg, the clone, and Grok at several stages. */
function hunt(id, data, colors) {
  const {box, ink} = open(id, colors), s = surface(box.querySelector("canvas"), true);
  const step = box.querySelector("[name=step]"), stage = box.querySelector("[name=stage]");
  const day = box.querySelector("[name=day]"), wind = box.querySelector(".cave-wind");
  const columns = data.map.kinds[0].length, rows = [...box.querySelectorAll("tbody tr")];
  const of = x => x.length > 1 ? x[+stage.value] : x[0];  // some have one stage alone
  function frame() {
    const now = data.days[+day.value], t = +step.value;
    if (stage) {
      stage.parentNode.querySelector("output").textContent = data.stages[+stage.value];
      stage.setAttribute("aria-valuetext", data.stages[+stage.value]); }
    s.blank();
    const {c} = s, size = s.w / columns;
    landscape(c, size, data.map);
    const gust = t > 0 && now.gusts ? now.gusts[t - 1] : -1;
    if (gust >= 0) {  // the wind that blew in this step, over the whole valley
      const [dx, dy] = TOWARDS[gust]; c.strokeStyle = "rgba(255,255,255,.75)"; c.lineWidth = 2; c.lineCap = "round";
      for (let i = 0; i < 26; i++) {
        const x = (i * 137 % 100) / 100 * s.w, y = (i * 71 % 100) / 100 * s.h, l = size * (.3 + i % 3 * .15);
        c.beginPath(); c.moveTo(x, y); c.lineTo(x + dx * l, y + dy * l); c.stroke(); } }
    wind.textContent = `step ${t}` + (!now.gusts || t === 0 ? "" : gust < 0 ? ": no wind" : `: a gust to the ${data.moves[gust]}`);
    step.setAttribute("aria-valuetext", wind.textContent);
    const spot = (k, i) => {
      const shift = (i - (data.hunters.length - 1) / 2) * .17;
      return [(k % columns + .5 + shift) * size, (Math.floor(k / columns) + .5 + shift) * size]; };
    data.hunters.forEach((who, i) => {
      const way = of(now.ways[i]).slice(0, t + 1);
      c.lineJoin = "round"; c.lineCap = "butt";
      const line = () => { c.beginPath(); way.forEach(k => c.lineTo(...spot(k, i))); c.stroke(); };
      c.setLineDash([]); c.strokeStyle = PAPER; c.lineWidth = Math.max(5, size * .1); line();
      c.strokeStyle = who.color; c.lineWidth = Math.max(3, size * .06); c.setLineDash(who.dash); line(); c.setLineDash([]);
    });
    data.hunters.forEach((who, i) => {
      const way = of(now.ways[i]), at = Math.min(t, way.length - 1);
      icon(c, who.face, ...spot(way[at], i), Math.max(20, size * .44));
      const cells = rows[i].querySelectorAll("td.n"), done = of(now.ends[i]);
      cells[0].textContent = at;
      of(now.meat[i]).forEach((sums, k) => cells[k + 1].textContent = sums[at].toFixed(1).replace("-", "−"));
      rows[i].querySelector(".cave-fate").textContent =
        at < way.length - 1 ? "on the way" : done ? "at the deer" : data.lost;
    });
  }
  transport(box.querySelector("button"), step, data.fps, frame);
  if (stage) stage.oninput = frame;
  day.oninput = frame; onTheme(frame); onResize(box, frame); frame();
}

/* One map over its updates, with a switch for each term of the objective. */
function mapFilm(id, data, colors) {
  const {box, ink} = open(id, colors), [picture, key] = box.querySelectorAll("canvas");
  const s = surface(picture, true), r = box.querySelector("[name=step]");
  const value = box.querySelector("[name=value]"), square = box.querySelector("[name=square]");
  const told = box.querySelectorAll("[data-k]"), verdict = box.querySelector(".cave-verdict");
  function frame() {
    const run = data.runs[(value.checked ? 2 : 0) + (square.checked ? 1 : 0)], t = +r.value;
    s.blank();
    field(s.c, s.w / data.map.kinds[0].length, data.map, run.values[t], data.top, run.rules[t]);
    legend(key, data.map.rock, data.top, -1, ink(), data.scale);
    const now = {update: data.updates[t], high: digits(run.high[t]), low: digits(run.low[t]),
                 deer: (100 * run.deer[t]).toFixed(0) + " %"};
    told.forEach(x => x.textContent = String(now[x.dataset.k]).replace("-", "−"));
    r.setAttribute("aria-valuetext", `update ${data.updates[t]}`);
    verdict.textContent = run.verdict;
  }
  transport(box.querySelector("button"), r, data.fps, frame);
  value.onchange = square.onchange = frame; onTheme(frame); onResize(box, frame); frame();
}

/* -------------------------------------------------------------- the page around them */

/* What is wider than its place and scrolls can be reached by the keyboard, by name. */
function reach() {
  const places = ".cave-wide, .pst-scrollable-table-container, .admonition.sheet, div.math, div.highlight pre";
  for (const e of document.querySelectorAll(places)) {
    const wide = e.scrollWidth > e.clientWidth + 1;
    if (wide && !e.hasAttribute("tabindex")) {
      const caption = e.querySelector("caption, .admonition-title, th");
      const kind = e.matches("div.math") ? "formula" : e.matches("pre") ? "code" : "table";
      e.tabIndex = 0; e.dataset.cave = "wide";
      if (!e.matches("pre")) {
        e.setAttribute("role", "region");
        e.setAttribute("aria-label", `${kind}, scrolls sideways` + (kind === "table" && caption ? `: ${caption.textContent.trim()}` : "")); }
    } else if (!wide && e.dataset.cave) {
      for (const x of ["tabindex", "role", "aria-label", "data-cave"]) e.removeAttribute(x); }
  }
}
if (document.currentScript && /cave\.js/.test(document.currentScript.src)) {  // in the book
  const later = () => { reach(); setTimeout(reach, 1500); };
  window.addEventListener("load", later);
  window.addEventListener("resize", reach);
  document.addEventListener("toggle", reach, true);
  /* Paper is white: a page that is dark prints as a light one. */
  const root = document.documentElement;
  let theme = null;
  window.addEventListener("beforeprint", () => {
    if (root.dataset.theme !== "light") { theme = root.dataset.theme; root.dataset.theme = "light"; } });
  window.addEventListener("afterprint", () => { if (theme) root.dataset.theme = theme; theme = null; });
}

return {widget, movable, player, film, chase, fieldFilm, hunt, mapFilm, DRAW};
})();
