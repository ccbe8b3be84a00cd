// @ts-check
// The loss plot: curves on two canvases, controls that steer the training, the table of epochs.
import { definePanel, h, ink, sharp, STYLES } from "./shared.js";

const TOP = 10, LEFT = 54, RIGHT = 12, BOTTOM = 20, LOSS = 250, RATE = 84;
const FACTORS = [0.1, 0.5, 1, 2, 10];

/** @param {number} s */
function seconds(s) {
  s = Math.round(s);
  return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s` : `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
}

/** @param {number | null | undefined} v */
function number(v) {
  if (v === null || v === undefined || Number.isNaN(v)) return "–";
  const a = Math.abs(v);
  return a !== 0 && (a < 1e-3 || a >= 1e5) ? v.toExponential(1).replace("e+", "e").replace(/e(-?)0?/, "e$1") : a < 1 ? v.toFixed(4) : v.toFixed(3);
}

/** @param {number} low @param {number} high @param {number} most @param {boolean} whole */
function ticks(low, high, most, whole = false) {
  const raw = (high - low) / Math.max(1, most);
  let step = 10 ** Math.floor(Math.log10(raw || 1));
  for (const m of [1, 2, 5, 10]) if (step * m >= raw) { step *= m; break; }
  if (whole) step = Math.max(1, step);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step) found.push(Math.abs(v) < step * 1e-6 ? 0 : v);
  return found;
}

/** Exponential moving average, unbiased at the start, NaN passed over. @param {ArrayLike<number>} values @param {number} beta */
function smooth(values, beta) {
  const out = new Float32Array(values.length);
  let average = 0, weight = 0;
  for (let i = 0; i < values.length; i++) {
    if (!Number.isNaN(values[i])) { average = beta * average + (1 - beta) * values[i]; weight = beta * weight + (1 - beta); }
    out[i] = weight ? average / weight : NaN;
  }
  return out;
}

/**
 * A copy of `old` up to `first`, then `fresh`.
 * @param {Float32Array} old @param {number} first @param {Float32Array} fresh
 */
function spliced(old, first, fresh) {
  const out = new Float32Array(first + fresh.length);
  out.set(old.subarray(0, first));
  out.set(fresh, first);
  return out;
}

/** @param {import("./shared.js").PanelView} panel @param {Record<string, any>} state */
function build(panel, state) {
  const root = panel.body;
  root.classList.add("fm-loss");
  const s = { ...state };
  const curve = { width: 1, count: 0, low: new Float32Array(), high: new Float32Array(), mean: new Float32Array(), lr: new Float32Array(), mom: new Float32Array() };
  /** @type {{log: boolean, smoothing: number, earlier: boolean, range: [number, number] | null, part: any, at: number | null, drag: number | null}} */
  const view = { log: false, smoothing: 0.98, earlier: true, range: null, part: null, at: null, drag: null };

  /** @param {any} c */
  function take(c) {
    if (!c) return;
    const low = (c.low ?? c.mean).data, high = (c.high ?? c.mean).data, mean = c.mean.data;
    curve.low = spliced(curve.low, c.first, low);
    curve.high = spliced(curve.high, c.first, high);
    curve.mean = spliced(curve.mean, c.first, mean);
    curve.lr = spliced(curve.lr, c.first, c.lr.data);
    curve.mom = spliced(curve.mom, c.first, c.mom.data);
    curve.width = c.width;
    curve.count = c.count;
  }
  take(s.curve);

  // ---------------------------------------------------------------- the elements
  const head = h("div", { class: "fm-head" });
  const spoken = h("div", { class: "fm-hidden", "aria-live": "polite" });
  const bar = h("div");
  const progress = h("div", { class: "fm-progress", role: "progressbar", "aria-label": "Training", "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
  /** @param {string} action @param {number} [value] */
  const control = (action, value) => panel.run(() => panel.ask("control", { action, ...(value === undefined ? {} : { value }) }));
  const stop = h("button", { title: "Stop after this batch; the learner keeps what it learned", onclick: () => control("stop") }, "Stop");
  const pause = h("button", { onclick: () => control(s.status.paused ? "resume" : "pause") }, "Pause");
  const more = h("button", { title: "Train one epoch more at the end", onclick: () => control("more") }, "+1 epoch");
  const rate = h("select", { "aria-label": "Learning rate, times the schedule's", onchange: () => control("scale", Number(rate.value)) });
  for (const factor of FACTORS) rate.append(h("option", { value: factor }, factor === 1 ? "as planned" : factor < 1 ? `÷ ${1 / factor}` : `× ${factor}`));
  rate.value = "1";
  const steering = h("div", { class: "fm-steering" }, stop, pause, h("label", {}, "lr", rate), more);
  const scale = h("button", { "aria-pressed": "false", title: "Logarithmic loss axis", onclick: () => { view.log = !view.log; scale.setAttribute("aria-pressed", String(view.log)); draw(); } }, "log");
  const slider = h("input", { type: "range", min: 0, max: 100, value: 60, "aria-label": "Smoothing", oninput: () => { view.smoothing = slide(Number(slider.value)); draw(); } });
  const whole = h("button", { hidden: true, title: "Show the whole training (0)", onclick: () => zoom(null) }, "Whole");
  const compare = h("input", { type: "checkbox", checked: true, onchange: () => { view.earlier = compare.checked; draw(); } });
  const comparing = h("label", {}, compare, "earlier runs");
  const looks = h("div", {}, h("label", { title: "How much the strong line is smoothed" }, "smooth", slider), scale, s.earlier.length ? comparing : null, whole);
  const lossCanvas = h("canvas"), rateCanvas = h("canvas");
  const tip = h("div", { class: "fm-tip", hidden: true });
  const plot = h("div", { class: "fm-plot", tabIndex: 0, role: "img" }, lossCanvas, rateCanvas, tip);
  const legend = h("div", { class: "fm-legend" });
  const table = h("div", { class: "fm-table fm-scroll", tabIndex: -1 });
  const notes = h("div");
  root.append(head, progress, h("div", { class: "fm-row fm-controls" }, steering, looks), legend, plot, table, notes, spoken);

  /** @param {number} v */
  function slide(v) { return v <= 0 ? 0 : 1 - 10 ** (-0.2 - (v / 100) * 2.5); }
  view.smoothing = slide(60);

  // ---------------------------------------------------------------- words
  function words() {
    const t = s.status, parts = [];
    if (s.name) parts.push(h("b", {}, s.name));
    if (!t.running) parts.push(h("span", {}, `${curve.count.toLocaleString("en")} batches in ${seconds(t.seconds ?? 0)}`), last(), t.text ? h("span", {}, t.text) : null);
    else if (t.text) parts.push(h("span", {}, t.text));
    else {
      parts.push(h("span", {}, `epoch ${t.epoch} of ${t.n_epoch}, ${t.frozen ? "body frozen, " : ""}${t.part} batch ${t.batch} of ${t.n_batch}`));
      if (t.stopping) parts.push(h("b", {}, "stopping after this batch…"));
      else if (t.paused) parts.push(h("b", {}, "paused"));
      else if (t.left !== null && t.left !== undefined) parts.push(h("span", {}, `about ${seconds(t.left)} left`));
    }
    if (t.rate) parts.push(h("span", { class: "fm-dim" }, `${t.rate < 10 ? t.rate.toFixed(1) : Math.round(t.rate).toLocaleString("en")} items/s`));
    if (t.running && t.memory) parts.push(h("span", { class: "fm-dim" }, `${t.memory.what} ${(t.memory.used / 2 ** 30).toFixed(1)} of ${(t.memory.total / 2 ** 30).toFixed(0)} GB`));
    if (t.running && t.lr) parts.push(h("span", { class: "fm-dim" }, `lr ${number(t.lr)}`));
    if (t.running && t.more > 0) parts.push(h("span", {}, `+${t.more} epoch${t.more > 1 ? "s" : ""} asked for`));
    if (s.bad !== null && s.bad !== undefined) parts.push(h("span", { class: "fm-warn" }, `loss is not a number since batch ${s.bad + 1}: try a smaller learning rate`));
    head.replaceChildren(...parts.filter(Boolean));
    const share = t.running && t.total ? Math.min(1, curve.count / t.total) : t.running ? 0 : 1;
    bar.style.width = `${100 * share}%`;
    progress.style.visibility = t.running ? "visible" : "hidden";
    progress.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    steering.style.display = t.running ? "" : "none";
    more.style.display = s.extend ? "" : "none";
    for (const button of [stop, pause, more, rate]) button.disabled = Boolean(t.stopping);
    pause.textContent = t.paused ? "Resume" : "Pause";
    if (document.activeElement !== rate) rate.value = String(t.factor ?? 1);
    notes.replaceChildren(...(s.notes ?? []).map((/** @type {string} */ note) => h("p", { class: "fm-dim" }, note)));
  }

  /** What the last epoch came to, in words. */
  function last() {
    const epoch = s.epochs[s.epochs.length - 1];
    return epoch ? h("span", {}, s.header.map((/** @type {string} */ n, /** @type {number} */ i) => `${n} ${number(epoch.values[i])}`).join(", ")) : null;
  }

  function rows() {
    if (!s.epochs.length) { table.replaceChildren(); return; }
    const column = s.header.findIndex((/** @type {string} */ n) => n.includes("valid") && n.includes("loss"));
    const losses = s.epochs.map((/** @type {any} */ e) => e.values[column] ?? Infinity);
    const best = losses.indexOf(Math.min(...losses));
    table.replaceChildren(h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "epoch"), s.header.map((/** @type {string} */ n) => h("th", { scope: "col", class: "fm-number" }, n)), h("th", { scope: "col", class: "fm-number" }, "time"))),
      h("tbody", {}, s.epochs.map((/** @type {any} */ e, /** @type {number} */ i) => h("tr", {},
        h("td", {}, `${i + 1}${e.frozen ? " (body frozen)" : ""}`),
        e.values.map((/** @type {any} */ v, /** @type {number} */ c) => h("td", { class: `fm-number${c === column && i === best && losses.length > 1 ? " fm-best" : ""}`, title: c === column && i === best && losses.length > 1 ? "lowest validation loss" : null }, v === null ? "–" : v.toFixed(4))),
        h("td", { class: "fm-number" }, e.time))))));
  }

  // ---------------------------------------------------------------- drawing
  let width = 0;
  const span = () => view.range ?? /** @type {[number, number]} */ ([0, Math.max(curve.count * 1.012, s.status.running ? Math.min(s.status.total ?? 0, Math.max(curve.count * 1.25, 20)) : 0, view.earlier && !s.status.running ? Math.max(0, ...s.earlier.map((/** @type {any} */ r) => r.mean.data.length * r.width)) : 0, 2)]);
  /** What is drawn: the whole curve, or the finer part that a zoom has fetched. */
  const shown = () => view.part ?? { start: 0, width: curve.width, low: curve.low, high: curve.high, mean: curve.mean, lr: curve.lr, mom: curve.mom };

  function draw() {
    width = Math.max(240, plot.clientWidth || root.clientWidth || 600);
    const [from, to] = span(), data = shown(), area = width - LEFT - RIGHT;
    const X = (/** @type {number} */ b) => LEFT + ((b - from) / (to - from)) * area;
    const middle = (/** @type {number} */ i) => data.start + (data.width === 1 ? i : (i + 0.5) * data.width);
    const strong = smooth(data.mean, view.smoothing ** data.width);
    const colors = { train: ink(panel.root, "--fm-blue"), valid: ink(panel.root, "--fm-orange"), rate: ink(panel.root, "--fm-green"), mom: ink(panel.root, "--fm-red"), text: ink(panel.root, "--fm-dim"), line: ink(panel.root, "--fm-faint"), strong: ink(panel.root, "--fm-line") };
    const column = (s.header ?? []).findIndex((/** @type {string} */ n) => n.includes("valid") && n.includes("loss"));
    const valid = s.epochs.map((/** @type {any} */ e) => [e.batch, column < 0 ? null : e.values[column]]).filter((/** @type {any} */ p) => p[1] !== null);
    const earlier = view.earlier ? s.earlier : [];

    // The range of the loss: everything, unless few batches tower over the rest; those are marked at the edge.
    /** @type {number[]} */
    const inside = [];
    for (let i = 0; i < data.mean.length; i++) { const x = middle(i); if (x >= from && x <= to && !Number.isNaN(data.high[i])) inside.push(i); }
    const highs = inside.map((i) => data.high[i]).sort((a, b) => a - b), lows = inside.map((i) => data.low[i]);
    let high = highs[highs.length - 1] ?? 1, low = Math.min(...(lows.length ? lows : [0]));
    const most = highs[Math.floor(highs.length * 0.97)] ?? high;
    if (high > 3 * most && most > 0) high = most * 1.3;
    for (const [x, v] of valid) if (x >= from && x <= to) { high = Math.max(high, v); low = Math.min(low, v); }
    for (const run of earlier) for (const v of run.mean.data) if (v < 3 * high) { high = Math.max(high, v); low = Math.min(low, v); }
    if (!(high > low)) high = low + (Math.abs(low) || 1);
    let bottom = low;
    const log = view.log && high > 0;
    if (log) { if (bottom <= 0) bottom = Math.min(...[...lows.filter((v) => v > 0), high / 1000]); high *= 1.1; bottom /= 1.1; }
    else { const pad = (high - low) * 0.05; high += pad; bottom = low >= 0 && low < (high - low) * 0.5 ? 0 : low - pad; }
    const Y = (/** @type {number} */ v) => {
      const share = log ? Math.log(v / bottom) / Math.log(high / bottom) : (v - bottom) / (high - bottom);
      return TOP + (1 - Math.max(-0.02, Math.min(1.02, share))) * (LOSS - TOP - 6);
    };

    const c = sharp(lossCanvas, width, LOSS);
    c.font = "11px system-ui, sans-serif";
    c.lineJoin = "round";
    c.textBaseline = "middle";
    let marks = log ? [] : ticks(bottom, high, 5);
    if (log) {
      for (let e = Math.floor(Math.log10(bottom)); e <= Math.ceil(Math.log10(high)); e++) for (const m of high / bottom > 30 ? [1] : [1, 2, 5]) { const v = m * 10 ** e; if (v >= bottom && v <= high) marks.push(v); }
      if (marks.length < 2) marks = ticks(bottom, high, 4).filter((v) => v > 0);
    }
    c.textAlign = "right";
    for (const v of marks) {
      const y = Math.round(Y(v)) + 0.5;
      c.strokeStyle = colors.line; c.lineWidth = 1;
      c.beginPath(); c.moveTo(LEFT, y); c.lineTo(width - RIGHT, y); c.stroke();
      c.fillStyle = colors.text; c.fillText(log ? String(Number(v.toPrecision(2))) : String(Number(v.toPrecision(6))), LEFT - 6, y);
    }
    const clip = (/** @type {CanvasRenderingContext2D} */ ctx, /** @type {number} */ height) => { ctx.save(); ctx.beginPath(); ctx.rect(LEFT, 0, area, height); ctx.clip(); };
    // Epoch boundaries thin out when there are many.
    const every = Math.max(1, Math.ceil(s.epochs.length / 40));
    clip(c, LOSS);
    s.epochs.forEach((/** @type {any} */ e, /** @type {number} */ i) => {
      if ((i + 1) % every) return;
      const x = Math.round(X(e.batch)) + 0.5;
      c.strokeStyle = colors.strong; c.lineWidth = 1; c.setLineDash([1, 3]);
      c.beginPath(); c.moveTo(x, TOP); c.lineTo(x, LOSS); c.stroke();
    });
    c.setLineDash([]);
    // Earlier runs, faint; a dash of their own each, for those who tell no greys apart.
    earlier.forEach((/** @type {any} */ run, /** @type {number} */ n) => {
      c.strokeStyle = colors.text; c.globalAlpha = 0.55; c.lineWidth = 1.3; c.setLineDash([[], [6, 3], [2, 3], [8, 3, 2, 3]][n % 4]);
      line(c, run.mean.data, (i) => X((i + 0.5) * run.width), Y);
      c.globalAlpha = 1; c.setLineDash([]);
    });
    // Raw: a line where every batch has its own pixel, a band from lowest to highest where many share one.
    c.fillStyle = colors.train; c.strokeStyle = colors.train;
    if (data.width === 1 && inside.length < area * 1.5) { c.globalAlpha = 0.32; c.lineWidth = 1; line(c, data.mean, (i) => X(middle(i)), Y); }
    else {
      c.globalAlpha = 0.28;
      const columns = new Map();
      for (const i of inside) {
        const x = Math.floor(X(middle(i))), old = columns.get(x);
        columns.set(x, old ? [Math.min(old[0], data.low[i]), Math.max(old[1], data.high[i])] : [data.low[i], data.high[i]]);
      }
      for (const [x, [a, b]] of columns) { const y = Y(b); c.fillRect(x, y, 1.5, Math.max(1.5, Y(a) - y)); }
    }
    c.globalAlpha = 1; c.lineWidth = 2.2;
    line(c, strong, (i) => X(middle(i)), Y);
    // What is cut off at the top says so.
    c.fillStyle = colors.train;
    let lastMark = -9;
    for (const i of inside) { const x = X(middle(i)); if (data.high[i] > high && x - lastMark > 7) { lastMark = x; c.beginPath(); c.moveTo(x, 1); c.lineTo(x - 4, 8); c.lineTo(x + 4, 8); c.fill(); } }
    c.strokeStyle = colors.valid; c.fillStyle = colors.valid; c.lineWidth = 1.6;
    c.beginPath(); valid.forEach((/** @type {[number, number]} */ [x, v], /** @type {number} */ i) => (i ? c.lineTo(X(x), Y(v)) : c.moveTo(X(x), Y(v)))); c.stroke();
    for (const [x, v] of valid) { c.beginPath(); c.arc(X(x), Y(v), 4, 0, 7); c.fill(); }
    c.restore();
    // Where the body was unfrozen, or another fit began.
    (s.phases ?? []).slice(1).forEach((/** @type {any} */ [batch, text], /** @type {number} */ i) => {
      const x = Math.round(X(batch)) + 0.5;
      if (x < LEFT || x > width - RIGHT) return;
      c.strokeStyle = colors.text; c.lineWidth = 1; c.setLineDash([5, 4]);
      c.beginPath(); c.moveTo(x, TOP); c.lineTo(x, LOSS); c.stroke(); c.setLineDash([]);
      const right = x > width - 90;
      c.fillStyle = colors.text; c.textAlign = right ? "right" : "left"; c.fillText(text, x + (right ? -4 : 4), TOP + 6 + (i % 3) * 13);
    });

    const r = sharp(rateCanvas, width, RATE);
    r.font = "11px system-ui, sans-serif"; r.textBaseline = "middle";
    const plotted = RATE - BOTTOM;
    /** @param {Float32Array} values @param {string} color @param {number[]} dash */
    const series = (values, color, dash) => {
      let top = -Infinity, floor = Infinity;
      for (const i of inside) { if (values[i] > top) top = values[i]; if (values[i] < floor) floor = values[i]; }
      if (top === -Infinity) return null;
      const base = floor > top * 0.5 ? floor - (top - floor || top * 0.1) * 0.2 : 0;
      const y = (/** @type {number} */ v) => 6 + (1 - (v - base) / (top - base || 1)) * (plotted - 10);
      clip(r, RATE); r.strokeStyle = color; r.lineWidth = 1.6; r.setLineDash(dash); line(r, values, (i) => X(middle(i)), y); r.setLineDash([]); r.restore();
      return [floor, top];
    };
    const moms = series(data.mom, colors.mom, [4, 3]), rates = series(data.lr, colors.rate, []);
    r.fillStyle = colors.text; r.textAlign = "right";
    if (rates) { r.fillText(number(rates[1]), LEFT - 6, 8); r.fillText("lr", LEFT - 6, 24); }
    r.strokeStyle = colors.strong; r.lineWidth = 1; r.beginPath(); r.moveTo(LEFT, plotted + 0.5); r.lineTo(width - RIGHT, plotted + 0.5); r.stroke();
    r.textAlign = "center";
    for (const v of ticks(from, to, Math.max(2, area / 90), true)) { const x = X(v); if (x >= LEFT - 1 && x <= width - RIGHT + 1) { const text = v.toLocaleString("en"); r.fillText(text, Math.min(x, width - r.measureText(text).width / 2 - 1), plotted + 11); } }

    // The cursor, and the numbers under it.
    if (view.drag !== null && view.at !== null) { c.fillStyle = colors.train; c.globalAlpha = 0.12; c.fillRect(X(Math.min(view.drag, view.at)), TOP, Math.abs(X(view.at) - X(view.drag)), LOSS); c.globalAlpha = 1; }
    tip.hidden = view.at === null || !data.mean.length;
    if (view.at !== null && data.mean.length) {
      const i = Math.max(0, Math.min(data.mean.length - 1, Math.floor((view.at - data.start) / data.width + (data.width === 1 ? 0.5 : 0)))), x = X(middle(i));
      for (const [ctx, height] of /** @type {[CanvasRenderingContext2D, number][]} */ ([[c, LOSS], [r, plotted]])) { ctx.strokeStyle = colors.text; ctx.lineWidth = 1; ctx.beginPath(); ctx.moveTo(x, 0); ctx.lineTo(x, height); ctx.stroke(); }
      c.fillStyle = colors.train; c.beginPath(); c.arc(x, Y(strong[i]), 4, 0, 7); c.fill();
      const batch = data.start + i * data.width, epoch = s.epochs.filter((/** @type {any} */ e) => e.batch <= batch).length + 1;
      const lines = [`batch ${(batch + 1).toLocaleString("en")}${data.width > 1 ? `…${Math.min(curve.count, batch + data.width).toLocaleString("en")}` : ""}, epoch ${epoch}`,
        data.width > 1 ? `loss ${number(data.low[i])}…${number(data.high[i])}, smoothed ${number(strong[i])}` : `loss ${number(data.mean[i])}, smoothed ${number(strong[i])}`,
        `lr ${number(data.lr[i])}${moms ? `, momentum ${number(data.mom[i])}` : ""}`];
      tip.replaceChildren(...lines.map((text) => h("div", {}, text)));
      tip.style.left = tip.style.right = "auto";
      if (x > width / 2) tip.style.right = `${width - x + 10}px`; else tip.style.left = `${x + 10}px`;
      tip.style.top = `${TOP + 4}px`;
    }
    const entry = (/** @type {string} */ color, /** @type {string} */ text, /** @type {string} */ kind, /** @type {string} */ style) => h("span", {}, h("i", { class: kind, style: kind ? `background:${color}` : `border-top-color:${color};${style}` }), text);
    legend.replaceChildren(...[entry(colors.train, "train loss", "", ""), valid.length ? entry(colors.valid, "valid loss", "fm-dot", "") : null, entry(colors.rate, "learning rate", "", ""), moms && moms[1] ? entry(colors.mom, `momentum ${moms[0] === moms[1] ? number(moms[0]) : `${number(moms[0])}…${number(moms[1])}`}`, "", "border-top-style:dashed") : null,
      ...earlier.map((/** @type {any} */ run, /** @type {number} */ n) => entry(colors.text, run.name || "earlier", "", `border-top-style:${["solid", "dashed", "dotted", "dashed"][n % 4]};opacity:.6`))].filter(Boolean));
    plot.setAttribute("aria-label", `Loss over ${curve.count} training batches${strong.length ? `, now ${number(strong[strong.length - 1])} smoothed` : ""}${valid.length ? `, validation ${number(valid[valid.length - 1][1])}` : ""}. Arrow keys read values, + and - zoom, 0 shows all.`);
  }

  /** @param {CanvasRenderingContext2D} ctx @param {ArrayLike<number>} values @param {(i: number) => number} X @param {(v: number) => number} Y */
  function line(ctx, values, X, Y) {
    ctx.beginPath();
    let pen = false;
    for (let i = 0; i < values.length; i++) {
      if (Number.isNaN(values[i])) { pen = false; continue; }
      if (pen) ctx.lineTo(X(i), Y(values[i])); else ctx.moveTo(X(i), Y(values[i]));
      pen = true;
    }
    ctx.stroke();
  }

  let frame = 0;
  const later = () => { if (!frame) frame = requestAnimationFrame(() => { frame = 0; draw(); }); };

  // ---------------------------------------------------------------- zoom and cursor
  /** @param {[number, number] | null} range */
  async function zoom(range) {
    if (range && range[1] - range[0] < 4) range = [range[0], range[0] + 4];
    if (range) range = [Math.max(0, range[0]), Math.min(Math.max(curve.count, 4), range[1])];
    view.range = range;
    whole.hidden = !range;
    view.part = null;
    draw();
    if (!range || curve.width === 1) return;
    const part = await panel.ask("part", { start: Math.floor(range[0]), end: Math.ceil(range[1]) });
    if (view.range === range) {
      view.part = { start: part.start, width: part.width, low: part.low.data, high: part.high.data, mean: part.mean.data, lr: part.lr.data, mom: part.mom.data };
      draw();
    }
  }
  /** @param {PointerEvent} event */
  const batchAt = (event) => {
    const [from, to] = span(), box = plot.getBoundingClientRect();
    return from + Math.max(0, Math.min(1, (event.clientX - box.left - LEFT) / (width - LEFT - RIGHT))) * (to - from);
  };
  plot.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => { if (event.button) return; view.drag = view.at = batchAt(event); if (event.pointerType === "mouse") plot.setPointerCapture(event.pointerId); draw(); });
  plot.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => { view.at = batchAt(event); later(); });
  plot.addEventListener("pointerup", (/** @type {PointerEvent} */ event) => {
    const from = view.drag, to = batchAt(event);
    view.drag = null;
    if (from !== null && Math.abs(to - from) > (span()[1] - span()[0]) * 0.02) panel.run(() => zoom([Math.min(from, to), Math.max(from, to)])); else draw();
  });
  plot.addEventListener("pointerleave", () => { if (view.drag === null) { view.at = null; later(); } });
  plot.addEventListener("pointercancel", () => { view.drag = null; view.at = null; later(); });
  plot.addEventListener("dblclick", () => zoom(null));
  plot.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const [from, to] = span(), data = shown(), at = view.at ?? curve.count, step = data.width * (event.shiftKey ? 10 : 1);
    const moves = /** @type {Record<string, () => any>} */ ({
      ArrowLeft: () => { view.at = Math.max(from, at - step); }, ArrowRight: () => { view.at = Math.min(curve.count - 1, at + step); },
      Home: () => { view.at = from; }, End: () => { view.at = curve.count - 1; }, Escape: () => { view.at = null; }, 0: () => zoom(null),
      "+": () => zoom([at - (to - from) / 4, at + (to - from) / 4]), "-": () => zoom(to - from >= curve.count ? null : [at - (to - from), at + (to - from)]),
    });
    const move = moves[event.key === "=" ? "+" : event.key];
    if (!move) return;
    event.preventDefault();
    panel.run(move);
    draw();
    if (!tip.hidden) spoken.textContent = tip.textContent ?? "";
  });

  // ---------------------------------------------------------------- news from the kernel
  panel.on("update", (news) => {
    take(news.curve);
    s.header = news.header; s.phases = news.phases; s.bad = news.bad; s.notes = news.notes;
    const ended = s.status.running && !news.status.running;
    s.status = news.status;
    if (news.epochs.length || news.epochs_before < s.epochs.length) {
      s.epochs = [...s.epochs.slice(0, news.epochs_before), ...news.epochs];
      rows();
      const last = s.epochs[s.epochs.length - 1];
      spoken.textContent = `Epoch ${s.epochs.length} done: ${s.header.map((/** @type {string} */ n, /** @type {number} */ i) => `${n} ${number(last.values[i])}`).join(", ")}`;
    }
    words();
    later();
    if (ended) panel.settled();
  });
  panel.on("status", (news) => { s.status = news.status; words(); });
  panel.on("theme", later);
  panel.on("mounted", later);
  new ResizeObserver(() => { if (plot.clientWidth && plot.clientWidth !== width) later(); }).observe(plot);
  words();
  rows();
  draw();
}

export default definePanel(build, STYLES);
