// @ts-check
// The slides of a notebook as cards: click a cell or go to it by arrow keys, and say by a button or a letter what it is.
import { definePanel, h, STYLES } from "./shared.js";

/** @typedef {import("./shared.js").PanelView} PanelView */

/** @type {[string, string, string, string][]} */
const KINDS = [
  ["slide", "Slide", "s", "begins a slide"], ["subslide", "Below", "b", "begins a slide below the one before"],
  ["fragment", "Step", "f", "is shown a step later"], ["", "With it", "w", "is shown with what is before it"],
  ["skip", "Skip", "x", "is not shown"], ["notes", "Notes", "n", "is for the speaker alone"],
];
const LONGEST = 60000; // ms that slides may take to be drawn

/** @param {PanelView} panel @param {any} state */
function build(panel, state) {
  let at = 0;
  const buttons = KINDS.map(([kind, name, key, what]) => h("button", {
    title: `The chosen cell ${what} (${key.toUpperCase()})`, "data-kind": kind, onclick: () => set(kind),
  }, name));
  const check = h("button", { onclick: () => checked() }, "Check");
  const propose = h("button", { title: "Put a proposal in place of all of it", onclick: () => change("propose") }, "Propose");
  const save = h("button", { onclick: () => saved() }, "");
  const count = h("b", {});
  const told = h("p", { class: "fm-sl-told", role: "status" });
  const strip = h("div", { class: "fm-sl-strip", role: "listbox", "aria-label": "Cells of the slides", onkeydown: keys });
  panel.body.append(
    h("div", { class: "fm-row" }, count, h("span", { class: "fm-grow" }), check, propose, save),
    h("div", { class: "fm-row", style: "margin-top:8px", role: "group", "aria-label": "What the chosen cell is" }, ...buttons),
    told, strip);

  function draw() {
    count.textContent = `${state.file}: ${state.slides} slide${state.slides === 1 ? "" : "s"}`;
    save.textContent = state.saved ? "Saved" : `Save in ${state.file}`;
    save.disabled = state.saved;
    /** @type {any[]} */
    const cards = [];
    /** @type {any} */
    let card = null;
    state.cells.forEach((/** @type {any} */ cell, /** @type {number} */ i) => {
      if (cell.label || !card) {
        const out = !cell.label;
        card = h("div", { class: `fm-sl-card${cell.type === "subslide" ? " fm-sl-below" : ""}${out ? " fm-sl-out" : ""}`, role: "group",
          "aria-label": out ? "Before the first slide" : `Slide ${cell.label}` },
          h("div", { class: "fm-sl-number" }, out ? "not shown" : cell.label));
        cards.push(card);
      }
      const [, name] = /** @type {any} */ (KINDS.find(([kind]) => kind === cell.type));
      card.append(h("div", {
        class: `fm-sl-cell fm-sl-${cell.type || "with"} fm-sl-${cell.kind}`, role: "option", "data-cell": i,
        "aria-selected": String(i === at), tabIndex: i === at ? 0 : -1, onclick: () => choose(i),
        "aria-label": `Cell ${i + 1}, ${name}: ${cell.lines[0]}${cell.remarks.length ? `. ${cell.remarks.join(" ")}` : ""}`,
      }, h("span", { class: "fm-sl-kind" }, name), h("div", { class: "fm-sl-text" },
        ...cell.lines.map((/** @type {string} */ line, /** @type {number} */ k) => h(cell.heading && !k ? "b" : "div", {}, line))),
        ...cell.remarks.map((/** @type {string} */ text) => h("div", { class: "fm-sl-remark" }, `⚠ ${text}`))));
    });
    strip.replaceChildren(...cards);
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.kind === state.cells[at].type));
  }

  /** @param {number} i @param {boolean} [focus] */
  function choose(i, focus = true) {
    at = Math.max(0, Math.min(state.cells.length - 1, i));
    draw();
    if (focus) strip.querySelector('[aria-selected="true"]').focus();
  }

  /** @param {string} what @param {any} [content] */
  const change = (what, content) => panel.run(async () => {
    const inside = strip.contains(document.activeElement);
    state = await panel.ask(what, content);
    told.textContent = "";
    choose(at, inside);
    panel.settled();
  });

  /** @param {string} kind */
  const set = (kind) => change("set", { cell: at, kind });

  /** @param {any} event */
  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = /** @type {any} */ ({ ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: -Infinity, End: Infinity })[event.key];
    const kind = KINDS.find(([, , key]) => key === event.key.toLowerCase());
    if (way) choose(at + way);
    else if (kind) set(kind[0]);
    else return;
    event.preventDefault();
  }

  const saved = () => panel.run(async () => {
    state = await panel.ask("save");
    const open = /** @type {any} */ (globalThis).Jupyter?.notebook; // the classic notebook can be told
    const here = open?.notebook_name === state.file && open.get_cells().length === state.cells.length;
    if (here) {
      open.get_cells().forEach((/** @type {any} */ cell, /** @type {number} */ i) => {
        if (state.cells[i].type) cell.metadata.slideshow = { ...cell.metadata.slideshow, slide_type: state.cells[i].type };
        else delete cell.metadata.slideshow;
      });
    }
    told.textContent = `Saved in ${state.file}.${here ? "" : " If it is open: File, Reload Notebook from Disk."} Show it with: fastmagic slides ${state.file}`;
    draw();
    panel.settled();
  });

  /** Every slide is drawn on a screen of 1280 x 720 that nobody sees, and measured. */
  const checked = () => panel.run(async () => {
    check.disabled = true;
    told.textContent = "Drawing the slides …";
    const frame = h("iframe", { class: "fm-sl-frame", sandbox: "allow-scripts", "aria-hidden": "true", tabIndex: -1 });
    try {
      const { page } = await panel.ask("page");
      const measured = await new Promise((resolve, reject) => {
        const hear = (/** @type {MessageEvent} */ event) => {
          if (event.source !== frame.contentWindow || !event.data?.fastmagicSlides) return;
          removeEventListener("message", hear);
          resolve(event.data.fastmagicSlides);
        };
        addEventListener("message", hear);
        setTimeout(() => { removeEventListener("message", hear); reject(new Error("The slides could not be drawn within a minute.\nOpen them instead: fastmagic slides NOTEBOOK --static")); }, LONGEST);
        frame.srcdoc = page;
        panel.root.append(frame);
      });
      state = await panel.ask("measured", { slides: measured });
      const found = state.cells.reduce((/** @type {number} */ n, /** @type {any} */ cell) => n + cell.remarks.length, 0);
      told.textContent = found ? `${found} thing${found === 1 ? "" : "s"} to mend, at the cells.` : "Every slide fits a screen of 1280 × 720, all cells ran in order, all pictures have a text.";
      draw();
      panel.settled();
    } finally {
      frame.remove();
      check.disabled = false;
      if (told.textContent === "Drawing the slides …") told.textContent = "";
    }
  });

  draw();
  if (state.proposed && !state.saved) told.textContent = "No cell began a slide: this is a proposal. Click a cell, or go to it by the arrow keys, and choose what it is.";
  if (state.check) checked();
}

export default definePanel(build, STYLES);
