// @ts-check
// The pixel inspector in the browser: the picture with a cursor, the loupe, the numbers, the steps, the brush.
// The kernel holds the numbers. A small picture comes in one piece; of a large one come an overview, the part that is
// zoomed into, and tiles of numbers around the cursor.

import { debounce, definePanel, h, ink, sharp, STYLES } from "./shared.js";

/** @typedef {import("./shared.js").PanelView} PanelView */
/** @typedef {{width: number, height: number, bands: string[], dtype: string, coloured: boolean, black: number, white: number, rescaled: boolean, sentence: string, axes: string, place: string, note: string, data?: any, overview?: any}} Picture */
/** @typedef {{x: number, y: number, size: number, rgb: number[], stroke: number}} Dab */

const TILE = 64;
const TILES_KEPT = 400;
const OVERVIEW = 1000;
const LOUPE = 15;
const CLOSEST = 48; // CSS px a pixel

/** @param {number} value @param {number} low @param {number} high */
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * A number as in the kernel's `number`: whole ones whole, others to some three figures.
 * @param {number} value
 */
function said(value) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = Number.isInteger(value) ? `${value}` : value.toFixed(size < 1 ? 3 : size < 100 ? 2 : 1);
  return text.replace("-", "−");
}

/** @param {number[]} rgb */
const css = (rgb) => `rgb(${rgb[0]},${rgb[1]},${rgb[2]})`;
/** @param {number[]} rgb */
const hex = (rgb) => `#${rgb.slice(0, 3).map((v) => v.toString(16).padStart(2, "0")).join("")}`;
/** @param {number[]} rgb */
const inkOn = (rgb) => (rgb[0] * 0.299 + rgb[1] * 0.587 + rgb[2] * 0.114 > 140 ? "#000" : "#fff");
/** @param {number[]} rgb */
const grey = (rgb) => Math.floor((rgb[0] * 299 + rgb[1] * 587 + rgb[2] * 114) / 1000);

/** The numbers of a picture, as far as they are here. */
class Numbers {
  /** @param {Picture} picture */
  constructor(picture) {
    this.picture = picture;
    this.depth = picture.bands.length;
    this.whole = picture.data ?? null;
    /** @type {Map<string, {x: number, y: number, width: number, height: number, data: any}>} */
    this.tiles = new Map();
  }

  /**
   * The numbers of a pixel, or `null` while they are not here.
   * @param {number} x
   * @param {number} y
   * @returns {number[] | null}
   */
  at(x, y) {
    let data, start;
    if (this.whole) {
      data = this.whole.data;
      start = (y * this.picture.width + x) * this.depth;
    } else {
      const tile = this.tiles.get(`${Math.floor(x / TILE)},${Math.floor(y / TILE)}`);
      if (!tile) return null;
      data = tile.data;
      start = ((y - tile.y) * tile.width + x - tile.x) * this.depth;
    }
    return Array.from(data.subarray(start, start + this.depth));
  }

  /**
   * The colour a pixel is shown in: as 0…255, transparency over white; one channel as grey.
   * @param {number[]} values
   * @param {number | null} channel
   */
  colour(values, channel) {
    const { black, white, bands, coloured } = this.picture;
    const level = (/** @type {number} */ value) => (Number.isNaN(value) ? 0 : clamp(Math.round((255 * (value - black)) / (white - black || 1)), 0, 255));
    if (channel !== null) return Array(3).fill(level(values[channel]));
    if (!coloured && bands.length === 4) return [0, 1, 2].map((i) => Math.round(((255 - values[i]) * (255 - values[3])) / 255));
    const rgb = bands.length >= 3 ? values.slice(0, 3).map(level) : Array(3).fill(level(values[0]));
    if (!bands.includes("A")) return rgb;
    const alpha = level(values[bands.length - 1]) / 255;
    return rgb.map((v) => Math.round(v * alpha + 255 * (1 - alpha)));
  }

  /**
   * Which tiles around a pixel are missing, as one rectangle; `null` where all are here.
   * @param {number} x
   * @param {number} y
   * @param {number} reach
   */
  missing(x, y, reach) {
    if (this.whole) return null;
    const { width, height } = this.picture;
    const [left, right] = [x - reach, x + reach].map((v) => Math.floor(clamp(v, 0, width - 1) / TILE));
    const [top, bottom] = [y - reach, y + reach].map((v) => Math.floor(clamp(v, 0, height - 1) / TILE));
    let box = null;
    for (let row = top; row <= bottom; row++) {
      for (let column = left; column <= right; column++) {
        if (this.tiles.has(`${column},${row}`)) continue;
        box ??= { left: column, right: column, top: row, bottom: row };
        box = { left: Math.min(box.left, column), right: Math.max(box.right, column), top: Math.min(box.top, row), bottom: Math.max(box.bottom, row) };
      }
    }
    return box && { x: box.left * TILE, y: box.top * TILE, width: (box.right - box.left + 1) * TILE, height: (box.bottom - box.top + 1) * TILE };
  }

  /**
   * Keep what the kernel sent, cut into tiles.
   * @param {{x: number, y: number, data: {data: any, shape: number[]}}} window
   */
  keep({ x, y, data: { data, shape } }) {
    const [height, width] = shape;
    for (let top = 0; top < height; top += TILE) {
      for (let left = 0; left < width; left += TILE) {
        const tile = { x: x + left, y: y + top, width: Math.min(TILE, width - left), height: Math.min(TILE, height - top), data };
        tile.data = new data.constructor(tile.width * tile.height * this.depth);
        for (let row = 0; row < tile.height; row++) {
          const start = ((top + row) * width + left) * this.depth;
          tile.data.set(data.subarray(start, start + tile.width * this.depth), row * tile.width * this.depth);
        }
        this.tiles.set(`${tile.x / TILE},${tile.y / TILE}`, tile);
      }
    }
    for (const key of this.tiles.keys()) {
      if (this.tiles.size <= TILES_KEPT) break;
      this.tiles.delete(key);
    }
  }

  /**
   * Paint what is here as the kernel paints it.
   * @param {Dab} dab
   */
  paint(dab) {
    const values = this.depth === 1 ? [grey(dab.rgb)] : [...dab.rgb, 255].slice(0, this.depth);
    const all = { x: 0, y: 0, width: this.picture.width, height: this.picture.height, data: this.whole?.data };
    for (const tile of this.whole ? [all] : this.tiles.values()) {
      const { left, top, right, bottom } = area(dab);
      for (let y = Math.max(top, tile.y); y < Math.min(bottom, tile.y + tile.height); y++) {
        for (let x = Math.max(left, tile.x); x < Math.min(right, tile.x + tile.width); x++) {
          tile.data.set(values, ((y - tile.y) * tile.width + x - tile.x) * this.depth);
        }
      }
    }
  }

  /**
   * The whole picture as a canvas, made of the numbers.
   * @param {number | null} channel
   */
  drawn(channel) {
    const { width, height, bands, black, white } = this.picture;
    const canvas = h("canvas");
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const [from, to, depth] = [this.whole.data, image.data, this.depth];
    const factor = 255 / (white - black || 1);
    const alpha = bands.includes("A") && channel === null ? depth - 1 : -1;
    const sources = channel !== null ? [channel, channel, channel] : depth >= 3 ? [0, 1, 2] : [0, 0, 0];
    for (let i = 0, j = 0; j < to.length; i += depth, j += 4) {
      for (let c = 0; c < 3; c++) to[j + c] = (from[i + sources[c]] - black) * factor;
      to[j + 3] = alpha < 0 ? 255 : (from[i + alpha] - black) * factor;
    }
    context.putImageData(image, 0, 0);
    return canvas;
  }
}

/** @param {Dab} dab */
function area({ x, y, size }) {
  const left = x - Math.floor((size - 1) / 2);
  const top = y - Math.floor((size - 1) / 2);
  return { left, top, right: left + size, bottom: top + size };
}

/** @param {{url: string}} sent */
async function loaded({ url }) {
  const image = new Image();
  image.src = url;
  await image.decode();
  URL.revokeObjectURL(url);
  return image;
}

/**
 * Buttons of which one is pressed.
 * @param {string} label
 * @param {[any, string, string?][]} choices value, text, title
 * @param {(value: any) => void} choose
 */
function choice(label, choices, choose) {
  const buttons = choices.map(([value, text, title]) => h("button", { type: "button", title, onclick: () => choose(value) }, text));
  return {
    element: h("div", { class: "fm-px-choice", role: "group", "aria-label": label }, buttons),
    /** @param {any} value */
    set: (value) => buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(choices[i][0] === value))),
  };
}

/**
 * @param {PanelView} panel
 * @param {any} state
 */
function build(panel, state) {
  const live = h("div", { class: "fm-hidden", "aria-live": "polite", "data-fm": "live" });
  const head = h("div", { class: "fm-px-head" });
  const note = h("p", { class: "fm-dim fm-px-note" });
  const canvas = /** @type {HTMLCanvasElement} */ (h("canvas", {
    tabIndex: 0, role: "application", "aria-roledescription": "picture", "data-fm": "picture",
  }));
  const stage = h("div", { class: "fm-px-stage" }, canvas);
  const loupe = /** @type {HTMLCanvasElement} */ (h("canvas", { class: "fm-px-loupe", role: "img", "data-fm": "loupe" }));
  const readout = h("div", { class: "fm-px-readout", "data-fm": "readout" });
  const table = h("div", { class: "fm-scroll fm-px-numbers", "data-fm": "numbers" });
  const tools = h("div", { class: "fm-row fm-px-tools" });
  const walkBar = h("div", { class: "fm-px-walk" });
  const prediction = h("div", { class: "fm-px-prediction", "data-fm": "prediction", hidden: true });
  const brushBar = h("div", { class: "fm-row fm-px-brush", hidden: true });
  const hint = h("p", { class: "fm-dim fm-px-hint" });
  const side = h("div", { class: "fm-px-side" }, readout, loupe, table);
  panel.body.append(head, walkBar, tools, brushBar, note,
    h("div", { class: "fm-px-frame" }, h("div", { class: "fm-px-main" }, stage, prediction, side, hint)), live);

  /** @type {Picture} */
  let picture = /** @type {any} */ (null); // until the first one comes, and while a step is shown that broke
  /** @type {Numbers} */
  let numbers;
  /** @type {any} */
  let base = null;
  /** @type {any} */
  let detail = null;
  /** @type {number | null} */
  let channel = state.channel;
  let [x, y] = [0, 0];
  let held = false;
  let epoch = 0;
  let [width, height] = [0, 0]; // of the canvas, CSS px
  let fit = 1;
  let view = { scale: 1, x: 0, y: 0 }; // CSS px a pixel, and the place in the middle

  // ---------------------------------------------------------------- the picture

  /** @param {any} answer @param {boolean} [same] */
  async function show(answer, same) {
    const my = ++epoch;
    const before = picture;
    picture = answer.picture;
    state.step = answer.step ?? state.step;
    channel = answer.channel ?? null;
    detail = null;
    log.length = sent = covered = 0;
    panel.body.classList.toggle("fm-px-broken", !picture);
    walked();
    if (!picture) return titled();
    stage.classList.toggle("fm-px-clear", picture.bands.includes("A"));
    numbers = new Numbers(picture);
    [x, y] = [Math.floor(state.place[0] * picture.width), Math.floor(state.place[1] * picture.height)].map((v, i) => clamp(v, 0, [picture.width, picture.height][i] - 1));
    titled();
    toolbar();
    if (picture.overview) {
      const image = await loaded(picture.overview);
      if (my !== epoch) return;
      base = image;
    } else base = numbers.drawn(channel);
    const kept = same && before && before.width === picture.width && before.height === picture.height;
    resize(!kept);
    moved();
  }

  /** Draw the picture's looks anew after a change of channel, or of numbers that are not all here. */
  async function look() {
    const [my, known] = [epoch, sent];
    if (picture.data && picture.coloured) base = numbers.drawn(channel);
    else {
      const answer = await panel.ask("view", { step: state.step, channel, x: 0, y: 0, width: picture.width, height: picture.height, size: [OVERVIEW, OVERVIEW] });
      const image = await loaded(answer.picture);
      if (my !== epoch) return;
      base = image;
      detail = null;
    }
    covered = known;
    draw();
    sharpen();
  }

  function titled() {
    const broken = picture ? "" : state.walk?.steps[state.step].error;
    head.replaceChildren(h("b", {}, state.name), " ",
      picture ? h("span", { "data-fm": "shape" }, picture.sentence) : h("span", { class: "fm-px-error" }, `✗ ${broken}`), " ",
      picture && h("span", { class: "fm-dim" }, `(${picture.axes})`) || "");
    const notes = [picture?.note, picture?.rescaled && `Shown rescaled: ${said(picture.black)} is black, ${said(picture.white)} white.`];
    note.textContent = notes.filter(Boolean).join(" ");
    note.hidden = !note.textContent;
  }

  /** @param {boolean} refit */
  function resize(refit) {
    if (!picture || !stage.clientWidth) return;
    const wasFit = refit || Math.abs(view.scale - fit) < 1e-6;
    width = Math.floor(stage.clientWidth);
    height = Math.round(clamp((width * picture.height) / picture.width, 160, clamp(window.innerHeight * 0.6, 240, 440)));
    fit = Math.min(width / picture.width, height / picture.height);
    if (wasFit) view = { scale: fit, x: picture.width / 2, y: picture.height / 2 };
    sharp(canvas, width, height);
    bound();
    draw();
    const room = clamp(side.clientWidth, 180, 300);
    sharp(loupe, Math.floor(room / LOUPE) * LOUPE + 1, Math.floor(room / LOUPE) * LOUPE + 1);
    lens();
  }

  function bound() {
    view.scale = clamp(view.scale, Math.min(fit, CLOSEST), Math.max(fit, CLOSEST));
    for (const [axis, room, all] of /** @type {["x" | "y", number, number][]} */ ([["x", width, picture.width], ["y", height, picture.height]])) {
      const half = room / view.scale / 2;
      view[axis] = half * 2 >= all ? all / 2 : clamp(view[axis], half, all - half);
    }
  }

  const toX = (/** @type {number} */ px) => (px - view.x) * view.scale + width / 2;
  const toY = (/** @type {number} */ px) => (px - view.y) * view.scale + height / 2;
  /** Where an event is in the canvas, whose CSS px a slide may have scaled. @param {{clientX: number, clientY: number}} event */
  const local = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: ((event.clientX - box.left) * width) / (box.width || 1), y: ((event.clientY - box.top) * height) / (box.height || 1) };
  };
  const pixelOf = (/** @type {{clientX: number, clientY: number}} */ event) => {
    const { x: sx, y: sy } = local(event);
    return [Math.floor((sx - width / 2) / view.scale + view.x), Math.floor((sy - height / 2) / view.scale + view.y)];
  };

  let drawing = 0;
  /** @type {{x: number, y: number} | null} */
  let finger = null;
  function draw() {
    cancelAnimationFrame(drawing);
    drawing = requestAnimationFrame(() => {
      if (!picture || !base || !width) return;
      const ratio = window.devicePixelRatio || 1;
      const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      const { scale } = view;
      context.save();
      context.beginPath();
      context.rect(toX(0), toY(0), picture.width * scale, picture.height * scale);
      context.clip();
      context.imageSmoothingEnabled = (scale * picture.width) / base.width < 1.5 || base.width < picture.width;
      context.drawImage(base, toX(0), toY(0), picture.width * scale, picture.height * scale);
      if (detail) {
        context.imageSmoothingEnabled = (scale * detail.width) / detail.image.width < 1.5;
        context.drawImage(detail.image, toX(detail.x), toY(detail.y), detail.width * scale, detail.height * scale);
      }
      for (const dab of log.slice(covered)) {
        const { left, top } = area(dab);
        context.fillStyle = channel === null ? css(dab.rgb) : css(Array(3).fill(numbers.depth === 1 ? grey(dab.rgb) : [...dab.rgb, 255][channel]));
        context.fillRect(toX(left), toY(top), dab.size * scale, dab.size * scale);
      }
      if (scale >= 14) {
        context.strokeStyle = "rgba(128,128,128,.35)";
        context.beginPath();
        const [left, right] = [Math.max(0, Math.floor(view.x - width / 2 / scale)), Math.min(picture.width, Math.ceil(view.x + width / 2 / scale))];
        const [top, bottom] = [Math.max(0, Math.floor(view.y - height / 2 / scale)), Math.min(picture.height, Math.ceil(view.y + height / 2 / scale))];
        for (let i = left; i <= right; i++) { context.moveTo(toX(i), toY(top)); context.lineTo(toX(i), toY(bottom)); }
        for (let i = top; i <= bottom; i++) { context.moveTo(toX(left), toY(i)); context.lineTo(toX(right), toY(i)); }
        context.stroke();
      }
      context.restore();
      cross(context);
    });
  }

  /** @param {CanvasRenderingContext2D} context */
  function cross(context) {
    const { scale } = view;
    const [cx, cy] = [toX(x + 0.5), toY(y + 0.5)];
    const half = Math.max(scale / 2, 4);
    const brush = area({ x, y, size: brushSize, rgb: [], stroke: 0 });
    for (const [colour, line] of /** @type {[string, number][]} */ ([["rgba(0,0,0,.75)", 3], ["#fff", 1.2]])) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(cx - half, cy - half, half * 2, half * 2);
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(cx + dx * (half + 4), cy + dy * (half + 4));
        context.lineTo(cx + dx * (half + 14), cy + dy * (half + 14));
      }
      context.stroke();
      if (painting && brushSize * scale > 10) context.strokeRect(toX(brush.left), toY(brush.top), brushSize * scale, brushSize * scale);
    }
    context.lineWidth = 1;
    if (finger) { // The loupe where the finger does not hide it.
      const size = Math.min(140, height * 0.6);
      const left = finger.x > width / 2 ? 6 : width - size - 6;
      context.drawImage(loupe, left, 6, size, size);
      context.strokeStyle = ink(panel.root, "--fm-text");
      context.strokeRect(left, 6, size, size);
    }
  }

  let sharpening = false;
  let again = false;
  /** Ask for the part that is zoomed into, in the screen's own resolution: at most one question at a time. */
  async function sharpen() {
    if (!picture || picture.data && picture.coloured) return;
    const ratio = window.devicePixelRatio || 1;
    const wanted = view.scale * ratio;
    if (wanted <= (base.width / picture.width) * 1.15) { detail = null; return; }
    if (sharpening) { again = true; return; }
    const [my, known] = [epoch, sent];
    const [w, hh] = [Math.min(picture.width, width / view.scale), Math.min(picture.height, height / view.scale)];
    const left = Math.max(0, Math.floor(view.x - w * 0.6));
    const top = Math.max(0, Math.floor(view.y - hh * 0.6));
    const part = { x: left, y: top, width: Math.min(picture.width - left, Math.ceil(w * 1.2)), height: Math.min(picture.height - top, Math.ceil(hh * 1.2)) };
    if (!again && known === covered && detail && detail.wanted >= wanted * 0.9 && detail.channel === channel && detail.x <= view.x - w / 2 && detail.y <= view.y - hh / 2
      && detail.x + detail.width >= view.x + w / 2 && detail.y + detail.height >= view.y + hh / 2) return;
    sharpening = true;
    again = false;
    try {
      const answer = await panel.ask("view", { step: state.step, channel, ...part, size: [Math.ceil(part.width * wanted), Math.ceil(part.height * wanted)] });
      const image = await loaded(answer.picture);
      if (my === epoch) detail = { ...part, image, wanted, channel };
    } catch (error) {
      panel.error(error);
    } finally {
      sharpening = false;
    }
    draw();
    if (again) { again = false; sharpen(); }
  }
  const sharpenSoon = debounce(sharpen, 70);

  /** @param {number} factor @param {number} [px] @param {number} [py] the place that stays where it is */
  function zoom(factor, px = x + 0.5, py = y + 0.5) {
    if (!picture) return;
    const [sx, sy] = [toX(px), toY(py)];
    view.scale = clamp(view.scale * factor, Math.min(fit, CLOSEST), Math.max(fit, CLOSEST));
    view.x = px - (sx - width / 2) / view.scale;
    view.y = py - (sy - height / 2) / view.scale;
    bound();
    draw();
    sharpenSoon();
  }

  // ---------------------------------------------------------------- the cursor, the loupe and the numbers

  /** @param {number} nextX @param {number} nextY @param {boolean} [follow] */
  function go(nextX, nextY, follow) {
    if (!picture) return;
    nextX = clamp(Math.round(nextX), 0, picture.width - 1);
    nextY = clamp(Math.round(nextY), 0, picture.height - 1);
    if (nextX === x && nextY === y) return;
    [x, y] = [nextX, nextY];
    state.place = [(x + 0.5) / picture.width, (y + 0.5) / picture.height];
    if (follow) {
      const [marginX, marginY] = [Math.min(20, width / 4), Math.min(20, height / 4)];
      view.x += (clamp(toX(x + 0.5), marginX, width - marginX) - toX(x + 0.5)) / -view.scale;
      view.y += (clamp(toY(y + 0.5), marginY, height - marginY) - toY(y + 0.5)) / -view.scale;
      bound();
      sharpenSoon();
    }
    moved();
    noteSoon();
  }
  const noteSoon = debounce(() => panel.ask("look", { x: state.place[0], y: state.place[1], channel }).then(panel.settled, (error) => panel.error(error)), 500);
  const speakSoon = debounce(() => { live.textContent = sentence(); }, 450);

  function moved() {
    fetchNumbers();
    lens();
    draw();
    speakSoon();
  }

  let fetching = false;
  const ahead = debounce(() => fetchNumbers(true), 120);
  /** Ask for numbers that are missing around the cursor: at most one question at a time, the newest place wins. @param {boolean} [wide] */
  async function fetchNumbers(wide) {
    if (fetching || !picture) return;
    const box = numbers.missing(x, y, wide ? TILE : (LOUPE - 1) / 2);
    if (!box) { if (!wide && !numbers.whole) ahead(); return; }
    fetching = true;
    const [my, known] = [epoch, sent];
    try {
      const answer = await panel.ask("window", { step: state.step, ...box });
      if (my === epoch) {
        numbers.keep(answer);
        for (const dab of log.slice(known)) numbers.paint(dab);
      }
    } catch (error) {
      panel.error(error);
      return;
    } finally {
      fetching = false;
    }
    lens();
    speakSoon();
    fetchNumbers();
  }

  function lens() {
    if (!picture || !loupe.width) return;
    const context = /** @type {CanvasRenderingContext2D} */ (loupe.getContext("2d"));
    const cell = Math.floor(parseFloat(loupe.style.width) / LOUPE);
    const half = (LOUPE - 1) / 2;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = ink(panel.root, "--fm-back2");
    context.fillRect(0, 0, cell * LOUPE + 1, cell * LOUPE + 1);
    for (let row = 0; row < LOUPE; row++) {
      for (let column = 0; column < LOUPE; column++) {
        const [px, py] = [x + column - half, y + row - half];
        if (px < 0 || py < 0 || px >= picture.width || py >= picture.height) continue;
        const values = numbers.at(px, py);
        context.fillStyle = values ? css(numbers.colour(values, channel)) : ink(panel.root, "--fm-faint");
        context.fillRect(column * cell, row * cell, cell, cell);
      }
    }
    context.strokeStyle = "rgba(128,128,128,.45)";
    context.lineWidth = 1;
    context.beginPath();
    for (let i = 0; i <= LOUPE; i++) {
      context.moveTo(i * cell + 0.5, 0); context.lineTo(i * cell + 0.5, LOUPE * cell);
      context.moveTo(0, i * cell + 0.5); context.lineTo(LOUPE * cell, i * cell + 0.5);
    }
    context.stroke();
    for (const [colour, line] of /** @type {[string, number][]} */ ([["#000", 4], ["#fff", 2]])) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(half * cell + 0.5, half * cell + 0.5, cell, cell);
    }
    read();
    tabled();
  }

  const place = () => picture.place.replace("{y}", `${y}`).replace("{x}", `${x}`);

  function sentence() {
    if (!picture) return "";
    const values = numbers.at(x, y);
    const code = values && named() ? ` ${hex(numbers.colour(values, null))}` : "";
    return `x ${x}, y ${y}: ${values ? picture.bands.map((band, i) => `${band} ${said(values[i])}`).join(" ") : "…"}${code}`;
  }

  /** Whether the numbers are a colour that has a name in CSS. */
  const named = () => picture.dtype === "uint8" && picture.coloured && !(picture.bands.length === 2);

  function read() {
    const values = numbers.at(x, y);
    const rgb = values ? numbers.colour(values, null) : null;
    const code = values && named() ? `#${(values.length === 1 ? [values[0], values[0], values[0]] : values).map((v) => v.toString(16).padStart(2, "0")).join("")}` : "";
    readout.replaceChildren(
      h("div", { class: "fm-px-where" },
        h("span", { class: "fm-px-swatch", style: rgb ? `background:${css(rgb)}` : "" }),
        h("span", {}, h("span", { class: "fm-dim" }, "x "), h("b", {}, x), h("span", { class: "fm-dim" }, "  y "), h("b", {}, y)),
        h("code", { class: "fm-dim", title: "where numpy and PyTorch have it: the row first" }, place()),
        held && h("span", { class: "fm-px-held", title: "Click or press Esc to let go" }, "held")),
      h("div", { class: "fm-px-values" },
        picture.bands.map((band, i) => h("span", { class: channel !== null && channel !== i ? "fm-dim" : "" }, h("span", { class: `fm-px-band fm-px-${band}` }, band), " ", h("b", {}, values ? said(values[i]) : "…"))),
        code && h("code", {}, code)));
  }

  /** @type {{key: string, columns: HTMLElement[], rows: HTMLElement[], cells: HTMLElement[][]} | null} */
  let grid = null;
  /** The numbers around the cursor, in cells coloured as the pixels. */
  function tabled() {
    const every = channel === null && picture.bands.length > 1;
    const count = every || !/^u?int|bool/.test(picture.dtype) || side.clientWidth < 250 ? 5 : 7;
    const half = (count - 1) / 2;
    const key = `${count}${every}`;
    if (grid?.key !== key) {
      const columns = Array.from({ length: count }, () => h("th", { scope: "col" }));
      const rows = Array.from({ length: count }, () => h("th", { scope: "row" }));
      const cells = rows.map(() => Array.from({ length: count }, () => h("td")));
      grid = { key, columns, rows, cells };
      table.replaceChildren(h("table", { "aria-label": "The numbers around the cursor" },
        h("thead", {}, h("tr", {}, h("th", {}, h("span", { class: "fm-hidden" }, "row")), columns)),
        h("tbody", {}, rows.map((row, i) => h("tr", {}, row, cells[i])))));
    }
    for (let i = 0; i < count; i++) {
      const [px, py] = [x + i - half, y + i - half];
      grid.columns[i].textContent = px >= 0 && px < picture.width ? String(px) : "";
      grid.rows[i].textContent = py >= 0 && py < picture.height ? String(py) : "";
      for (let j = 0; j < count; j++) {
        const [cx, cy] = [x + j - half, py];
        const inside = cx >= 0 && cy >= 0 && cx < picture.width && cy < picture.height;
        const values = inside ? numbers.at(cx, cy) : null;
        const cell = grid.cells[i][j];
        cell.className = i === half && j === half ? "fm-px-here" : "";
        const rgb = values ? numbers.colour(values, channel) : null;
        cell.style.background = rgb ? css(rgb) : "none";
        cell.style.color = rgb ? inkOn(rgb) : "";
        cell.textContent = !inside ? "" : values ? (channel === null ? values : [values[channel]]).map(said).join("\n") : "…";
      }
    }
  }

  // ---------------------------------------------------------------- channels and zoom

  /** @type {any} */
  let channels = null;
  let bandsShown = "";
  const hold = (/** @type {boolean} */ on) => { held = on; read(); };
  const paintButton = h("button", { type: "button", "aria-pressed": "false", "data-fm": "paint", onclick: () => panel.run(() => togglePaint()) }, "Paint");
  function toolbar() {
    const bands = picture.bands;
    if (bandsShown !== bands.join()) {
      bandsShown = bands.join();
      channels = bands.length > 1 && choice("Channel", [[null, "All", "All channels (key 0)"], ...bands.map((band, i) => /** @type {[any, string, string]} */ ([i, band, `Only ${band} (key ${i + 1})`]))], (value) => panel.run(() => setChannel(value)));
      tools.replaceChildren(...[channels?.element,
        h("div", { class: "fm-px-choice", role: "group", "aria-label": "Zoom" },
          h("button", { type: "button", "aria-label": "Zoom out", title: "Zoom out (key −)", onclick: () => zoom(0.5) }, "−"),
          h("button", { type: "button", title: "The whole picture (key F)", onclick: () => zoom(1e-9) }, "Fit"),
          h("button", { type: "button", "aria-label": "Zoom in", title: "Zoom in (key +)", onclick: () => zoom(2) }, "+")),
        state.learn && paintButton].filter(Boolean));
    }
    channels?.set?.(channel);
    const here = state.canvas === state.step;
    paintButton.disabled = !here;
    const where = state.canvas === null ? "Only 8-bit pictures can be painted" : `Paint on step ${state.canvas + 1}, ${state.walk?.steps[state.canvas].name}: the steps after it follow`;
    paintButton.title = here ? "Paint over pixels and see the prediction move (key P)" : where;
    if (painting !== (here && wantsPaint)) setPainting(here && wantsPaint);
    canvas.setAttribute("aria-label", `${state.name}: arrows move the cursor`);
    hint.textContent = `Arrow keys move by 1 px, with Shift by 10. Click holds the cursor, Esc lets go. Drag moves a zoomed picture; + − or Ctrl and wheel zoom${bands.length > 1 ? "; 0 to " + bands.length + " choose the channel" : ""}${state.walk ? "; [ ] go through the steps" : ""}.`;
  }

  /** @param {number | null} value */
  async function setChannel(value) {
    channel = value;
    channels?.set?.(channel);
    lens();
    noteSoon();
    await look();
  }

  // ---------------------------------------------------------------- steps

  const stepList = h("select", { "aria-label": "Step", "data-fm": "step", onchange: () => panel.run(() => toStep(Number(stepList.value))) });
  const back = h("button", { type: "button", "aria-label": "Step before", title: "Step before (key [)", onclick: () => panel.run(() => toStep(state.step - 1)) }, "◀");
  const next = h("button", { type: "button", "aria-label": "Next step", title: "Next step (key ])", onclick: () => panel.run(() => toStep(state.step + 1)) }, "▶");
  const given = h("code", { class: "fm-dim fm-px-given" });
  const roll = h("button", { type: "button", title: "Draw the random transforms anew", onclick: () => panel.run(() => walk({ roll: state.walk.roll + 1 })) }, "Roll again");
  const mode = choice("Transforms as in", [[true, "In training", "With augmentation"], [false, "In validation", "Without augmentation"]], (value) => panel.run(() => walk({ training: value })));
  const item = h("input", { type: "number", min: 0, step: 1, "aria-label": "Item", class: "fm-px-item", onchange: () => panel.run(() => walk({ index: clamp(Math.round(Number(item.value)) || 0, 0, state.walk.count - 1) })) });
  const split = h("select", { "aria-label": "Set", onchange: () => panel.run(() => walk({ index: 0, split: split.value, training: split.value === "train" })) }, h("option", { value: "train" }, "train"), h("option", { value: "valid" }, "valid"));
  const count = h("span", { class: "fm-dim" });
  if (state.walk) {
    walkBar.append(
      h("div", { class: "fm-row" }, h("span", { class: "fm-px-choice" }, back, stepList, next), mode.element, roll,
        h("span", { class: "fm-row" }, h("label", {}, "Item", item), count, split)),
      given);
  }

  function walked() {
    const { walk: info } = state;
    walkBar.hidden = !info;
    if (!info) return;
    stepList.replaceChildren(...info.steps.map((/** @type {any} */ step, /** @type {number} */ i) =>
      h("option", { value: i }, `${i + 1}. ${step.name}${step.error ? " ✗" : step.same ? " (changes nothing)" : ""}`)));
    stepList.value = state.step;
    const focused = [back, next].some((button) => button.matches(":focus"));
    back.disabled = state.step === 0;
    next.disabled = state.step === info.steps.length - 1;
    if (focused && (back.disabled || next.disabled)) stepList.focus(); // a disabled button would lose the focus
    given.textContent = info.steps[state.step].given;
    given.hidden = !given.textContent;
    mode.set(info.training);
    roll.disabled = !info.training;
    item.value = info.index;
    item.max = info.count - 1;
    count.textContent = `of ${info.count}`;
    split.value = info.split;
  }

  /** @param {number} step */
  async function toStep(step) {
    if (!state.walk || step < 0 || step >= state.walk.steps.length) return;
    const my = ++epoch;
    state.step = step;
    walked();
    const answer = await panel.ask("picture", { step, channel });
    if (my === epoch) await show(answer, true);
    panel.settled();
  }

  /** @param {any} change */
  async function walk(change) {
    const { index, split: set, training, roll: number } = state.walk;
    const my = ++epoch;
    const answer = await panel.ask("walk", { index, split: set, training, roll: number, ...change });
    if (my !== epoch) return;
    const [place, other] = [state.place, answer.walk.index !== index || answer.walk.split !== set];
    Object.assign(state, answer);
    if (!other) state.place = place;
    else prediction.hidden = true;
    await show(answer, !other);
    strokes(answer.strokes);
    if (painting && other) predictionShown(await panel.ask("predict"));
    panel.settled();
  }

  // ---------------------------------------------------------------- painting

  let painting = false;
  let wantsPaint = false; // also while another step is shown, that cannot be painted
  let picking = false;
  let brushSize = 3;
  /** @type {Dab[]} */
  const log = []; // what was painted since the picture came
  let sent = 0; // of it, what the kernel has been sent
  let covered = 0; // of it, what the looks (overview, detail) show
  let stroke = Date.now(); // a number that no stroke of an earlier page has
  let busy = false;
  /** @type {number[] | null} */
  let lastDab = null;
  const colour = h("input", { type: "color", value: "#ff0000", "aria-label": "Colour", class: "fm-px-colour" });
  const pick = h("button", { type: "button", "aria-pressed": "false", title: "Take the colour of the next pixel clicked (key E: of the cursor's)", onclick: () => setPicking(!picking) }, "Pick colour");
  const undo = h("button", { type: "button", title: "Undo the last stroke (Ctrl Z)", onclick: () => panel.run(() => takeBack("undo")) }, "Undo");
  const reset = h("button", { type: "button", title: "Undo all strokes", onclick: () => panel.run(() => takeBack("reset")) }, "Reset");
  const sizes = choice("Brush", [1, 3, 9, 27].map((size) => [size, `${size}`, `${size} × ${size} px`]), setBrush);
  brushBar.append(h("span", { class: "fm-dim" }, "Brush, px"), sizes.element, h("label", {}, "Colour", colour), pick, undo, reset,
    h("span", { class: "fm-dim" }, "Space paints at the cursor. The file is not changed."));

  /** @param {number} size */
  function setBrush(size) { brushSize = size; sizes.set(size); draw(); }
  /** @param {boolean} on */
  function setPicking(on) { picking = on; pick.setAttribute("aria-pressed", String(on)); cursorStyle(); }
  function cursorStyle() { canvas.style.cursor = picking || painting ? "crosshair" : ""; }
  /** @param {boolean} on */
  function setPainting(on) {
    painting = on;
    paintButton.setAttribute("aria-pressed", String(on));
    brushBar.hidden = !on;
    if (!on) setPicking(false);
    if (on) held = false;
    cursorStyle();
    draw();
  }
  /** @param {number} number */
  function strokes(number) { undo.disabled = reset.disabled = !number; }
  setBrush(3);
  strokes(state.strokes);

  async function togglePaint() {
    if (!state.learn || state.canvas !== state.step) return;
    wantsPaint = !painting;
    setPainting(wantsPaint);
    if (painting && prediction.hidden) {
      prediction.hidden = false;
      prediction.textContent = "Asking the model…";
      predictionShown(await panel.ask("predict"));
    }
  }

  function takeColour() {
    const values = numbers.at(x, y);
    if (values) colour.value = hex(numbers.colour(values, null));
    setPicking(false);
  }

  /** Paint from the last place to this one. @param {number} toPx @param {number} toPy */
  function dabTo(toPx, toPy) {
    const [fromX, fromY] = lastDab ?? [toPx, toPy];
    const far = Math.max(Math.abs(toPx - fromX), Math.abs(toPy - fromY));
    const every = Math.max(1, Math.floor(brushSize / 4));
    const rgb = [1, 3, 5].map((i) => parseInt(colour.value.slice(i, i + 2), 16));
    const steps = Math.ceil(far / every);
    for (let i = lastDab ? 1 : 0; i <= steps; i++) {
      const share = steps ? i / steps : 0;
      const dab = { x: Math.round(fromX + (toPx - fromX) * share), y: Math.round(fromY + (toPy - fromY) * share), size: brushSize, rgb, stroke };
      log.push(dab);
      numbers.paint(dab);
    }
    lastDab = [toPx, toPy];
    lens();
    draw();
    flush();
  }

  function endStroke() {
    if (!lastDab) return;
    lastDab = null;
    stroke++;
    flush();
  }

  /** Send what was painted, one message at a time; the answer is what the model sees now. */
  async function flush() {
    if (busy || sent === log.length) return;
    busy = true;
    const my = epoch;
    try {
      const first = log[sent];
      let end = sent;
      while (end < log.length && log[end].stroke === first.stroke) end++;
      const dabs = log.slice(sent, end);
      sent = end;
      const answer = await panel.ask("paint", { stroke: first.stroke, size: first.size, colour: hex(first.rgb), dabs: dabs.map((dab) => [dab.x, dab.y]) });
      predictionShown(answer);
      if (my === epoch && sent === log.length && !lastDab) {
        await look();
        panel.settled();
      }
    } catch (error) {
      panel.error(error);
    } finally {
      busy = false;
    }
    if (my === epoch) flush();
  }

  /** @param {"undo" | "reset"} what */
  async function takeBack(what) {
    const answer = await panel.ask(what);
    predictionShown(answer);
    await show(await panel.ask("picture", { step: state.step, channel }), true);
    panel.settled();
  }

  /** @param {any} answer */
  function predictionShown(answer) {
    if ("strokes" in answer) strokes(answer.strokes);
    const { kind, label, before, rows, more, seconds, painted } = answer.prediction;
    const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(1)}%`;
    const change = (/** @type {number} */ now, /** @type {number} */ was) => {
      const by = kind === "classes" ? 100 * (now - was) : now - was;
      const text = kind === "classes" ? Math.abs(by).toFixed(1) : said(Math.abs(by));
      return !painted || Number(text) === 0 ? "" : `${by > 0 ? "▲ +" : "▼ −"}${text}`;
    };
    prediction.hidden = false;
    prediction.replaceChildren(
      h("div", {}, kind === "classes" ? h("b", {}, label || "none of the labels") : h("b", {}, "The model says"),
        kind === "classes" && label !== before ? h("span", {}, ` instead of ${before || "none"}`) : "",
        h("span", { class: "fm-dim" }, painted ? "  painted, against the picture as it was" : "  the picture as it is"),
        h("span", { class: "fm-dim" }, `  ${Math.round(1000 * seconds)} ms`)),
      h("table", { "aria-label": "Prediction" }, h("tbody", {}, rows.map((/** @type {[string, number, number]} */ [name, now, was]) =>
        h("tr", {}, h("th", { scope: "row" }, name),
          kind === "classes" && h("td", { class: "fm-px-track" }, h("span", { class: "fm-px-was", style: `left:${100 * was}%` }), h("span", { class: "fm-bar", style: `width:${100 * now}%` })),
          h("td", { class: "fm-number" }, kind === "classes" ? percent(now) : said(now)),
          h("td", { class: "fm-px-change" }, change(now, was)))))),
      more ? h("p", { class: "fm-dim" }, `and ${more} more ${more === 1 ? "class" : "classes"}`) : "");
  }

  // ---------------------------------------------------------------- pointer, wheel and keys

  /** @type {Map<number, {x: number, y: number}>} */
  const pointers = new Map();
  /** @type {any} */
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (!picture || event.button === 2) return;
    canvas.focus({ preventScroll: true });
    event.preventDefault();
    try { canvas.setPointerCapture(event.pointerId); } catch { /* a pointer that a test made */ }
    pointers.set(event.pointerId, local(event));
    const [px, py] = pixelOf(event);
    if (pointers.size === 2) {
      endStroke();
      const [a, b] = [...pointers.values()];
      drag = { kind: "pinch", far: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
      finger = null;
      return;
    }
    if (picking) { go(px, py); takeColour(); drag = { kind: "done" }; return; }
    const pan = event.button === 1 || event.altKey;
    if (painting && !pan) {
      drag = { kind: "paint" };
      go(px, py);
      dabTo(px, py);
    } else if (event.pointerType === "touch") {
      drag = { kind: "look" };
      finger = local(event);
      go(px, py);
      draw();
    } else drag = { kind: "press", x: event.clientX, y: event.clientY, from: { ...view } };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!picture) return;
    const [px, py] = pixelOf(event);
    if (pointers.has(event.pointerId)) pointers.set(event.pointerId, local(event));
    if (drag?.kind === "pinch" && pointers.size === 2) {
      const [a, b] = [...pointers.values()];
      const [far, mx, my] = [Math.hypot(a.x - b.x, a.y - b.y), (a.x + b.x) / 2, (a.y + b.y) / 2];
      view.x -= (mx - drag.x) / view.scale;
      view.y -= (my - drag.y) / view.scale;
      zoom(far / (drag.far || 1), (mx - width / 2) / view.scale + view.x, (my - height / 2) / view.scale + view.y);
      Object.assign(drag, { far, x: mx, y: my });
    } else if (drag?.kind === "paint") {
      go(px, py);
      dabTo(px, py);
    } else if (drag?.kind === "look") {
      finger = local(event);
      go(px, py);
      draw();
    } else if (drag?.kind === "press" || drag?.kind === "pan") {
      const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
      if (Math.hypot(dx, dy) > 4) drag.kind = "pan";
      if (drag.kind === "pan") {
        view.x = drag.from.x - dx / view.scale;
        view.y = drag.from.y - dy / view.scale;
        bound();
        draw();
        sharpenSoon();
      }
    } else if (!drag && !held && event.pointerType !== "touch") {
      if (px >= 0 && py >= 0 && px < picture.width && py < picture.height) go(px, py);
    }
  });
  const released = (/** @type {PointerEvent} */ event) => {
    pointers.delete(event.pointerId);
    finger = null;
    if (drag?.kind === "press" && event.type === "pointerup") {
      const wasHeld = held;
      go(...(/** @type {[number, number]} */ (pixelOf(event))));
      hold(!wasHeld);
    }
    if (drag?.kind === "paint") endStroke();
    if (!pointers.size) drag = null;
    else drag = { kind: "done" };
    draw();
  };
  canvas.addEventListener("pointerup", released);
  canvas.addEventListener("pointercancel", released);
  // The page scrolls under the pointer as everywhere; the wheel zooms once one has clicked into the picture.
  canvas.addEventListener("wheel", (event) => {
    if (!picture || !(event.ctrlKey || event.metaKey || focusedHere())) return;
    event.preventDefault();
    const { x: sx, y: sy } = local(event);
    zoom(Math.exp(clamp(-event.deltaY, -120, 120) / 300), (sx - width / 2) / view.scale + view.x, (sy - height / 2) / view.scale + view.y);
  }, { passive: false });
  const focusedHere = () => /** @type {Document | ShadowRoot} */ (canvas.getRootNode()).activeElement === canvas;

  canvas.addEventListener("keydown", (event) => {
    if (!picture) return;
    const step = event.shiftKey ? 10 : 1;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if ((event.ctrlKey || event.metaKey) && key === "z" && painting) { event.preventDefault(); panel.run(() => takeBack("undo")); return; }
    if (event.metaKey || event.altKey || (event.ctrlKey && key !== "Home" && key !== "End")) return;
    /** @type {Record<string, () => any>} */
    const keys = {
      ArrowLeft: () => go(x - step, y, true), ArrowRight: () => go(x + step, y, true),
      ArrowUp: () => go(x, y - step, true), ArrowDown: () => go(x, y + step, true),
      Home: () => (event.ctrlKey ? go(x, 0, true) : go(0, y, true)),
      End: () => (event.ctrlKey ? go(x, picture.height - 1, true) : go(picture.width - 1, y, true)),
      "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), f: () => zoom(1e-9),
      "[": () => toStep(state.step - 1), "]": () => toStep(state.step + 1),
      p: togglePaint, Enter: () => hold(!held), Escape: () => { hold(false); setPicking(false); },
    };
    if (painting) keys.e = takeColour;
    if (picking) keys[" "] = takeColour;
    else if (painting) keys[" "] = () => { dabTo(x, y); endStroke(); };
    if (picture.bands.length > 1) for (let i = 0; i <= picture.bands.length; i++) keys[i] = () => setChannel(i ? i - 1 : null);
    const action = keys[key];
    if (!action) return;
    event.preventDefault();
    panel.run(action);
  });

  // ---------------------------------------------------------------- begin

  const watch = new ResizeObserver(() => resize(false));
  watch.observe(stage);
  panel.on("mounted", () => { resize(false); lens(); });
  panel.on("theme", () => { lens(); draw(); });
  panel.run(() => show(state));
}

export default definePanel(build, STYLES);
