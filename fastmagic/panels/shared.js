// @ts-check
// What the panels share: requests to the kernel, the place in the page, errors, DOM helpers. Python puts it in front of
// each panel's own module (panel.py, source_of).

/** A widget's model, or what answers in its place (`alone`: there is no kernel). @typedef {{alone?: boolean, get(name: string): any, send(content: any, callbacks?: any, buffers?: any): void, on(name: string, fn: Function): void, off(name?: string | null, fn?: Function | null): void}} Model */
/** @typedef {Record<string, any>} Content */

/** The styles of the panel that this module is part of: Python writes them here. */
export const STYLES = "";

/** @type {Record<string, any>} */
const TYPED = {
  float32: Float32Array, float64: Float64Array, uint8: Uint8Array, int32: Int32Array, uint32: Uint32Array,
  int16: Int16Array, uint16: Uint16Array, int8: Int8Array, bool: Uint8Array,
};

const PATIENCE = 5000; // ms without an answer, after which a panel says that nobody answers
const SMALL = 32_000; // bytes: pictures up to that are put into their address, which takes a tenth of what a blob takes

/** @param {ArrayBuffer} bytes */
function base64(bytes) {
  let text = "";
  for (let k = 0; k < bytes.byteLength; k += 8192) text += String.fromCharCode(...new Uint8Array(bytes, k, Math.min(8192, bytes.byteLength - k)));
  return btoa(text);
}

/**
 * Put the buffers of a message back where `$buffer` stands: arrays as {data, shape}, pictures as {url, mime}.
 * @param {any} value
 * @param {DataView[]} buffers
 * @returns {any}
 */
export function unpack(value, buffers) {
  if (Array.isArray(value)) return value.map((part) => unpack(part, buffers));
  if (value === null || typeof value !== "object") return value;
  if ("$buffer" in value) {
    const view = buffers[value.$buffer];
    const bytes = /** @type {ArrayBuffer} */ (view instanceof ArrayBuffer ? view.slice(0) : view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
    if (value.mime?.startsWith("image/") && bytes.byteLength < SMALL) return { url: `data:${value.mime};base64,${base64(bytes)}`, mime: value.mime };
    if (value.mime) return { url: URL.createObjectURL(new Blob([bytes], { type: value.mime })), mime: value.mime };
    return { data: new TYPED[value.dtype](bytes), shape: value.shape };
  }
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, unpack(part, buffers)]));
}

/**
 * Make an element: `h("button", {class: "x", onclick: f, "aria-label": "Stop"}, "Stop")`.
 * @param {string} tag
 * @param {Content} [attributes]
 * @param {...any} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "rect", "circle", "text", "g", "polyline"].includes(tag);
  const element = /** @type {any} */ (svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (["value", "checked", "disabled", "textContent", "hidden", "htmlFor", "tabIndex"].includes(name)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * Call `fn` after `wait` ms in which it was not called again.
 * @param {Function} fn
 * @param {number} wait
 */
export function debounce(fn, wait) {
  /** @type {any} */
  let timer = 0;
  return (/** @type {any[]} */ ...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => fn(...args), wait);
  };
}

/**
 * Return a canvas's context, the canvas as sharp as the screen; drawing is in CSS px.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 * @returns {CanvasRenderingContext2D}
 */
export function sharp(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/**
 * Return the value of a CSS variable of the panel, for canvases, which know none: `ink(root, "--fm-text")`.
 * @param {Element} element
 * @param {string} name
 */
export function ink(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim() || "#777";
}

/** A panel in the browser: one for each model, wherever in the page it is shown. */
export class PanelView {
  /**
   * @param {Model} model
   * @param {(panel: PanelView, state: Content) => void} build
   * @param {string} styles
   */
  constructor(model, build, styles) {
    this.model = model;
    this.build = build;
    this.id = model.get("panel_id");
    this.built = false;
    this.closed = false;
    this.count = 0;
    this.nudging = 0;
    this.page = Math.random().toString(36).slice(2); // every page with this panel hears all answers
    /** @type {Map<string, {resolve: Function, reject: Function}>} */
    this.waiting = new Map();
    /** @type {Map<string, Function[]>} */
    this.listeners = new Map();
    /** @type {HTMLElement | null} */
    this.focused = null;
    this.errors = h("div", { class: "fm-errors", role: "alert" });
    this.lost = h("p", { class: "fm-lost", role: "status", hidden: true },
      "The kernel does not answer: it is busy with a cell, or it has ended. If it has ended, run this cell again.");
    this.body = h("div", { class: "fm-body" }, h("p", { class: "fm-dim" }, "Connecting to the kernel…"));
    // LaTeX is not looked for in here: a "$" is a dollar sign. Keys that the panel uses do not reach the notebook.
    this.root = h("div", { class: "fm-panel tex2jax_ignore mathjax_ignore", "data-lm-suppress-shortcuts": "true" },
      h("style", {}, styles), this.errors, this.lost, this.body);
    for (const name of ["keydown", "keyup", "keypress"]) {
      this.root.addEventListener(name, (/** @type {KeyboardEvent} */ event) => event.stopPropagation());
    }
    this.root.addEventListener("focusin", (/** @type {any} */ event) => { this.focused = event.target; });
    this.root.addEventListener("focusout", () => setTimeout(() => {
      if (this.root.isConnected && !this.root.contains(document.activeElement)) this.focused = null;
    }));
    this.receive = (/** @type {any} */ message, /** @type {DataView[]} */ buffers) => this._receive(message, buffers ?? []);
    model.on("msg:custom", this.receive);
    // A change of what is shown, by the reader or the kernel, is kept in the notebook when nothing has followed it for a while.
    this.settled = debounce(() => this.closed || this.ask("settled").catch((error) => this.error(error)), 1200);
    this.theme = new MutationObserver(() => this._themed());
    for (const element of [document.documentElement, document.body]) {
      this.theme.observe(element, { attributes: true, attributeFilter: ["class", "data-jp-theme-light", "data-jp-theme-name", "style"] });
    }
    this._themed();
    this._hello();
  }

  /**
   * Ask the kernel; the promise rejects with the kernel's message, which the panel shows too.
   * @param {string} what
   * @param {Content} [content]
   * @param {ArrayBuffer[]} [buffers]
   * @returns {Promise<any>}
   */
  ask(what, content = {}, buffers = []) {
    const id = `${this.page}.${++this.count}`;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.model.send({ id, ask: what, content }, undefined, buffers);
      if (!this.nudging) this._nudge(3000);
      // What the panel asks by itself may wait for a long cell; what the reader asks for is missed.
      if (what !== "settled" && what !== "look" && !this.model.alone) setTimeout(() => this.waiting.has(id) && this._heard(false), PATIENCE);
    });
  }

  /**
   * Hear what the kernel tells unasked.
   * @param {string} event
   * @param {(content: Content) => void} fn
   */
  on(event, fn) {
    this.listeners.set(event, [...(this.listeners.get(event) ?? []), fn]);
  }

  /**
   * Show an error above the panel until it is closed.
   * @param {any} error
   */
  error(error) {
    const [cause, ...rest] = String(error?.message ?? error).split("\n");
    const box = h("div", { class: "fm-error" },
      h("div", {}, h("b", {}, cause), ...rest.map((line) => h("div", {}, line)),
        error?.details && h("details", {}, h("summary", {}, "Details"), h("pre", {}, error.details))),
      h("button", { "aria-label": "Close this message", onclick: () => box.remove() }, "✕"));
    this.errors.replaceChildren(box);
  }

  /**
   * Run what a control does; an error is shown.
   * @param {() => any} action
   */
  async run(action) {
    try {
      return await action();
    } catch (error) {
      this.error(error);
    }
  }

  async _hello() {
    const page = document.querySelector(".jp-OutputArea, .jp-Notebook, .output_area, #notebook-container, #rendered_cells");
    try {
      const state = await this.ask("hello", { host: page ? "page" : "frame" });
      this.alive = true;
      this.body.replaceChildren();
      this.build(this, state);
      this.built = true;
      this.settled();
      this.place();
    } catch (error) {
      this.error(error);
    }
  }

  /**
   * Knock again while an answer is missing, ever less often: up to 7.3, ipykernel may leave a message unread that comes
   * while it sends a reply, until the next one comes. (https://github.com/ipython/ipykernel/pull/1529)
   * @param {number} after milliseconds
   */
  _nudge(after) {
    this.nudging = setTimeout(() => {
      this.nudging = 0;
      if (this.closed || this.model.alone || !this.waiting.size) return;
      try {
        this.model.send({}); // asks nothing
      } catch {
        return; // the notebook was closed: nobody is there to ask
      }
      this._nudge(Math.min(2 * after, 60000));
    }, after);
  }

  /** @param {boolean} heard whether the kernel is heard of */
  _heard(heard) {
    if (this.lost.hidden === heard) return;
    this.lost.hidden = heard;
    this.root.classList.toggle("fm-unheard", !heard);
  }

  /** @param {any} message @param {DataView[]} buffers */
  _receive(message, buffers) {
    this._heard(true);
    if (message.re !== undefined) {
      const waiting = this.waiting.get(message.re);
      this.waiting.delete(message.re);
      if (message.error) waiting?.reject(Object.assign(new Error(message.error), { details: message.details }));
      else waiting?.resolve(unpack(message.answer, buffers));
    } else if (message.event && this.built) {
      const content = unpack(message.content, buffers);
      for (const fn of this.listeners.get(message.event) ?? []) this.run(() => fn(content));
    }
  }

  /** Say in a class whether the page is dark: canvases and shadows need to know, and not every front end says it in CSS. */
  _themed() {
    const said = document.body?.dataset.jpThemeLight ?? document.documentElement.dataset.jpThemeLight;
    const background = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [255, 255, 255, 1];
    const dark = said !== undefined ? said === "false" : (background[3] ?? 1) > 0.5 && (background[0] + background[1] + background[2]) / 3 < 110;
    this.root.classList.toggle("fm-dark", dark);
    for (const fn of this.listeners.get("theme") ?? []) fn({});
  }

  /**
   * Put the panel into an element of a widget's view.
   * @param {HTMLElement} element
   */
  mount(element) {
    element.append(this.root);
    if (this.focused) this.focused.focus({ preventScroll: true });
    this._themed();
    for (const fn of this.listeners.get("mounted") ?? []) fn({});
  }

  /** Take the place of a still of this panel in the page, where no view shows it. */
  place() {
    if (this.closed || !this.alive || this.root.isConnected) return;
    const still = document.querySelector(`[data-fastmagic-panel="${this.id}"]`);
    if (!still) return;
    still.classList.replace("fastmagic", "fastmagic-live"); // the styles of stills are not for what lives
    const below = /** @type {HTMLElement | null} */ (still.querySelector(".fastmagic-still"));
    if (below) below.style.display = "none";
    this.mount(/** @type {HTMLElement} */ (still));
  }

  close() {
    this.closed = true;
    this.theme.disconnect();
    this.root.parentElement?.classList.replace("fastmagic-live", "fastmagic");
    const still = /** @type {HTMLElement | null} */ (this.root.parentElement?.querySelector(".fastmagic-still"));
    if (still) still.style.display = "";
    this.root.remove();
  }
}

/**
 * One set of panels and one watch over the page for all of them, whichever module they came from.
 * @returns {Map<string, PanelView>}
 */
function panels() {
  const scope = /** @type {any} */ (globalThis);
  if (!scope.fastmagicPanels) {
    scope.fastmagicPanels = new Map();
    const watch = new MutationObserver(() => {
      for (const panel of scope.fastmagicPanels.values()) panel.place();
    });
    watch.observe(document.body, { childList: true, subtree: true });
  }
  return scope.fastmagicPanels;
}

/**
 * Make what anywidget expects of a module out of what builds a panel from its state.
 * @param {(panel: PanelView, state: Content) => void} build
 * @param {string} styles
 */
export function definePanel(build, styles) {
  /** @param {Model} model */
  const view = (model) => {
    const id = model.get("panel_id");
    let panel = panels().get(id);
    if (!panel || panel.closed) {
      panel = new PanelView(model, build, styles);
      panels().set(id, panel);
    }
    return panel;
  };
  return {
    /** @param {{model: Model}} context */
    initialize({ model }) {
      const panel = view(model);
      return () => {
        panel.close();
        panels().delete(panel.id);
      };
    },
    /** @param {{model: Model, el: HTMLElement}} context */
    render({ model, el }) {
      const panel = view(model);
      panel.mount(el);
      return () => {
        if (panel.root.parentElement === el) panel.root.remove();
        panel.place();
      };
    },
  };
}
