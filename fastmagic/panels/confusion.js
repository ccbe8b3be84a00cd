// @ts-check
// The confusion view: a matrix (a table, or a canvas for many classes) or a scatter, what is known of each class, and the
// items behind what is chosen. The kernel holds the items and sends them in pages.

import { h, debounce, sharp, ink, definePanel, STYLES } from "./shared.js";

/** @typedef {import("./shared.js").PanelView} PanelView */
/** @typedef {{kind: string, [name: string]: any}} Selection */

const TABLE_CLASSES = 25; // as in confusion.py
const PAGE = 24;
const MINUS = "−";

/** @param {number} share */
const percent = (share) => Number.isNaN(share) ? "–" : `${(100 * share).toFixed(share > 0.0995 || share === 0 ? 0 : 1)} %`;
/** @param {number} n */
const whole = (n) => Math.round(n).toLocaleString("en");
/** Put children into an element in place of those before; what is falsy is none. @param {any} element @param {...any} children */
const fill = (element, ...children) => element.replaceChildren(...children.filter(Boolean));
/** A count in few characters: 12,345 is 12k. @param {number} n */
function brief(n) {
  const size = Math.abs(n);
  if (size < 10000) return String(Math.round(n));
  return size < 1e6 ? `${Math.round(n / 1e3)}k` : `${(n / 1e6).toFixed(size < 1e7 ? 1 : 0)}M`;
}
/** @param {number} n @param {string} text of its size */
const signed = (n, text) => (n > 0 ? "+" : n < 0 ? MINUS : "±") + text;
/** @param {number} n */
const number = (n) => n === null || Number.isNaN(n) ? "–" : Number(n.toPrecision(4)).toString().replace("-", MINUS);

/** The numbers of the matrix that is looked at, and how they are said and coloured. */
class Matrix {
  /** @param {any} state @param {any} look */
  constructor(state, look) {
    this.state = state;
    this.look = look;
    this.several = state.kind === "classes";
    this.sums = new Map();
  }

  get size() { return this.several ? 2 : this.state.vocab.length; }
  get order() { return this.several ? [0, 1] : this.state.orders[this.look.order]; }

  /** @param {number} i */
  name(i) {
    if (!this.several) return this.state.vocab[i];
    const name = this.state.vocab[this.look.label];
    return i === 0 ? `is ${name}` : `not ${name}`;
  }

  /** @param {string} which @param {number} i @param {number} j @returns {number} */
  count(which, i, j) {
    const data = (which === "before" ? this.state.before : this.state).matrix.data;
    return this.several ? data[this.look.label * 4 + i * 2 + j] : data[i * this.size + j];
  }

  /** Sums of rows and columns. @param {string} which */
  totals(which) {
    const key = `${which} ${this.several ? this.look.label : ""}`;
    if (!this.sums.has(key)) {
      const rows = new Float64Array(this.size), columns = new Float64Array(this.size);
      for (let i = 0; i < this.size; i++) {
        for (let j = 0; j < this.size; j++) {
          const count = this.count(which, i, j);
          rows[i] += count;
          columns[j] += count;
        }
      }
      this.sums.set(key, { rows, columns });
    }
    return this.sums.get(key);
  }

  /** @param {string} which @param {number} i @param {number} j */
  share(which, i, j) {
    const { rows, columns } = this.totals(which);
    const all = this.look.percent === "predicted" ? columns[j] : rows[i];
    return all ? this.count(which, i, j) / all : NaN;
  }

  /** What a cell's number is: a count or a share, or the difference of two. @param {number} i @param {number} j */
  value(i, j) {
    const of = (/** @type {string} */ which) => this.look.percent === "count" ? this.count(which, i, j) : this.share(which, i, j);
    return this.look.compare === "difference" ? of("after") - of("before") : of(this.look.compare);
  }

  /** @param {number} i @param {number} j */
  text(i, j) {
    const value = this.value(i, j);
    if (Number.isNaN(value)) return "";
    const size = Math.abs(value);
    const text = this.look.percent === "count" ? brief(size) : size && size < 0.0005 ? "<0.1" : (100 * size).toFixed(size && size < 0.0995 ? 1 : 0);
    if (this.look.compare !== "difference") return i !== j && !value && this.size > 12 ? "" : text;
    return !value || text === "<0.1" ? "" : signed(value, text);
  }

  /** How strong each cell is, 0…1, and the largest off the diagonal. */
  strengths() {
    const n = this.size, strengths = new Float64Array(n * n);
    let most = 0, all = 0;
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        const value = this.look.compare === "difference" ? Math.abs(this.value(i, j)) : this.share(this.look.compare, i, j);
        const strength = Math.sqrt(value) || 0;
        strengths[i * n + j] = strength;
        if (i !== j) most = Math.max(most, strength);
        all = Math.max(all, strength);
      }
    }
    const difference = this.look.compare === "difference";
    this.paint = (/** @type {number} */ i, /** @type {number} */ j) => {
      const strength = strengths[i * n + j];
      if (!strength) return { good: i === j, alpha: 0 };
      if (difference) return { good: (i === j) === (this.value(i, j) > 0), alpha: 0.1 + 0.5 * strength / all };
      return i === j ? { good: true, alpha: 0.38 * strength } : { good: false, alpha: 0.12 + 0.5 * strength / most };
    };
    return this.paint;
  }

  /** A cell in words. @param {number} i @param {number} j */
  words(i, j) {
    const unit = this.state.kind === "pixels" ? " pixels" : "";
    const of = (/** @type {string} */ which) => {
      const share = this.share(which, i, j), { rows, columns } = this.totals(which);
      const all = this.look.percent === "predicted" ? columns[j] : rows[i];
      return `${whole(this.count(which, i, j))} of ${whole(all)}${unit}${Number.isNaN(share) ? "" : ` (${percent(share)})`}`;
    };
    const cell = `actual ${this.name(i)} → predicted ${this.name(j)}`;
    if (this.look.compare === "difference") {
      return `${cell}: ${of("before")} before, ${of("after")} now`;
    }
    return `${cell}: ${of(this.look.compare)}`;
  }
}

/** @param {PanelView} panel @param {any} state */
function build(panel, state) {
  const look = state.look;
  const numbers = state.kind === "numbers", several = state.kind === "classes";
  const matrix = new Matrix(state, look);
  if (!state.before) look.compare = "after";
  const changed = debounce(() => panel.settled(), 50);
  const remember = () => {
    panel.ask("look", { order: look.order, percent: look.percent, compare: look.compare, label: look.label }).then(changed, (error) => panel.error(error));
  };

  const readout = h("div", { class: "fm-readout", role: "status" });
  const stage = h("div", { class: "fm-stage" });
  const side = h("div", { class: "fm-side" });
  const gallery = makeGallery(panel, state, changed);
  const datalist = h("datalist", { id: `fm-classes-${panel.id}` }, state.vocab.map((/** @type {string} */ name) => h("option", { value: name })));

  /** @type {{element: any, side?: any, draw(): void, mark(c: number | null): void, goTo?(i: number, j: number): void}} */
  let view;
  /** @param {Selection} selection */
  const choose = (selection, focus = false) => {
    view?.mark(selection.kind === "class" && !several ? selection.class : null);
    return gallery.open(selection, focus);
  };
  /** @param {number} i @param {number} j */
  const openCell = (i, j) => {
    const selection = { kind: "cell", actual: i, predicted: j, which: look.compare, ...(several ? { class: look.label } : {}) };
    return choose(selection);
  };

  if (numbers) view = makeScatter(panel, state, look, readout, choose);
  else if (matrix.size <= TABLE_CLASSES) view = makeTable(matrix, readout, openCell);
  else view = makeCanvas(panel, matrix, readout, openCell);
  const classes = numbers ? null : makeClasses(state, look, matrix, (/** @type {number} */ c) => {
    if (several) {
      look.label = c;
      remember();
      draw();
      gallery.clear();
    }
    choose({ kind: "class", class: c });
  }, (/** @type {number} */ i, /** @type {number} */ j) => { view.goTo?.(i, j); openCell(i, j); });

  function draw() {
    view.draw();
    classes?.draw();
    legend.replaceChildren(...legendParts());
    for (const [name, button] of compareButtons) button.setAttribute("aria-pressed", String(look.compare === name));
  }

  function legendParts() {
    if (numbers) return [h("span", { class: "fm-dim" }, "across: actual, up: predicted; on the dashed line they are the same")];
    const key = (/** @type {string} */ name, /** @type {string} */ text) => h("span", {}, h("i", { class: `fm-key fm-${name}` }), text);
    const unit = { count: state.kind === "pixels" ? "pixels" : "counts", actual: "% of each row", predicted: "% of each column" }[/** @type {"count"} */ (look.percent)];
    return [h("span", { class: "fm-dim" }, `rows actual, columns predicted; ${unit}${look.compare === "before" ? ", before" : ""}`),
      ...(look.compare === "difference" ? [key("right", "better"), key("wrong", "worse")] : [key("right", "right"), key("wrong", "wrong")])];
  }

  // ---------------------------------------------------------------- controls

  /** @param {string} label @param {[string, string][]} options @param {string} value @param {(value: string) => void} change */
  const select = (label, options, value, change) => {
    const element = h("select", { "aria-label": label, onchange: () => change(element.value) },
      options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
    return h("label", {}, label, element);
  };
  const controls = h("div", { class: "fm-row fm-controls" });
  const legend = h("div", { class: "fm-row fm-legend" });
  /** @type {Map<string, any>} */
  const compareButtons = new Map();
  if (!numbers) {
    controls.append(
      select("Sort", [["vocab", "as given"], ["name", "by name"], ["confusion", several ? "most mistakes first" : "similar side by side"]],
        look.order, (value) => { look.order = value; classes?.sort(null); remember(); draw(); }),
      select("Show", [["count", state.kind === "pixels" ? "pixels" : "counts"], ["actual", "% of actual (rows)"], ["predicted", "% of predicted (columns)"]],
        look.percent, (value) => { look.percent = value; remember(); draw(); }));
  } else if (state.outputs > 1) {
    controls.append(select("Number", Array.from({ length: state.outputs }, (_, i) => [String(i), `${i + 1} of ${state.outputs}`]),
      String(look.label), (value) => panel.run(async () => {
        Object.assign(state, await panel.ask("numbers", { output: Number(value) }));
        gallery.clear();
        draw();
        changed();
      })));
  }
  if (state.before) {
    const names = numbers ? ["before", "after"] : ["before", "after", "difference"];
    const group = h("span", { class: "fm-segments", role: "group", "aria-label": "Compare" }, names.map((name) => {
      const button = h("button", { onclick: () => { look.compare = name; remember(); draw(); } }, name);
      compareButtons.set(name, button);
      return button;
    }));
    controls.append(h("span", { class: "fm-row" }, "Compare", group));
  }
  if (!numbers && matrix.size > 8 || several && state.vocab.length > 8) {
    const find = h("input", { type: "search", placeholder: "Find a class", "aria-label": "Find a class", list: datalist.id, class: "fm-find",
      onchange: () => {
        const wanted = find.value.trim().toLowerCase();
        if (!wanted) return view.mark(null);
        const names = state.vocab.map((/** @type {string} */ name) => name.toLowerCase());
        let c = names.indexOf(wanted);
        if (c < 0) c = names.findIndex((/** @type {string} */ name) => name.includes(wanted));
        if (c < 0) { readout.textContent = `No class is called ${find.value}.`; return; }
        if (!several) view.goTo?.(c, c);
        classes?.show(c);
      } });
    controls.append(find);
  }
  if (state.kind !== "pixels") {
    controls.append(h("button", { onclick: () => choose({ kind: "worst" }, true) }, "Highest losses"));
  }

  // ---------------------------------------------------------------- what has changed

  const comparison = h("div", { class: "fm-row fm-changes" });
  if (state.before) {
    const { changed: changes, matched, label } = state.before;
    comparison.append(h("span", { class: "fm-dim" }, `Before: ${label}.`));
    const names = { right: "newly right", wrong: "newly wrong", still: "wrong before and after" };
    for (const [how, name] of changes ? Object.entries(names) : []) {
      comparison.append(h("button", { disabled: !changes[how], onclick: () => choose({ kind: "changed", how }, true) },
        `${whole(changes[how])} ${name}`));
    }
    if (changes && matched < state.count) comparison.append(h("span", { class: "fm-dim" }, `${matched} of ${state.count} items were there before.`));
  }

  stage.append(view.element);
  if (numbers) side.append(view.side);
  else side.append(classes.element);
  panel.body.append(
    h("div", { class: "fm-confusion" },
      h("div", { class: "fm-summary" }, state.summary),
      state.notes.map((/** @type {string} */ note) => h("div", { class: "fm-dim" }, note)),
      controls, comparison,
      h("div", { class: "fm-columns" }, h("div", { class: "fm-left" }, stage, readout, legend), side),
      gallery.element, datalist));
  draw();
  panel.on("theme", draw);
  panel.on("mounted", () => requestAnimationFrame(draw));
  if (look.selection) gallery.open(look.selection, false);
}

// -------------------------------------------------------------------- the matrix as a table

/**
 * @param {Matrix} matrix @param {HTMLElement} readout @param {(i: number, j: number) => any} openCell
 * @returns {any}
 */
function makeTable(matrix, readout, openCell) {
  const element = h("div", { class: "fm-scroll" });
  /** @type {[number, number]} */
  let cursor = [0, 0];
  /** @type {number | null} */
  let marked = null;
  /** @type {[number, number] | null} */
  let opened = null;
  /** @type {any[][]} */
  let cells = [];

  function draw() {
    const { order, size } = matrix;
    const focused = element.contains(document.activeElement);
    const paint = matrix.strengths();
    cells = [];
    const names = order.map((/** @type {number} */ i) => matrix.name(i));
    const turned = size > 6 || (size > 3 && names.some((/** @type {string} */ name) => name.length > 7));
    const head = h("tr", {}, h("td", { class: "fm-corner" }, h("span", { class: "fm-hidden" }, "actual, then predicted")),
      order.map((/** @type {number} */ i, /** @type {number} */ k) => h("th", { scope: "col", class: marked === i ? "fm-marked" : "", title: names[k] },
        h("span", {}, names[k]))));
    const rows = order.map((/** @type {number} */ i, /** @type {number} */ y) => {
      const row = h("tr", { class: marked === i ? "fm-marked" : "" }, h("th", { scope: "row", title: matrix.name(i) }, h("span", {}, matrix.name(i))));
      cells.push(order.map((/** @type {number} */ j, /** @type {number} */ x) => {
        const { good, alpha } = paint(i, j);
        const open = opened && opened[0] === i && opened[1] === j;
        const cell = h("td", {
          role: "gridcell", tabIndex: cursor[0] === y && cursor[1] === x ? 0 : -1, "aria-label": matrix.words(i, j),
          "aria-selected": open ? "true" : "false",
          class: `fm-cell${alpha ? "" : " fm-zero"}${i === j ? " fm-diagonal" : ""}${marked === j ? " fm-marked" : ""}`,
          style: alpha ? `background: rgb(var(--fm-c-${good ? "right" : "wrong"}) / ${alpha.toFixed(3)})` : "",
          onclick: () => { move(y, x); open_(y, x); },
          onfocus: () => { readout.textContent = matrix.words(i, j); },
          onmouseenter: () => { readout.textContent = matrix.words(i, j); },
        }, matrix.text(i, j));
        row.append(cell);
        return cell;
      }));
      return row;
    });
    const table = h("table", { class: `fm-matrix${turned ? " fm-turned" : size <= 3 ? " fm-wide" : ""}`, role: "grid", "aria-label": "Confusion matrix, rows actual, columns predicted",
      style: `--fm-size: ${size <= 3 ? 72 : size <= 6 ? 56 : size <= 12 ? 44 : 34}px`, onkeydown: key }, h("thead", {}, head), h("tbody", {}, rows));
    element.replaceChildren(table);
    if (focused) cells[cursor[0]][cursor[1]].focus();
  }

  /** @param {number} y @param {number} x */
  function move(y, x) {
    cells[cursor[0]][cursor[1]].tabIndex = -1;
    cursor = [Math.max(0, Math.min(cells.length - 1, y)), Math.max(0, Math.min(cells.length - 1, x))];
    cells[cursor[0]][cursor[1]].tabIndex = 0;
    cells[cursor[0]][cursor[1]].focus();
  }

  /** @param {number} y @param {number} x */
  function open_(y, x) {
    for (const row of cells) for (const cell of row) cell.setAttribute("aria-selected", "false");
    cells[y][x].setAttribute("aria-selected", "true");
    opened = [matrix.order[y], matrix.order[x]];
    openCell(opened[0], opened[1]);
  }

  /** @param {KeyboardEvent} event */
  function key(event) {
    const [y, x] = cursor, last = cells.length - 1;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowUp: () => move(y - 1, x), ArrowDown: () => move(y + 1, x), ArrowLeft: () => move(y, x - 1), ArrowRight: () => move(y, x + 1),
      Home: () => move(event.ctrlKey ? 0 : y, 0), End: () => move(event.ctrlKey ? last : y, last),
      Enter: () => open_(y, x), " ": () => open_(y, x),
    };
    if (actions[event.key]) {
      event.preventDefault();
      actions[event.key]();
    }
  }

  return {
    element, draw,
    /** @param {number | null} c */
    mark(c) { marked = c; if (c !== null) opened = null; draw(); },
    /** @param {number} i @param {number} j */
    goTo(i, j) { cursor = [matrix.order.indexOf(i), matrix.order.indexOf(j)]; opened = i === j ? null : [i, j]; draw(); },
  };
}

// -------------------------------------------------------------------- the matrix as a drawing

/**
 * @param {PanelView} panel @param {Matrix} matrix @param {HTMLElement} readout @param {(i: number, j: number) => any} openCell
 * @returns {any}
 */
function makeCanvas(panel, matrix, readout, openCell) {
  const n = matrix.size;
  const canvas = h("canvas", { tabindex: 0, role: "application", "aria-label":
    `Confusion matrix of ${n} classes. Arrow keys move, Enter opens a cell, plus and minus zoom, E goes to the next larger error.` });
  const buttons = h("div", { class: "fm-row fm-zoom" },
    h("button", { "aria-label": "Zoom in", title: "Zoom in (+)", onclick: () => zoom(1.6) }, "+"),
    h("button", { "aria-label": "Zoom out", title: `Zoom out (${MINUS})`, onclick: () => zoom(1 / 1.6) }, MINUS),
    h("button", { title: "Show all classes (0)", onclick: () => { scale = 0; draw(); } }, "All"),
    h("button", { title: "Go to the most frequent mistakes, one after another (E)", onclick: () => nextError() }, "Next mistake"),
    h("span", { class: "fm-dim" }, "Click, then turn the wheel to zoom; drag to move."));
  const element = h("div", {}, buttons, canvas);
  const small = document.createElement("canvas");
  small.width = small.height = n;
  let width = 600, margin = 90, scale = 0, left = 0, top = 0;
  /** @type {[number, number]} */
  let cursor = [0, 0];
  let shown = false;
  /** @type {number | null} */
  let marked = null;
  /** @type {[number, number][]} */
  let errors = [];
  let error = -1;
  let drawn = "";
  const plot = () => width - margin;

  function picture() {
    const paint = matrix.strengths(), order = matrix.order;
    const colours = ["--fm-c-right", "--fm-c-wrong"].map((name) => ink(panel.root, name).split(" ").map(Number));
    const context = /** @type {CanvasRenderingContext2D} */ (small.getContext("2d"));
    const image = context.createImageData(n, n);
    /** @type {[number, number, number][]} */
    const wrong = [];
    for (let y = 0; y < n; y++) {
      for (let x = 0; x < n; x++) {
        const { good, alpha } = paint(order[y], order[x]);
        const [r, g, b] = colours[good ? 0 : 1];
        // Single pixels need more ink than cells with a number in them.
        image.data.set([r, g, b, Math.min(255, 255 * alpha * (good ? 1.3 : 1.5))], 4 * (y * n + x));
        if (x !== y && alpha) wrong.push([alpha, y, x]);
      }
    }
    context.putImageData(image, 0, 0);
    errors = wrong.sort((a, b) => b[0] - a[0]).map(([, y, x]) => [y, x]);
  }

  function draw() {
    const room = element.clientWidth;
    if (!room) return;
    width = Math.min(room, 680);
    const key = `${matrix.look.order} ${matrix.look.percent} ${matrix.look.compare} ${panel.root.className}`;
    if (key !== drawn) {
      const was = drawn ? [matrix.order[cursor[0]], matrix.order[cursor[1]]] : null;
      drawn = key;
      picture();
      if (was) cursor = [cursor[0], cursor[1]];
      error = -1;
    }
    const context = sharp(canvas, width, width);
    const dim = ink(panel.root, "--fm-dim"), text = ink(panel.root, "--fm-text"), line = ink(panel.root, "--fm-line");
    const font = getComputedStyle(panel.root).fontFamily;
    context.font = `11px ${font}`;
    const longest = Math.max(...matrix.state.vocab.map((/** @type {string} */ name) => context.measureText(name).width));
    margin = Math.min(longest + 14, width * 0.24);
    const fit = plot() / n;
    scale = Math.max(fit, Math.min(48, scale || fit));
    const most = n - plot() / scale;
    left = Math.max(0, Math.min(most, left));
    top = Math.max(0, Math.min(most, top));
    context.clearRect(0, 0, width, width);
    context.save();
    context.beginPath();
    context.rect(margin, margin, plot(), plot());
    context.clip();
    context.imageSmoothingEnabled = false;
    context.drawImage(small, margin - left * scale, margin - top * scale, n * scale, n * scale);
    const first = (/** @type {number} */ at) => Math.floor(at), last = (/** @type {number} */ at) => Math.min(n, Math.ceil(at + plot() / scale));
    if (scale >= 9) {
      context.strokeStyle = ink(panel.root, "--fm-faint");
      context.lineWidth = 0.5;
      context.beginPath();
      for (let x = first(left); x <= last(left); x++) { const at = margin + (x - left) * scale; context.moveTo(at, margin); context.lineTo(at, width); }
      for (let y = first(top); y <= last(top); y++) { const at = margin + (y - top) * scale; context.moveTo(margin, at); context.lineTo(width, at); }
      context.stroke();
    }
    if (scale >= 22) {
      context.fillStyle = text;
      context.textAlign = "center";
      context.textBaseline = "middle";
      for (let y = first(top); y < last(top); y++) {
        for (let x = first(left); x < last(left); x++) {
          const words = matrix.text(matrix.order[y], matrix.order[x]);
          if (words) context.fillText(words, margin + (x - left + 0.5) * scale, margin + (y - top + 0.5) * scale, scale - 2);
        }
      }
    }
    if (marked !== null) {
      const at = matrix.order.indexOf(marked);
      context.strokeStyle = ink(panel.root, "--fm-focus");
      context.lineWidth = 1.5;
      const thick = Math.max(scale, 3);
      context.strokeRect(margin - 2, margin + (at - top) * scale - 0.5, plot() + 4, thick + 1);
      context.strokeRect(margin + (at - left) * scale - 0.5, margin - 2, thick + 1, plot() + 4);
    }
    if (shown) {
      const [y, x] = cursor;
      context.strokeStyle = text;
      context.lineWidth = 1.5;
      const thick = Math.max(scale, 5), off = (thick - scale) / 2;
      context.strokeRect(margin + (x - left) * scale - off, margin + (y - top) * scale - off, thick, thick);
      context.globalAlpha = 0.35;
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(margin, margin + (y - top + 0.5) * scale);
      context.lineTo(margin + (x - left) * scale - off, margin + (y - top + 0.5) * scale);
      context.moveTo(margin + (x - left + 0.5) * scale, margin);
      context.lineTo(margin + (x - left + 0.5) * scale, margin + (y - top) * scale - off);
      context.stroke();
    }
    context.restore();
    context.strokeStyle = line;
    context.lineWidth = 1;
    context.strokeRect(margin - 0.5, margin - 0.5, plot(), plot());
    // Labels, as many as there is room for; the one of the cursor always.
    const every = Math.ceil(12 / scale);
    const label = (/** @type {number} */ k, /** @type {boolean} */ row, /** @type {boolean} */ strong) => {
      const at = margin + (k - (row ? top : left) + 0.5) * scale;
      if (at < margin + 3 || at > width - 4) return;
      context.save();
      context.translate(row ? margin - 6 : at, row ? at : margin - 6);
      if (!row) context.rotate(-Math.PI / 2);
      context.font = `${strong ? "bold " : ""}11px ${font}`;
      context.textAlign = row ? "right" : "left";
      context.textBaseline = "middle";
      let name = matrix.name(matrix.order[k]);
      while (name.length > 3 && context.measureText(name).width > margin - 10) name = `${name.slice(0, -2)}…`;
      if (strong) {
        const size = context.measureText(name).width;
        context.fillStyle = ink(panel.root, "--fm-back");
        context.fillRect(row ? -size - 2 : -2, -8, size + 4, 16);
      }
      context.fillStyle = strong ? text : dim;
      context.fillText(name, 0, 0);
      context.restore();
    };
    for (let k = Math.ceil(first(top) / every) * every; k < last(top); k += every) label(k, true, false);
    for (let k = Math.ceil(first(left) / every) * every; k < last(left); k += every) label(k, false, false);
    if (marked !== null) { const at = matrix.order.indexOf(marked); label(at, true, true); label(at, false, true); }
    if (shown) { label(cursor[0], true, true); label(cursor[1], false, true); }
  }

  /** @param {number} factor @param {number} [x] @param {number} [y] where the drawing stays, in CSS px */
  function zoom(factor, x = margin + plot() / 2, y = margin + plot() / 2) {
    const before = scale;
    scale = Math.max(plot() / n, Math.min(48, scale * factor));
    left += (x - margin) / before - (x - margin) / scale;
    top += (y - margin) / before - (y - margin) / scale;
    draw();
  }

  function say() {
    readout.textContent = matrix.words(matrix.order[cursor[0]], matrix.order[cursor[1]]);
  }

  /** @param {number} y @param {number} x @param {boolean} follow keep it in sight */
  function move(y, x, follow) {
    cursor = [Math.max(0, Math.min(n - 1, y)), Math.max(0, Math.min(n - 1, x))];
    shown = true;
    if (follow) {
      const seen = plot() / scale;
      if (cursor[0] < top || cursor[0] + 1 > top + seen) top = cursor[0] + 0.5 - seen / 2;
      if (cursor[1] < left || cursor[1] + 1 > left + seen) left = cursor[1] + 0.5 - seen / 2;
    }
    say();
    draw();
  }

  function nextError() {
    if (!errors.length) { readout.textContent = "No mistakes."; return; }
    error = (error + 1) % errors.length;
    const [y, x] = errors[error];
    centre(y, x);
  }

  /** @param {number} y @param {number} x */
  function centre(y, x) {
    scale = Math.max(scale, 26);
    left = x + 0.5 - plot() / scale / 2;
    top = y + 0.5 - plot() / scale / 2;
    move(y, x, false);
  }

  /** The cell under the pointer; where cells are tiny, the strongest mistake within 4 px. @param {MouseEvent} event @returns {[number, number] | null} */
  function under(event) {
    const box = canvas.getBoundingClientRect();
    const zoomed = box.width / width || 1; // RISE scales its slides
    const x = ((event.clientX - box.left) / zoomed - margin) / scale + left, y = ((event.clientY - box.top) / zoomed - margin) / scale + top;
    if (x < left || y < top || x >= n || y >= n) return null;
    if (scale < 8) {
      const reach = 4 / scale;
      const near = errors.find(([ey, ex]) => Math.abs(ey + 0.5 - y) < reach && Math.abs(ex + 0.5 - x) < reach);
      if (near) return near;
    }
    return [Math.floor(y), Math.floor(x)];
  }

  /** @type {{x: number, y: number, left: number, top: number, moved: boolean} | null} */
  let drag = null;
  canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    drag = { x: event.clientX, y: event.clientY, left, top, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    if (drag) {
      const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
      drag.moved ||= Math.abs(dx) + Math.abs(dy) > 4;
      if (drag.moved) { left = drag.left - dx / scale; top = drag.top - dy / scale; draw(); }
      return;
    }
    const at = under(event);
    if (at && (at[0] !== cursor[0] || at[1] !== cursor[1] || !shown)) move(at[0], at[1], false);
  });
  canvas.addEventListener("pointerup", (/** @type {PointerEvent} */ event) => {
    const clicked = drag && !drag.moved;
    drag = null;
    const at = clicked && under(event);
    if (at) { move(at[0], at[1], false); openCell(matrix.order[at[0]], matrix.order[at[1]]); }
  });
  canvas.addEventListener("pointercancel", () => { drag = null; });
  canvas.addEventListener("wheel", (/** @type {WheelEvent} */ event) => {
    // The page scrolls past the drawing unless it was clicked or Ctrl (a pinch on a trackpad) is down.
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    const box = canvas.getBoundingClientRect(), zoomed = box.width / width || 1;
    zoom(Math.exp(-event.deltaY * 0.002), (event.clientX - box.left) / zoomed, (event.clientY - box.top) / zoomed);
  }, { passive: false });
  canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const [y, x] = cursor, step = event.shiftKey ? 10 : 1;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowUp: () => move(y - step, x, true), ArrowDown: () => move(y + step, x, true), ArrowLeft: () => move(y, x - step, true),
      ArrowRight: () => move(y, x + step, true), Home: () => move(y, 0, true), End: () => move(y, n - 1, true),
      Enter: () => openCell(matrix.order[y], matrix.order[x]), " ": () => openCell(matrix.order[y], matrix.order[x]),
      "+": () => zoom(1.6), "=": () => zoom(1.6), "-": () => zoom(1 / 1.6), 0: () => { scale = 0; draw(); },
      e: nextError, E: nextError,
    };
    if (actions[event.key] && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      actions[event.key]();
    }
  });
  new ResizeObserver(() => draw()).observe(element);
  return {
    element, draw,
    /** @param {number | null} c */
    mark(c) { marked = c; draw(); },
    /** @param {number} i @param {number} j */
    goTo(i, j) { centre(matrix.order.indexOf(i), matrix.order.indexOf(j)); },
  };
}

// -------------------------------------------------------------------- classes and pairs beside it

/**
 * @param {any} state @param {any} look @param {Matrix} matrix
 * @param {(c: number) => void} choose @param {(i: number, j: number) => void} openPair
 * @returns {any}
 */
function makeClasses(state, look, matrix, choose, openPair) {
  const several = state.kind === "classes", pixels = state.kind === "pixels";
  const columns = [...(several ? ["mistakes"] : []), "precision", "recall", "F1", ...(pixels ? ["IoU"] : []), pixels ? "pixels" : "support"];
  const MISTAKES = -1, fields = [...(several ? [MISTAKES] : []), 0, 1, 2, ...(pixels ? [3] : []), 4];
  const help = {
    mistakes: "items that wrongly have or lack this label",
    precision: "of what was given this label, the share that has it", recall: "of what has this label, the share that was given it",
    F1: "harmonic mean of precision and recall", IoU: "intersection over union", support: "items with this label", pixels: "pixels with this label",
  };
  /** @type {{column: number, down: boolean} | null} */
  let sorting = null;
  /** @type {number | null} */
  let chosen = several ? look.label : null;
  let tab = "classes";
  const element = h("div", {}), content = h("div", { class: "fm-scroll fm-list" });
  const tabs = several ? [] : ["classes", "mistakes"].map((name) => h("button", { onclick: () => { tab = name; draw(); } },
    name === "classes" ? "Classes" : "Mistakes"));
  if (tabs.length) element.append(h("div", { class: "fm-segments", role: "group", "aria-label": "Beside the matrix" }, tabs));
  element.append(content);
  const width = 5;
  /** @param {string} which @param {number} c @param {number} field */
  const rate = (which, c, field) => {
    const { rates, matrix: { data } } = which === "before" ? state.before : state;
    return field === MISTAKES ? data[c * 4 + 1] + data[c * 4 + 2] : rates.data[c * width + field];
  };
  /** @param {number} c @param {number} field */
  const value = (c, field) => look.compare === "difference" ? rate("after", c, field) - rate("before", c, field) : rate(look.compare, c, field);

  /** @param {number} c @param {number} field */
  function cell(c, field) {
    const number = value(c, field);
    if (Number.isNaN(number)) return "–";
    const difference = look.compare === "difference";
    if (field === 4 || field === MISTAKES) return difference ? number ? signed(number, brief(Math.abs(number))) : "" : brief(number);
    const text = (100 * Math.abs(number)).toFixed(1);
    return difference ? text === "0.0" ? "" : signed(number, text) : `${text} %`;
  }

  function classTable() {
    const order = [...state.orders[look.order]];
    if (sorting) {
      const { column, down } = sorting;
      const key = (/** @type {number} */ c) => Number.isNaN(value(c, fields[column])) ? -1 : value(c, fields[column]);
      order.sort((a, b) => (down ? -1 : 1) * (key(a) - key(b)));
    }
    const head = h("tr", {}, h("th", { scope: "col" }, "class"), columns.map((name, k) => h("th", {
      scope: "col", class: "fm-number", title: help[/** @type {"F1"} */ (name)],
      "aria-sort": sorting?.column === k ? sorting.down ? "descending" : "ascending" : "none",
    }, h("button", { class: "fm-plain", onclick: () => { sort(sorting?.column === k ? { column: k, down: !sorting.down } : { column: k, down: [4, MISTAKES].includes(fields[k]) }); } },
      name, sorting?.column === k ? sorting.down ? " ▾" : " ▴" : ""))));
    const rows = order.map((c) => h("tr", { class: c === chosen ? "fm-chosen" : "", "data-class": c, onclick: () => pick(c) },
      h("th", { scope: "row" }, h("button", { class: "fm-plain", title: state.vocab[c], "aria-pressed": c === chosen ? "true" : "false" }, state.vocab[c])),
      fields.map((field) => h("td", { class: "fm-number" }, cell(c, field)))));
    return h("table", { class: "fm-classes" }, h("thead", {}, head), h("tbody", {}, rows));
  }

  function pairTable() {
    const n = matrix.size, pairs = [];
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        const size = Math.abs(look.compare === "difference" ? matrix.count("after", i, j) - matrix.count("before", i, j) : matrix.count(look.compare, i, j));
        if (i !== j && size) pairs.push({ i, j, size });
      }
    }
    pairs.sort((a, b) => b.size - a.size);
    if (!pairs.length) return h("p", { class: "fm-dim" }, look.compare === "difference" ? "Nothing has changed." : "No mistakes.");
    const rows = pairs.slice(0, 100).map(({ i, j }) => h("tr", { onclick: () => openPair(i, j) },
      h("th", { scope: "row" }, h("button", { class: "fm-plain" }, `${matrix.name(i)} → ${matrix.name(j)}`)),
      h("td", { class: "fm-number" }, look.compare === "difference"
        ? `${brief(matrix.count("before", i, j))} → ${brief(matrix.count("after", i, j))}` : brief(matrix.count(look.compare, i, j))),
      h("td", { class: "fm-number" }, percent(matrix.count(look.compare === "before" ? "before" : "after", i, j) / matrix.totals(look.compare === "before" ? "before" : "after").rows[i]))));
    return h("div", {}, h("table", { class: "fm-classes fm-pairs" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "actual → predicted"),
      h("th", { scope: "col", class: "fm-number" }, state.kind === "pixels" ? "pixels" : "times"), h("th", { scope: "col", class: "fm-number" }, "of actual"))), h("tbody", {}, rows)),
    pairs.length > 100 && h("p", { class: "fm-dim" }, `and ${pairs.length - 100} rarer ones`));
  }

  function draw() {
    const at = content.scrollTop;
    const focused = content.contains(document.activeElement) ? document.activeElement?.closest("tr")?.getAttribute("data-class") : null;
    tabs.forEach((button, k) => button.setAttribute("aria-pressed", String(tab === ["classes", "mistakes"][k])));
    if (several) chosen = look.label;
    content.replaceChildren(tab === "classes" ? classTable() : pairTable());
    content.scrollTop = at;
    if (focused) content.querySelector(`tr[data-class="${focused}"] button`)?.focus();
  }

  /** @param {{column: number, down: boolean} | null} by */
  function sort(by) {
    sorting = by;
    draw();
  }

  /** @param {number} c */
  function pick(c) {
    chosen = c;
    draw();
    choose(c);
  }

  return {
    element, draw,
    /** @param {null} by */
    sort(by) { sorting = by; },
    /** @param {number} c */
    show(c) {
      tab = "classes";
      pick(c);
      const row = content.querySelector(`tr[data-class="${c}"]`);
      if (row) content.scrollTop = row.offsetTop - content.clientHeight / 2;
    },
  };
}

// -------------------------------------------------------------------- numbers: predicted against actual

/**
 * @param {PanelView} panel @param {any} state @param {any} look @param {HTMLElement} readout
 * @param {(selection: Selection, focus?: boolean) => any} choose
 * @returns {any}
 */
function makeScatter(panel, state, look, readout, choose) {
  const canvas = h("canvas", { tabindex: 0, role: "application",
    "aria-label": "Predicted against actual values. Arrow keys go through the points from the largest error, Enter shows the item." });
  const element = h("div", {}, canvas), side = h("div", {});
  const POINTS = 5000, BINS = 90, left = 56, bottom = 40, edge = 10;
  let width = 480, low = 0, high = 1;
  /** @type {number[]} */
  let byError = [];
  let cursor = -1, at = -1;
  /** @type {Map<number, number[]> | null} */
  let bins = null;
  /** @type {any} */
  let drawn = null;
  const data = () => look.compare === "before" && state.before ? state.before : state;
  const plot = () => width - left - edge;
  const across = (/** @type {number} */ value) => left + plot() * (value - low) / (high - low);
  const up = (/** @type {number} */ value) => edge + plot() * (1 - (value - low) / (high - low));
  const bin = (/** @type {number} */ a, /** @type {number} */ p) =>
    Math.min(BINS - 1, Math.floor(BINS * (a - low) / (high - low))) + BINS * Math.min(BINS - 1, Math.floor(BINS * (p - low) / (high - low)));

  function prepare() {
    const { actual: { data: actual }, predicted: { data: predicted } } = data();
    low = Infinity;
    high = -Infinity;
    byError = [];
    for (const { actual: a, predicted: p } of [state, state.before].filter(Boolean)) {
      for (const values of [a.data, p.data]) for (const value of values) if (Number.isFinite(value)) { low = Math.min(low, value); high = Math.max(high, value); }
    }
    if (!(high > low)) { low -= 0.5; high += 0.5; }
    const room = (high - low) * 0.03;
    low -= room;
    high += room;
    for (let k = 0; k < actual.length; k++) if (Number.isFinite(actual[k] + predicted[k])) byError.push(k);
    bins = null;
    if (byError.length > POINTS) {
      bins = new Map();
      for (const k of byError) {
        const key = bin(actual[k], predicted[k]);
        if (!bins.has(key)) bins.set(key, []);
        /** @type {number[]} */ (bins.get(key)).push(k);
      }
    }
    byError.sort((a, b) => Math.abs(predicted[b] - actual[b]) - Math.abs(predicted[a] - actual[a]));
    cursor = at = -1;
  }

  function ticks() {
    const rough = (high - low) / 6, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough) ?? rough;
    const found = [];
    for (let value = Math.ceil(low / step) * step; value <= high; value += step) found.push(Number(value.toPrecision(6)));
    return found;
  }

  function draw() {
    const room = element.clientWidth;
    if (!room) return;
    width = Math.min(room, 560);
    if (drawn !== data().actual) { drawn = data().actual; prepare(); facts(); }
    const { actual: { data: actual }, predicted: { data: predicted } } = data();
    const context = sharp(canvas, width, plot() + edge + bottom);
    const dim = ink(panel.root, "--fm-dim"), faint = ink(panel.root, "--fm-faint");
    context.font = `11px ${getComputedStyle(panel.root).fontFamily}`;
    context.fillStyle = dim;
    context.strokeStyle = faint;
    for (const value of ticks()) {
      const x = across(value), y = up(value);
      context.beginPath();
      context.moveTo(x, edge); context.lineTo(x, edge + plot());
      context.moveTo(left, y); context.lineTo(left + plot(), y);
      context.stroke();
      context.textAlign = "center";
      context.textBaseline = "top";
      context.fillText(number(value), x, edge + plot() + 5);
      context.textAlign = "right";
      context.textBaseline = "middle";
      context.fillText(number(value), left - 6, y);
    }
    context.textAlign = "center";
    context.textBaseline = "bottom";
    context.fillText("actual", left + plot() / 2, edge + plot() + bottom - 2);
    context.save();
    context.translate(12, edge + plot() / 2);
    context.rotate(-Math.PI / 2);
    context.fillText("predicted", 0, 0);
    context.restore();
    const colour = ink(panel.root, "--fm-blue");
    context.fillStyle = colour;
    if (bins) {
      const most = Math.log(1 + Math.max(...[...bins.values()].map((bin) => bin.length)));
      const size = plot() / BINS;
      for (const [key, inside] of bins) {
        context.globalAlpha = 0.12 + 0.88 * Math.log(1 + inside.length) / most;
        context.fillRect(left + (key % BINS) * size, edge + plot() - (Math.floor(key / BINS) + 1) * size, size + 0.4, size + 0.4);
      }
    } else {
      context.globalAlpha = byError.length > 800 ? 0.4 : 0.65;
      for (const k of byError) {
        context.beginPath();
        context.arc(across(actual[k]), up(predicted[k]), 3, 0, 2 * Math.PI);
        context.fill();
      }
    }
    context.globalAlpha = 1;
    context.strokeStyle = ink(panel.root, "--fm-text");
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(across(low), up(low));
    context.lineTo(across(high), up(high));
    context.stroke();
    context.setLineDash([]);
    if (at >= 0) {
      context.strokeStyle = ink(panel.root, "--fm-orange");
      context.lineWidth = 2.5;
      context.beginPath();
      context.arc(across(actual[at]), up(predicted[at]), 7, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  /** @param {number} k */
  function say(k) {
    const { actual: { data: actual }, predicted: { data: predicted } } = data();
    const inside = bins?.get(bin(actual[k], predicted[k]));
    const many = inside && inside.length > 1 ? `; ${whole(inside.length)} points here` : "";
    readout.textContent = `actual ${number(actual[k])} → predicted ${number(predicted[k])}: off by ${signed(predicted[k] - actual[k], number(Math.abs(predicted[k] - actual[k])))}${many}`;
    at = k;
    draw();
  }

  /** @param {number} k */
  function open(k) {
    const { actual: { data: actual }, predicted: { data: predicted } } = data();
    const inside = bins?.get(bin(actual[k], predicted[k])) ?? [k];
    choose({ kind: "points", positions: inside.slice(0, 2000) });
  }

  /** The point nearest to the pointer, within 12 px. @param {MouseEvent} event */
  function under(event) {
    const box = canvas.getBoundingClientRect(), zoomed = box.width / width || 1;
    const x = (event.clientX - box.left) / zoomed, y = (event.clientY - box.top) / zoomed;
    const { actual: { data: actual }, predicted: { data: predicted } } = data();
    let best = -1, least = 144;
    for (const k of byError) {
      const distance = (across(actual[k]) - x) ** 2 + (up(predicted[k]) - y) ** 2;
      if (distance < least) { least = distance; best = k; }
    }
    return best;
  }

  function facts() {
    const fits = state.before ? [["before", state.before.fit], ["after", state.fit]] : [["", state.fit]];
    const rows = [["R²", "r2"], ["mean absolute error", "mae"], ["root mean square error", "rmse"], ["mean of predicted − actual", "bias"], ["items", "n"]];
    fill(side, h("table", { class: "fm-classes" },
      fits.length > 1 && h("thead", {}, h("tr", {}, h("th", {}), fits.map(([name]) => h("th", { scope: "col", class: "fm-number" }, name)))),
      h("tbody", {}, rows.map(([name, key]) => h("tr", {}, h("th", { scope: "row" }, name),
        fits.map(([, fit]) => h("td", { class: "fm-number" }, key === "n" ? whole(fit.n) : number(fit[key]))))))),
    bins && h("p", { class: "fm-dim" }, `${whole(byError.length)} points, drawn as how many lie in each of ${BINS} × ${BINS} squares (logarithmic).`));
  }

  canvas.addEventListener("mousemove", (/** @type {MouseEvent} */ event) => { const k = under(event); if (k >= 0 && k !== at) say(k); });
  canvas.addEventListener("click", (/** @type {MouseEvent} */ event) => { const k = under(event); if (k >= 0) { say(k); open(k); } });
  canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[/** @type {"ArrowUp"} */ (event.key)];
    if (step && byError.length) {
      event.preventDefault();
      cursor = Math.max(0, Math.min(byError.length - 1, cursor + step));
      say(byError[cursor]);
    } else if (event.key === "Enter" && at >= 0) open(at);
  });
  new ResizeObserver(() => draw()).observe(element);
  return { element, side, draw, mark() {} };
}

// -------------------------------------------------------------------- the items

/** @param {PanelView} panel @param {any} state @param {() => void} changed */
function makeGallery(panel, state, changed) {
  const several = state.kind === "classes";
  /** @type {Selection | null} */
  let selection = null;
  let total = 0, asked = 0, loading = false;
  /** @type {Map<number, {item: any, tile: any, box: any}>} */
  const shown = new Map();
  /** @type {Set<number>} */
  const picked = new Set();
  /** @type {number[][]} what was decided here, for undoing */
  const decided = [];

  const title = h("div", { class: "fm-title", tabindex: -1 });
  const journal = h("div", { class: "fm-dim fm-journal" });
  const grid = h("div", { class: "fm-grid" });
  const more = h("button", { class: "fm-more", onclick: () => page() }, "Show more");
  const bar = h("div", { class: "fm-row fm-picked" });
  const scroll = h("div", { class: "fm-gallery" }, grid, more);
  const hint = h("p", { class: "fm-dim" }, state.kind === "numbers" ? "Click a point to see its item." : "Click a cell to see what is in it, or a class to see the mistakes about it.");
  const element = h("div", { class: "fm-items" }, h("div", { class: "fm-row" }, title, h("span", { class: "fm-grow" }), bar), journal, hint, scroll);
  scroll.hidden = true;
  const watch = new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) page(); }, { root: scroll, rootMargin: "200px" });
  watch.observe(more);

  /** @param {Selection} chosen @param {boolean} focus */
  async function open(chosen, focus) {
    clear();
    selection = chosen;
    hint.hidden = true;
    scroll.hidden = false;
    title.textContent = "…";
    await page();
    if (focus) {
      title.focus({ preventScroll: true });
      element.scrollIntoView({ block: "nearest" });
    }
    changed();
  }

  function clear() {
    asked++;
    for (const { item } of shown.values()) if (item.picture?.url) URL.revokeObjectURL(item.picture.url);
    shown.clear();
    picked.clear();
    grid.replaceChildren();
    title.textContent = "";
    total = 0;
    loading = false;
    more.hidden = true;
    selection = null;
    hint.hidden = false;
    scroll.hidden = true;
    drawBar();
  }

  async function page() {
    if (loading || !selection || (shown.size && shown.size >= total)) return;
    const mine = asked;
    loading = true;
    more.textContent = "Loading…";
    await panel.run(async () => {
      const answer = await panel.ask("items", { selection, start: shown.size, count: PAGE });
      if (mine !== asked) return;
      total = answer.total;
      const order = ["worst", "cell", "class", "changed"].includes(selection?.kind ?? "") && state.kind !== "pixels" && total > 1 ? ", worst loss first" : "";
      title.textContent = `${answer.title}: ${whole(total)} ${noun(total)}${selection?.kind === "worst" ? "" : order}`;
      for (const item of answer.items) {
        const box = h("div", { class: "fm-tile" });
        shown.set(item.position, { item, box, tile: null });
        drawTile(item.position);
        grid.append(box);
      }
      drawBar();
    });
    if (mine !== asked) return;
    loading = false;
    more.textContent = `Show more (${whole(total - shown.size)})`;
    more.hidden = shown.size >= total;
  }

  /** @param {number} n */
  function noun(n) {
    if (state.kind === "pixels") return n === 1 ? "picture" : "pictures";
    return n === 1 ? "item" : "items";
  }

  /** @param {number} position */
  function drawTile(position) {
    const entry = shown.get(position);
    if (!entry) return;
    const { item, box } = entry;
    const focused = box.contains(document.activeElement) ? document.activeElement?.getAttribute("data-act") : null;
    const name = item.name;
    const show = item.picture
      ? h("button", { class: "fm-look", "data-act": "look", "aria-label": `Enlarge ${name}`, onclick: () => enlarge(position) },
        h("img", { src: item.picture.url, alt: name, loading: "lazy", onload: (/** @type {any} */ event) =>
          event.target.classList.toggle("fm-coarse", event.target.naturalWidth < 120) }))
      : item.text !== undefined
        ? h("button", { class: "fm-look fm-text", "data-act": "look", "aria-label": `Show all of ${name}`, onclick: () => enlarge(position) }, item.text)
        : item.row ? h("div", { class: "fm-scroll fm-rowed" }, h("table", {}, h("tbody", {}, item.row.map((/** @type {[string, string]} */ [key, value]) =>
          h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, value))))))
          : h("div", { class: "fm-gone fm-dim" }, "The file is gone.");
    box.classList.toggle("fm-decided", Boolean(item.decision));
    fill(box,
      h("div", { class: "fm-shot" }, show, item.decides && h("label", { class: "fm-pick" }, h("input", {
        type: "checkbox", "aria-label": `Choose ${name}`, checked: picked.has(position), "data-act": "pick",
        onchange: (/** @type {any} */ event) => { event.target.checked ? picked.add(position) : picked.delete(position); drawBar(); },
      }))),
      verdict(item), bars(item.top),
      h("div", { class: "fm-dim fm-name", title: name }, `loss ${number(item.loss)}`, h("br"), name),
      item.decides && decision(item));
    if (focused) box.querySelector(`[data-act="${focused}"]`)?.focus();
  }

  /** @param {any} item */
  function verdict(item) {
    if (item.pixels !== undefined) {
      return h("div", { class: "fm-verdict" }, h("b", {}, percent(item.share)), ` of its pixels${item.unmarked ? " (not marked: too many pictures to keep every mask)" : ""}`);
    }
    const parts = several
      ? [h("div", {}, "labelled ", h("b", {}, item.actual.replaceAll(";", ", ") || "nothing")), h("div", {}, "model says ", h("b", {}, item.predicted.replaceAll(";", ", ") || "nothing"))]
      : [item.actual, " → ", h("b", {}, item.predicted)];
    const mark = item.right === undefined ? "" : item.right ? "✓ " : "✗ ";
    return h("div", { class: `fm-verdict${item.right === false ? " fm-bad" : ""}` }, h("span", { class: "fm-mark" }, mark), parts,
      item.before !== undefined && h("div", { class: "fm-dim" }, `before: ${item.before || "nothing"}${item.label_before ? `, labelled ${item.label_before}` : ""}`));
  }

  /** @param {[string, number][] | undefined} top */
  function bars(top) {
    return top && h("div", { class: "fm-bars" }, top.map(([name, share]) => [
      h("span", { class: "fm-bar-name", title: name }, name), h("span", { class: "fm-track" }, h("span", { class: "fm-bar", style: `width: ${Math.max(1, 100 * share)}%` })),
      h("span", { class: "fm-number" }, percent(share))]));
  }

  /** @param {any} item */
  function decision(item) {
    const one = [item.position];
    if (item.decision) {
      const words = { relabel: `Relabel to ${item.decision.to}`, aside: "Set aside", keep: "Kept" }[/** @type {"keep"} */ (item.decision.action)];
      return h("div", { class: "fm-acts" }, h("b", { class: "fm-noted" }, words), h("button", { "data-act": "undo", onclick: () => decide(one, "undo") }, "Undo"));
    }
    /** @type {any[]} */
    const acts = [];
    if (state.relabel && several && selection?.class !== undefined) {
      const name = state.vocab[selection.class], has = item.labels.includes(name);
      acts.push(h("button", { "data-act": "quick", onclick: () => decide(one, "relabel", toggled(item, name)) }, `${has ? "Remove" : "Add"} ${name}`));
    } else if (state.relabel && !several && item.actual !== item.predicted) {
      acts.push(h("button", { "data-act": "quick", title: `Relabel to ${item.predicted}`, onclick: () => decide(one, "relabel", item.predicted) }, `→ ${item.predicted}`));
    }
    if (state.relabel) acts.push(relabel(several ? "Other label…" : "Relabel to…", (to) => decide(one, "relabel", several ? toggled(item, to) : to), item.name));
    acts.push(h("button", { "data-act": "aside", onclick: () => decide(one, "aside") }, "Set aside"));
    return h("div", { class: "fm-acts" }, acts);
  }

  /** @param {any} item @param {string} name */
  const toggled = (item, name) => item.labels.includes(name) ? item.labels.filter((/** @type {string} */ l) => l !== name) : [...item.labels, name];

  /** A button that becomes a field. @param {string} text @param {(to: string) => void} done @param {string} of */
  function relabel(text, done, of) {
    const input = h("input", { list: `fm-classes-${panel.id}`, placeholder: "new label", "aria-label": `New label of ${of}`, class: "fm-newlabel",
      onchange: () => { if (input.value.trim()) done(exact(input.value.trim())); },
      onkeydown: (/** @type {KeyboardEvent} */ event) => { if (event.key === "Escape") { input.replaceWith(button); button.focus(); } } });
    const button = h("button", { "data-act": "relabel", onclick: () => { button.replaceWith(input); input.focus(); } }, text);
    return button;
  }

  /** The class meant, if only its case differs. @param {string} name */
  const exact = (name) => state.vocab.find((/** @type {string} */ v) => v.toLowerCase() === name.toLowerCase()) ?? name;

  /** @param {number[]} positions @param {string} action @param {any} [to] */
  function decide(positions, action, to) {
    return panel.run(async () => {
      const answer = await panel.ask("decide", { positions, action, to: to ?? null });
      if (action === "undo") decided.splice(decided.findIndex((batch) => batch.every((p) => positions.includes(p))) >>> 0, 1);
      else decided.push(positions);
      state.journal = answer.journal;
      positions.forEach((position, k) => {
        const entry = shown.get(position);
        if (entry) entry.item.decision = answer.decisions[k];
        drawTile(position);
      });
      if (positions.length > 1) { picked.clear(); positions.forEach(drawTile); }
      drawBar();
      changed();
    });
  }

  function drawBar() {
    const some = [...picked];
    const last = decided[decided.length - 1];
    const able = [...shown.values()].filter(({ item }) => item.decides);
    fill(bar,
      some.length > 0 && h("b", {}, `${some.length} chosen`),
      some.length > 0 && state.relabel && !several && relabel("Relabel to…", (to) => decide(some, "relabel", to), `${some.length} items`),
      some.length > 0 && h("button", { onclick: () => decide(some, "aside") }, "Set aside"),
      some.length > 0 && h("button", { onclick: () => { picked.clear(); [...shown.keys()].forEach(drawTile); drawBar(); } }, "Choose none"),
      some.length === 0 && able.length > 1 && h("button", { onclick: () => { able.forEach(({ item }) => picked.add(item.position)); [...shown.keys()].forEach(drawTile); drawBar(); } },
        `Choose all ${able.length}${shown.size < total ? " shown" : ""}`),
      last && h("button", { onclick: () => decide(last, "undo") }, `Undo last (${last.length})`));
    const { journal: log } = state;
    if (log && selection) {
      const parts = [log.relabel && `${log.relabel} to relabel`, log.aside && `${log.aside} set aside`].filter(Boolean);
      const where = log.beside ? log.file : `${log.file} (the data's folder cannot be written to)`;
      journal.textContent = parts.length ? `Noted in ${where}: ${parts.join(", ")}. Nothing is moved yet.` : `What you decide is noted in ${where}; nothing is moved.`;
    } else journal.textContent = "";
  }

  /** Show an item large in a row of its own, or close it. @param {number} position */
  async function enlarge(position) {
    const entry = shown.get(position);
    if (!entry) return;
    const open = grid.querySelector(".fm-large");
    const again = open?.getAttribute("data-of") === String(position);
    open?.remove();
    if (again) return;
    await panel.run(async () => {
      const item = await panel.ask("large", { position, selection });
      grid.querySelector(".fm-large")?.remove();
      const close = () => { large.remove(); entry.box.querySelector('[data-act="look"]')?.focus(); };
      const pictures = (item.more?.length ? item.more : []).map((/** @type {any} */ part) => h("figure", {}, h("img", { src: part.picture.url, alt: part.caption }),
        h("figcaption", {}, part.caption, part.legend && h("div", { class: "fm-row fm-legend" }, part.legend.map((/** @type {any} */ l) =>
          h("span", {}, h("i", { class: "fm-key", style: `background: ${l.colour}` }), l.name))))));
      const large = h("div", { class: `fm-large${pictures.length ? " fm-several" : ""}`, "data-of": position, tabindex: -1, onkeydown: (/** @type {KeyboardEvent} */ event) => { if (event.key === "Escape") close(); } },
        h("button", { class: "fm-close", "aria-label": "Close", onclick: close }, "✕"),
        item.picture && h("figure", {}, h("img", { src: item.picture.url, alt: item.name, onload: (/** @type {any} */ event) =>
          event.target.classList.toggle("fm-coarse", event.target.naturalWidth < 120) }), pictures.length > 0 && h("figcaption", {}, "what is chosen, marked")),
        pictures, item.text !== undefined && h("p", { class: "fm-long" }, item.text),
        h("div", { class: "fm-facts" }, verdict(item), bars(item.top), h("div", { class: "fm-dim" }, `loss ${number(item.loss)}`), h("div", { class: "fm-dim fm-path" }, item.place || item.name)));
      entry.box.after(large);
      large.focus({ preventScroll: true });
      large.scrollIntoView({ block: "nearest" });
    });
  }

  clear();
  return { element, open, clear };
}

export default definePanel(build, STYLES);
