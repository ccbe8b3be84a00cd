// @ts-check
// The dataset cleaner in the browser: queues, a grid of which only what is seen exists, decisions by mouse or keys alone.
// The kernel holds the items and their decisions; the browser asks for windows of the view that it shows.

import { debounce, definePanel, h, STYLES } from "./shared.js";

/** @typedef {import("./shared.js").PanelView} PanelView */
/** @typedef {{action: string, to: any}} Decision */
/**
 * An item as the kernel tells it, and what is asked for it and not yet written.
 * @typedef {{i: number, name: string, label: any, split: string, predicted: any, confidence: number | null, loss: number | null,
 *   decision: Decision | null, pending?: Decision | null, why: string, group: number | null, of: number,
 *   picture: {url: string} | null, gone: boolean, row?: [string, string][], text?: string, sound: boolean}} Tile
 */
/** Places in the view, "rank" each: [first, last] in order, none touching the next. @typedef {[number, number][]} Ranges */

const CHUNK = 60; // items a request, as many as come with a view
const UNDER_WAY = 3; // requests at once
const KEPT = 600; // items that stay here when they are out of sight
const TALLEST = 8e6; // CSS px of the scroller's content; beyond, browsers lose precision and then the end
const NONE_FOLLOWS = "No undecided item follows here.";
const DIGITS = 9; // labels with a key of their own
const GAP = 8, LINE = 17, BAND = 18, EDGE = 12; // CSS px, as in cleaner.css
/** Least width of a tile and height of its picture, CSS px. @type {Record<string, {least: number, shot: number}>} */
const SIZES = { S: { least: 84, shot: 76 }, M: { least: 122, shot: 118 }, L: { least: 220, shot: 200 } };
/** @type {typeof SIZES} */
const WIDE_SIZES = { S: { least: 132, shot: 96 }, M: { least: 200, shot: 150 }, L: { least: 320, shot: 240 } };

/** @type {Record<string, [string, string]>} sign and word */
const MARKS = { relabel: ["✎", "relabel"], aside: ["✕", "set aside"], keep: ["✓", "kept"] };
/** @type {Record<string, [string, string]>} */
const NOUNS = { picture: ["picture", "pictures"], sound: ["sound", "sounds"], row: ["row", "rows"], text: ["text", "texts"] };
const SORTS = [["", "as it comes"], ["loss", "highest loss"], ["confidence", "least confident"], ["label", "label"], ["name", "name"]];

/** @param {number} share */
const percent = (share) => `${(100 * share).toFixed(share > 0.0995 && share < 0.995 || share === 0 || share === 1 ? 0 : 1)} %`;
/** @param {number} n */
const whole = (n) => n.toLocaleString("en");
/** @param {number} low @param {number} value @param {number} high */
const between = (low, value, high) => Math.max(low, Math.min(value, high));
/** Put children into an element in place of those before; what is falsy is none. @param {any} element @param {...any} children */
const fill = (element, ...children) => element.replaceChildren(...children.flat(3).filter(Boolean));
/** A label, or several, in words. @param {any} label */
const named = (label) => Array.isArray(label) ? label.join(", ") || "no label" : label ?? "no label";
/** What is decided about an item, or about to be. @param {Tile} tile */
const decided = (tile) => tile.pending !== undefined ? tile.pending : tile.decision;
/** @param {Tile} tile */
const same = (tile) => named(tile.label) === named(tile.predicted);
/** A key's name beside what it does. @param {string} name */
const key = (name) => h("kbd", { "aria-hidden": "true" }, name);
/** Let the pictures go of items that are not needed. @param {Tile[]} tiles */
function drop(tiles) {
  for (const tile of tiles) if (tile?.picture) URL.revokeObjectURL(tile.picture.url);
}

// -------------------------------------------------------------------- ranges of ranks

/** @param {Ranges} ranges @param {number} rank */
const within = (ranges, rank) => ranges.some(([first, last]) => first <= rank && rank <= last);
/** @param {Ranges} ranges */
const sizeOf = (ranges) => ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
/** @param {Ranges} ranges @param {number} first @param {number} last @returns {Ranges} */
function without(ranges, first, last) {
  return ranges.flatMap(([a, b]) => /** @type {Ranges} */ ([[a, Math.min(b, first - 1)], [Math.max(a, last + 1), b]]).filter(([c, d]) => c <= d));
}
/** @param {Ranges} ranges @param {number} first @param {number} last @returns {Ranges} */
function united(ranges, first, last) {
  /** @type {Ranges} */
  const all = [];
  for (const [a, b] of [...without(ranges, first, last), [first, last]].sort((x, y) => x[0] - y[0])) {
    const before = all[all.length - 1];
    if (before && before[1] === a - 1) before[1] = b;
    else all.push([a, b]);
  }
  return all;
}

// -------------------------------------------------------------------- the items that are here

/** The items of a view, as far as they are here: chunks of them, asked for as they come into sight, the latest used are kept. */
class Windows {
  /** @param {PanelView} panel @param {() => void} arrived @param {() => void} stale called when the kernel shows another view */
  constructor(panel, arrived, stale) {
    this.panel = panel;
    this.arrived = arrived;
    this.stale = stale;
    this.view = -1;
    this.count = 0;
    /** @type {Map<number, {tiles: Tile[], fresh: boolean}>} the one used last comes last */
    this.chunks = new Map();
    /** @type {Map<number, Promise<void>>} */
    this.asked = new Map();
    /** @type {number[]} */
    this.wishes = [];
    this.needed = 0; // chunks in sight
    this.lag = 50; // ms an answer takes
  }

  /** Begin with a new view. @param {any} answer */
  reset(answer) {
    for (const { tiles } of this.chunks.values()) drop(tiles);
    this.chunks.clear();
    this.asked.clear();
    this.wishes = [];
    this.view = answer.view;
    this.count = answer.count;
    this.keep(answer);
  }

  /** @param {number} rank @returns {Tile | undefined} */
  at(rank) {
    return this.chunks.get(Math.floor(rank / CHUNK))?.tiles[rank % CHUNK];
  }

  /** @returns {Generator<[number, Tile]>} */
  *all() {
    for (const [chunk, { tiles }] of this.chunks) {
      for (const [k, tile] of tiles.entries()) if (tile) yield [chunk * CHUNK + k, tile];
    }
  }

  /** @param {number} i @returns the rank of an item that is here, or -1 */
  rankOf(i) {
    for (const [rank, tile] of this.all()) if (tile.i === i) return rank;
    return -1;
  }

  /** @param {{start: number, tiles: Tile[]}} answer */
  keep({ start, tiles }) {
    /** @type {Set<number>} */
    const filled = new Set();
    tiles.forEach((tile, k) => {
      const [chunk, place] = [Math.floor((start + k) / CHUNK), (start + k) % CHUNK];
      if (!this.chunks.has(chunk)) this.chunks.set(chunk, { tiles: [], fresh: true });
      const kept = /** @type {any} */ (this.chunks.get(chunk));
      const old = kept.tiles[place];
      if (old?.picture && tile.picture && old.i === tile.i) {
        drop([tile]);
        tile.picture = old.picture;
      } else if (old) drop([old]);
      if (old?.pending !== undefined) tile.pending = old.pending;
      kept.tiles[place] = tile;
      filled.add(chunk);
    });
    for (const chunk of filled) /** @type {any} */ (this.chunks.get(chunk)).fresh = true;
    for (const chunk of this.chunks.keys()) {
      if (this.chunks.size <= Math.max(KEPT / CHUNK, this.needed + 3)) break;
      drop(this.chunks.get(chunk)?.tiles ?? []);
      this.chunks.delete(chunk);
    }
  }

  /** What is here may be out of date: show it until it comes again. */
  age() {
    for (const chunk of this.chunks.values()) chunk.fresh = false;
  }

  /** Ask for these ranges of ranks, the first one first; what was wished before and is not among them is not wished any more. @param {Ranges} ranges */
  wish(ranges) {
    const chunks = new Set();
    for (let [first, last] of ranges) {
      [first, last] = [Math.max(first, 0), Math.min(last, this.count - 1)];
      for (let chunk = Math.floor(first / CHUNK); chunk * CHUNK <= last; chunk++) {
        const kept = this.chunks.get(chunk);
        let here = !!kept?.fresh;
        const [from, to] = [Math.max(first, chunk * CHUNK), Math.min(last, chunk * CHUNK + CHUNK - 1)];
        for (let rank = from; here && rank <= to; rank++) here = rank % CHUNK in /** @type {any} */ (kept).tiles;
        if (!here) chunks.add(chunk);
        if (kept) {
          this.chunks.delete(chunk);
          this.chunks.set(chunk, kept);
        }
      }
    }
    this.needed = Math.ceil(sizeOf(ranges) / CHUNK) + ranges.length;
    this.wishes = [...chunks];
    this.pump();
  }

  pump() {
    for (const chunk of this.wishes) {
      if (this.asked.size >= UNDER_WAY) return;
      if (!this.asked.has(chunk)) this.fetch(chunk);
    }
  }

  /** @param {number} chunk @returns {Promise<void>} */
  fetch(chunk) {
    let under = this.asked.get(chunk);
    if (!under) {
      under = this._fetch(chunk);
      this.asked.set(chunk, under);
    }
    return under;
  }

  /** @param {number} chunk */
  async _fetch(chunk) {
    const [view, start, begun] = [this.view, chunk * CHUNK, performance.now()];
    try {
      const answer = await this.panel.ask("window", { view, start, count: Math.min(CHUNK, this.count - start) });
      if (view !== this.view) return drop(answer.tiles);
      this.lag += (Math.min(performance.now() - begun, 400) - this.lag) * 0.3;
      if (answer.view !== view) return this.stale();
      this.keep(answer);
    } catch (error) {
      this.panel.error(error);
      await new Promise((done) => setTimeout(done, 2000));
    }
    if (view !== this.view) return;
    this.asked.delete(chunk);
    this.wishes = this.wishes.filter((other) => other !== chunk);
    this.arrived();
    this.pump();
  }
}

// -------------------------------------------------------------------- a tile

/**
 * Make a tile of the grid, which shows now this item, now that.
 * @param {{plays: () => number}} look
 */
function makeTile(look) {
  const picture = h("img", { alt: "", draggable: "false", decoding: "sync", onload: () => picture.classList.toggle("fm-cl-coarse", picture.naturalWidth < 64) });
  const other = h("div", { class: "fm-cl-other" });
  const check = h("span", { class: "fm-cl-check", "aria-hidden": "true" });
  const split = h("span", { class: "fm-cl-split" });
  const mark = h("div", { class: "fm-cl-mark" });
  const play = h("button", { class: "fm-cl-play", tabIndex: -1 });
  const band = h("div", { class: "fm-cl-band" });
  const lines = [0, 1, 2].map(() => h("div", { class: "fm-cl-line" }));
  const element = h("div", { class: "fm-cl-tile", role: "gridcell" }, band, h("div", { class: "fm-cl-shot" }, picture, split, other, mark, play), lines, check);
  let url = "";

  /**
   * @param {number} rank
   * @param {Tile | undefined} tile
   * @param {{chosen: boolean, here: boolean, column: number, state: any, lines: number, small: boolean,
   *   group: null | {band: string, even: boolean, first: boolean, joined: boolean}}} how
   */
  function draw(rank, tile, how) {
    element.dataset.rank = String(rank);
    element.tabIndex = how.here ? 0 : -1;
    element.setAttribute("aria-selected", String(how.chosen));
    element.setAttribute("aria-colindex", String(how.column + 1));
    const decision = tile && decided(tile);
    const { group } = how;
    const classes = { "fm-cl-wait": !tile, "fm-cl-here": how.here, "fm-cl-chosen": how.chosen, "fm-cl-decided": decision,
      "fm-cl-pending": tile?.pending !== undefined, "fm-cl-even": group?.even, "fm-cl-first": group?.first, "fm-cl-joined": group?.joined };
    for (const [name, on] of Object.entries(classes)) element.classList.toggle(name, !!on);
    const next = tile?.picture?.url ?? "";
    if (next !== url) {
      url = next;
      if (next) picture.src = next;
      else picture.removeAttribute("src");
    }
    picture.hidden = !next;
    other.hidden = !tile || !!next;
    if (tile && !other.hidden) fill(other, insideOf(tile));
    split.hidden = !tile?.split;
    split.textContent = tile?.split ?? "";
    play.hidden = !tile?.sound;
    if (tile?.sound) {
      const on = look.plays() === tile.i;
      play.textContent = on ? "■" : "▶";
      play.setAttribute("aria-label", `${on ? "Stop" : "Play"} ${tile.name}`);
    }
    mark.hidden = !decision;
    mark.className = `fm-cl-mark fm-cl-${decision?.action}`;
    if (decision) mark.textContent = markOf(decision);
    band.hidden = !group;
    band.textContent = group?.band ?? "";
    const said = tile ? linesOf(tile, how.state, how.small) : [];
    lines.forEach((line, k) => {
      line.hidden = k >= how.lines;
      fill(line, said[k]);
    });
    element.setAttribute("aria-label", tile ? [wordsOf(tile), group?.band].filter(Boolean).join(", ") : `item ${whole(rank + 1)}, on its way`);
    element.title = tile ? wordsOf(tile) : "";
  }
  return { element, draw };
}

/** What a tile shows that is no picture. @param {Tile} tile */
function insideOf(tile) {
  if (tile.gone) return h("span", { class: "fm-dim" }, "The file is gone.");
  if (tile.row) return rowTable(tile.row);
  if (tile.text !== undefined) return h("span", {}, tile.text);
  return h("span", { class: "fm-dim" }, tile.sound ? "" : "It cannot be shown.");
}

/** @param {[string, string][]} row */
const rowTable = (row) => h("table", {}, h("tbody", {}, row.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value)))));

/** @param {Decision} decision */
function markOf({ action, to }) {
  const [sign, word] = MARKS[action];
  return `${sign} ${action === "relabel" ? named(to) : word}`;
}

/** The lines below a picture: the label, what the model says, the rest. @param {Tile} tile @param {any} state @param {boolean} small */
function linesOf(tile, state, small) {
  const decision = decided(tile);
  const none = state.kind === "none" || state.kind === "pixels";
  const first = decision?.action === "relabel" ? changeOf(tile.label, decision.to)
    : h("b", { class: tile.label === null && !none ? "fm-dim" : "" }, none ? tile.name : named(tile.label));
  const rest = [tile.why, tile.loss !== null && `loss ${tile.loss.toFixed(2)}`].filter(Boolean).join(" · ");
  if (!state.predicts) return [first, rest];
  const sure = tile.confidence === null ? "" : ` ${percent(tile.confidence)}`;
  const dim = (/** @type {string} */ text) => h("span", { class: "fm-dim" }, text);
  const says = tile.predicted === null ? dim("–")
    : state.kind === "numbers" ? dim(`model: ${named(tile.predicted)}`)
      : same(tile) ? dim(small ? `=${sure}` : `model: same${sure}`)
        : h("span", { class: "fm-cl-differs" }, small ? "≠ " : "model: ", h("b", {}, named(tile.predicted)), sure);
  return [first, says, dim(rest)];
}

/** A label and the one it is to have; of several those that go and those that come. @param {any} from @param {any} to */
function changeOf(from, to) {
  if (!Array.isArray(to)) return [from !== null && [h("s", {}, named(from)), " → "], h("b", {}, named(to))];
  /** @type {string[]} */
  const before = from ?? [];
  const words = before.map((name) => h(to.includes(name) ? "span" : "s", {}, name));
  for (const name of to) if (!before.includes(name)) words.push(h("b", {}, `+${name}`));
  return words.flatMap((word, k) => k ? [", ", word] : [word]);
}

/** All that is known of an item, for a screen reader and the mouse's tooltip. @param {Tile} tile */
function wordsOf(tile) {
  const decision = decided(tile);
  const what = decision && (decision.action === "relabel" ? `to be relabelled ${named(decision.to)}` : MARKS[decision.action][1]);
  return [tile.name, tile.label !== null && `labelled ${named(tile.label)}`, tile.split,
    tile.predicted !== null && `model says ${named(tile.predicted)}${tile.confidence === null ? "" : ` ${percent(tile.confidence)}`}`,
    tile.loss !== null && `loss ${tile.loss.toFixed(2)}`, tile.why, tile.gone && "the file is gone",
    what, tile.pending !== undefined && "not yet written",
  ].filter(Boolean).join(", ");
}

// -------------------------------------------------------------------- the grid

/**
 * Make the grid: the scroller is as tall as all items together, and only the rows in sight exist.
 * @param {Windows} windows
 * @param {{state: () => any, size: () => string, grouped: () => boolean, selection: () => Ranges, plays: () => number, moved: () => void}} look
 */
function makeGrid(windows, look) {
  const spacer = h("div", { class: "fm-cl-spacer", role: "presentation" });
  const element = h("div", { class: "fm-cl-scroll", role: "grid", "aria-multiselectable": "true" }, spacer);
  const place = h("div", { class: "fm-cl-place", "aria-hidden": "true", hidden: true }); // where one is, while it goes by
  /** @typedef {{element: HTMLElement, tiles: {element: HTMLElement, draw: Function}[], index: number}} Row */
  /** @type {Map<number, Row>} */
  const rows = new Map();
  /** @type {Row[]} */
  const spare = [];
  let columns = 1, rowHeight = 100, lines = 2, here = 0;
  let top = 0; // of what is in sight, CSS px from the first row's top
  let offset = 0; // what `top` is more than the scroller says
  let [seen, seenAt, speed] = [0, 0, 0];
  let width = 0;

  const rowCount = () => Math.ceil(windows.count / columns);
  const full = () => rowCount() * rowHeight + GAP;
  const room = () => element.clientHeight;

  /** Where pages of the content begin that is taller than a browser can have it: as in SlickGrid, 1:1 near a place, compressed over far. @param {number} page */
  const offsetOf = (page) => full() <= TALLEST ? 0 : Math.round((page * (full() - TALLEST)) / (pages() - 1));
  const pages = () => Math.floor(full() / (TALLEST / 100));
  /** @param {number} y */
  const pageOf = (y) => between(0, Math.floor(y / (TALLEST / 100)), pages() - 1);

  /** @param {number} y */
  function scrollTo(y) {
    y = between(0, y, Math.max(0, full() - room()));
    shift(offsetOf(pageOf(y)));
    element.scrollTop = y - offset;
    seen = element.scrollTop;
    top = y;
  }

  /** @param {number} to */
  function shift(to) {
    if (to === offset) return;
    offset = to;
    for (const row of rows.values()) row.element.style.top = `${row.index * rowHeight - offset + GAP}px`;
  }

  function scrolled() {
    const [now, at] = [element.scrollTop, performance.now()];
    if (now === seen || !element.clientWidth) return;
    const far = Math.abs(now - seen) >= room();
    const y = full() <= TALLEST ? now
      : far ? now + offsetOf(pageOf((now * (full() - room())) / (TALLEST - room()))) : now + offset;
    speed = at - seenAt > 150 ? 0 : speed * 0.5 + (0.5 * (y - top)) / Math.max(at - seenAt, 8);
    seenAt = at;
    if (full() > TALLEST) scrollTo(y);
    [top, seen] = [y, element.scrollTop];
    draw();
    place.hidden = full() < 4 * room();
    place.textContent = `${whole(Math.min(Math.floor(top / rowHeight) * columns + 1, windows.count))} of ${whole(windows.count)}`;
    stopped();
    rested();
  }
  const stopped = debounce(() => { speed = 0; draw(); }, 80);
  const rested = debounce(() => { place.hidden = true; }, 700);

  /** Draw what is in sight and ask for what is not here. @param {boolean} [anew] draw also what is there already */
  function draw(anew) {
    if (!element.clientWidth || !windows.count) {
      if (!windows.count) clear();
      return;
    }
    const [first, last] = [Math.floor(top / rowHeight), Math.floor((top + room()) / rowHeight)];
    const [from, to] = [Math.max(0, first - (speed < 0 ? 3 : 1)), Math.min(rowCount() - 1, last + (speed < 0 ? 1 : 3))];
    const focused = Math.floor(here / columns);
    for (const [index, row] of rows) {
      if ((index >= from && index <= to) || index === focused) continue;
      rows.delete(index);
      row.element.style.display = "none"; // in the page still: moving elements about costs more
      spare.push(row);
    }
    for (let index = from; index <= to; index++) drawRow(index, anew);
    drawRow(focused, anew);
    const [start, end, screen] = [first * columns, (last + 1) * columns - 1, (last - first + 1) * columns];
    const ahead = Math.round((speed * windows.lag) / rowHeight) * columns; // how far it is scrolled until an answer is here
    /** @type {Ranges} what is in sight has scrolled by when it comes, if that is more than a screen */
    const wishes = Math.abs(ahead) > screen
      ? [[start + ahead, end + ahead], speed < 0 ? [start + ahead - CHUNK, start + ahead] : [end + ahead, end + ahead + CHUNK]]
      : [[start, end], [from * columns, (to + 1) * columns - 1], speed < 0 ? [start - screen, start] : [end, end + screen]];
    windows.wish(wishes);
  }

  function clear() {
    for (const row of [...rows.values(), ...spare]) row.element.remove();
    rows.clear();
    spare.length = 0;
  }

  /** @param {number} index @param {boolean} [anew] */
  function drawRow(index, anew) {
    let row = rows.get(index);
    if (row && !anew) return;
    if (!row) {
      row = spare.pop() ?? makeRow();
      rows.set(index, row);
      row.index = index;
      row.element.style.display = "";
      row.element.style.top = `${index * rowHeight - offset + GAP}px`;
      row.element.setAttribute("aria-rowindex", String(index + 1));
      const after = Math.min(...[...rows.keys()].filter((other) => other > index));
      spacer.insertBefore(row.element, rows.get(after)?.element ?? null); // in order, for screen readers
    }
    const [state, grouped, selection, small] = [look.state(), look.grouped(), look.selection(), look.size() === "S"];
    row.tiles.forEach((tile, column) => {
      const rank = index * columns + column;
      tile.element.hidden = rank >= windows.count;
      if (rank >= windows.count) return;
      const [chosen, group] = [within(selection, rank), grouped ? groupOf(rank, column) : null];
      tile.draw(rank, windows.at(rank), { chosen, here: rank === here, column, state, lines, small, group });
    });
  }

  /** @returns {Row} */
  function makeRow() {
    const tiles = Array.from({ length: columns }, () => makeTile(look));
    const row = h("div", { class: "fm-cl-row", role: "row" }, tiles.map((tile) => tile.element));
    row.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    row.style.height = `${rowHeight - GAP}px`;
    return { element: row, tiles, index: -1 };
  }

  /** @param {number} rank @param {number} column */
  function groupOf(rank, column) {
    const tile = windows.at(rank);
    if (tile?.group === null || !tile) return null;
    const before = windows.at(rank - 1), after = windows.at(rank + 1);
    let first = rank;
    while (windows.at(first - 1)?.group === tile.group) first--;
    const nth = first === 0 || windows.at(first - 1) ? `${rank - first + 1} of ` : ""; // not known where what is before is not here
    return { band: `${nth}${tile.of} alike`, even: tile.group % 2 === 0, first: before?.group !== tile.group,
      joined: after?.group === tile.group && column < columns - 1 };
  }

  /** Measure and draw anew, the first item in sight staying in sight. @param {number} [rank] the item to show instead */
  function layout(rank) {
    if (!element.clientWidth) return;
    const state = look.state();
    const size = (state.media === "row" || state.media === "text" ? WIDE_SIZES : SIZES)[look.size()];
    const stay = rank ?? Math.floor(top / rowHeight) * columns;
    const [had, beyond] = [element.contains(document.activeElement), rank === undefined ? top % rowHeight : 0];
    width = element.clientWidth;
    columns = Math.max(1, Math.floor((width - GAP) / (size.least + GAP)));
    lines = (state.predicts ? 2 : 1) + (look.size() === "S" && state.predicts ? 0 : 1);
    const before = rowHeight;
    rowHeight = size.shot + lines * LINE + (look.grouped() ? BAND : 0) + EDGE + GAP;
    element.style.setProperty("--fm-cl-shot", `${size.shot}px`);
    element.dataset.size = look.size();
    element.setAttribute("aria-rowcount", String(rowCount()));
    element.setAttribute("aria-colcount", String(columns));
    clear();
    spacer.style.height = `${Math.min(full(), TALLEST)}px`;
    here = between(0, here, Math.max(0, windows.count - 1));
    scrollTo(Math.floor(stay / columns) * rowHeight + (before === rowHeight ? beyond : 0));
    draw(true);
    if (had) focus();
  }

  /** @param {number} rank */
  const tileAt = (rank) => rows.get(Math.floor(rank / columns))?.tiles[rank % columns]?.element;

  function focus() {
    tileAt(here)?.focus({ preventScroll: true });
  }

  /** Make an item the one that keys are about. @param {number} rank @param {boolean} [focused] */
  function go(rank, focused = true) {
    here = between(0, rank, Math.max(0, windows.count - 1));
    const y = Math.floor(here / columns) * rowHeight;
    if (y < top) scrollTo(y);
    else if (y + rowHeight + GAP > top + room()) scrollTo(y + rowHeight + GAP - room());
    draw(true);
    if (focused) focus();
    look.moved();
  }

  const again = () => {
    if (element.clientWidth && element.clientWidth !== width) layout(width ? undefined : here);
    else if (element.clientWidth) {
      if (element.scrollTop !== seen) scrollTo(top); // an element that was taken out of the page begins at its top again
      draw();
    }
  };
  new ResizeObserver(again).observe(element);
  element.addEventListener("scroll", scrolled, { passive: true });
  let drawing = 0;
  /** Draw in the next frame: several answers may come in one. */
  function soon() {
    cancelAnimationFrame(drawing);
    drawing = requestAnimationFrame(() => draw(true));
  }
  return {
    element, place, layout, go, focus, draw: soon, again,
    get here() { return windows.count ? here : -1; },
    get columns() { return columns; },
    get page() { return Math.max(1, Math.floor(room() / rowHeight)) * columns; },
    /** @param {any} answer */
    show(answer) {
      here = Math.max(answer.rank, 0);
      top = 0;
      element.scrollTop = seen = offset = 0;
      layout(here);
    },
  };
}

// -------------------------------------------------------------------- what lies above the panel

/**
 * Make the place for what is shown above everything else in the panel: help, questions, the zoom.
 * @param {HTMLElement} frame
 * @param {HTMLElement} main
 * @param {() => void} home give the focus to the grid
 */
function makeLayers(frame, main, home) {
  /** @type {{element: any, back: any, closed: Function | undefined}[]} */
  const layers = [];

  /**
   * @param {HTMLElement} element
   * @param {any} [first] what gets the focus
   * @param {() => void} [closed]
   */
  function open(element, first, closed) {
    const below = layers[layers.length - 1]?.element ?? main;
    layers.push({ element, back: document.activeElement, closed });
    below.inert = true;
    frame.append(element);
    element.addEventListener("keydown", (event) => {
      const inside = /** @type {Element} */ (event.target).closest(".fm-cl-inspector");
      const held = inside?.querySelector(".fm-px-held"); // the inspector's own use of it comes first
      if (event.key !== "Escape" || held || layers[layers.length - 1]?.element !== element) return;
      event.preventDefault();
      event.stopPropagation();
      close(element);
    }, true);
    (first ?? element).focus({ preventScroll: true });
    element.scrollIntoView({ block: "nearest" });
  }

  /** @param {HTMLElement} element */
  function close(element) {
    const layer = layers.find((other) => other.element === element);
    if (!layer) return;
    while (layers.includes(layer)) {
      const top = /** @type {any} */ (layers.pop());
      top.element.remove();
      (layers[layers.length - 1]?.element ?? main).inert = false;
      top.closed?.();
    }
    if (layer.back?.isConnected && layer.back !== document.body) layer.back.focus({ preventScroll: true });
    else home();
  }

  /**
   * Ask or tell something in a box of its own.
   * @param {string} title
   * @param {any[]} content
   * @param {any[]} buttons
   * @param {any} [first]
   */
  function ask(title, content, buttons, first) {
    const box = h("div", { class: "fm-cl-box", role: "dialog", "aria-modal": "true", "aria-label": title, tabindex: -1 },
      h("div", { class: "fm-cl-title" }, h("b", {}, title), h("button", { class: "fm-cl-close", "aria-label": "Close", onclick: () => close(layer) }, "✕")),
      h("div", { class: "fm-cl-inside" }, content), buttons.length > 0 && h("div", { class: "fm-row fm-cl-buttons" }, buttons));
    const layer = h("div", { class: "fm-cl-layer fm-cl-veil", onclick: (/** @type {MouseEvent} */ event) => { if (event.target === layer) close(layer); } }, box);
    open(layer, first ?? box);
    return layer;
  }
  return { open, close, ask };
}

// -------------------------------------------------------------------- the panel

/** @param {PanelView} panel @param {any} first */
function build(panel, first) {
  let state = first;
  /** @type {any} */
  let view = { ...state.view };
  /** @type {Ranges} */
  let selection = [];
  let size = "M";
  let playing = -1;
  /** @type {Record<string, number>} where one was in each queue */
  const places = {};

  const several = () => state.kind === "classes";
  const queue = () => state.queues.find((/** @type {any} */ q) => q.name === view.queue);
  /** @param {number} n */
  const items = (n) => `${whole(n)} ${(NOUNS[state.media] ?? ["item", "items"])[n === 1 ? 0 : 1]}`;

  const windows = new Windows(panel, () => { grid.draw(); changedHere(); }, () => look({}, currentTile()?.i));
  const grid = makeGrid(windows, { state: () => state, size: () => size, grouped: () => !!queue()?.grouped, selection: () => selection,
    plays: () => playing, moved: () => changedHere() });

  const live = h("div", { class: "fm-cl-said", role: "status", "aria-live": "polite" });
  const journal = h("div", { class: "fm-dim fm-cl-journal" });
  const head = h("div", { class: "fm-cl-head" });
  const queues = h("div", { class: "fm-cl-queues", role: "tablist", "aria-label": "Queues", "aria-orientation": "vertical" });
  const about = h("div", { class: "fm-cl-about" });
  const filters = h("div", { class: "fm-cl-filters", role: "group", "aria-label": "Filters" });
  const empty = h("div", { class: "fm-cl-empty", hidden: true, tabindex: -1 });
  const focusItems = () => windows.count ? grid.focus() : empty.focus({ preventScroll: true });
  const actions = makeActions(false);
  const main = h("div", { class: "fm-cl-main" }, head,
    h("div", { class: "fm-cl-columns" }, queues,
      h("div", { class: "fm-cl-view", role: "tabpanel", "aria-label": "Items of the queue" }, about, filters,
        h("div", { class: "fm-cl-stage" }, grid.element, grid.place, empty))),
    actions.element, h("div", { class: "fm-cl-foot" }, live, journal));
  const frame = h("div", { class: "fm-cleaner" }, main);
  const layers = makeLayers(frame, main, () => focusItems());
  panel.body.append(frame);

  const currentTile = () => windows.at(grid.here);
  /** Say what happened, for eyes and ears. @param {string} text */
  function say(text) {
    live.textContent = text;
    zoom.say(text);
  }

  // ---------------------------------------------------------------- the view

  let asking = 0;
  /** @type {Promise<any> | null} the view that is on its way */
  let looking = null;
  /** @type {Promise<any> | null} the answer that tells which item is next */
  let advancing = null;
  /** @type {(() => any)[]} */
  const later = [];

  /** Do what a key or a button says; not before it is known which items are shown and which one is next. @param {() => any} fn */
  function act(fn) {
    if (!later.length && !looking && !advancing) return panel.run(fn);
    if (later.push(fn) === 1) drain();
  }

  async function drain() {
    while (later.length) {
      while (looking || advancing) await (looking ?? advancing)?.catch(() => {});
      panel.run(later[0]);
      later.shift();
    }
  }

  /**
   * Ask for another view: other filters, another queue.
   * @param {any} change
   * @param {number} [at] the item to stay at
   */
  function look(change, at) {
    const mine = ++asking;
    Object.assign(view, change);
    drawFilters();
    grid.element.setAttribute("aria-busy", "true");
    looking = panel.run(async () => {
      try {
        const answer = await panel.ask("view", { ...view, at });
        if (mine !== asking) return drop(answer.tiles);
        show(answer);
        say(`${queue()?.title ?? "Items"}: ${items(answer.count)}${filtered() ? ` match${answer.count === 1 ? "es" : ""} the filters` : ""}.`);
        panel.settled();
      } finally {
        if (mine === asking) {
          looking = null;
          grid.element.removeAttribute("aria-busy");
        }
      }
    });
  }

  /** @type {any} */
  let answered = null;
  /** @param {any} answer */
  function show(answer) {
    const had = grid.element.contains(document.activeElement) || empty.contains(document.activeElement);
    windows.reset(answer);
    answered = { labels: answer.labels ?? [], about: answer.about, queue: view.queue, count: queue()?.count };
    selection = [];
    drawQueues();
    drawAbout();
    drawFilters();
    drawEmpty();
    grid.element.setAttribute("aria-label", `${queue()?.title ?? "Items"}: ${items(windows.count)}`);
    grid.show(answer);
    if (had) focusItems();
    if (zoom.open) zoom.draw();
    changedHere();
  }

  const filtered = () => ["label", "split", "predicted", "text"].some((name) => view[name]) || view.open;

  /** @param {string} name */
  function toQueue(name) {
    const tile = currentTile();
    if (tile) places[view.queue] = tile.i;
    look({ queue: name }, places[name]);
  }

  /** @param {number} step */
  function besideQueue(step) {
    const k = state.queues.indexOf(queue()) + step;
    if (k >= 0 && k < state.queues.length) toQueue(state.queues[k].name);
    else say(step > 0 ? "That is the last queue." : "That is the first queue.");
  }

  function drawQueues() {
    const focused = queues.contains(document.activeElement) ? /** @type {any} */ (document.activeElement).dataset.queue : null;
    const from = queues.scrollLeft;
    fill(queues, state.queues.map((/** @type {any} */ q) => {
      const here = q.name === view.queue;
      const counted = q.busy ? `looking…${q.done === null ? "" : ` ${percent(q.done)}`}${q.count ? `, ${whole(q.count)} so far` : ""}`
        : !q.count ? "none" : q.left ? `${whole(q.left)} left of ${whole(q.count)}` : `✓ all ${whole(q.count)} decided`;
      const share = q.busy ? q.done ?? 0 : q.count ? 1 - q.left / q.count : 0;
      return h("button", { class: `fm-cl-queue${q.count || q.busy ? "" : " fm-cl-none"}`, role: "tab", "aria-selected": String(here),
        tabIndex: here ? 0 : -1, "data-queue": q.name, title: q.about, onclick: () => toQueue(q.name) },
      h("span", { class: "fm-cl-name" }, q.title), h("span", { class: "fm-cl-count" }, counted),
      h("span", { class: `fm-cl-share${q.busy ? " fm-cl-busy" : ""}`, "aria-hidden": "true" }, h("i", { style: `width: ${100 * share}%` })));
    }));
    queues.scrollLeft = from;
    const here = /** @type {any} */ (queues.querySelector('[aria-selected="true"]'));
    if (focused !== null) /** @type {any} */ (queues.querySelector(`[data-queue="${CSS.escape(focused)}"]`))?.focus({ preventScroll: true });
    if (!here || !queues.clientWidth) return;
    // Into sight within the strip or the list only: the page stays where it is.
    const { offsetLeft: left, offsetTop: top } = here;
    if (left < queues.scrollLeft || left + here.offsetWidth > queues.scrollLeft + queues.clientWidth) queues.scrollLeft = left - 30;
    if (top < queues.scrollTop || top + here.offsetHeight > queues.scrollTop + queues.clientHeight) queues.scrollTop = top - 30;
  }

  queues.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const all = [...queues.children];
    const at = all.indexOf(/** @type {Element} */ (event.target));
    /** @type {any} */ (all[between(0, at + step, all.length - 1)])?.focus();
  });

  function drawAbout() {
    const q = queue();
    const more = q && answered?.queue === q.name && q.count !== answered.count;
    fill(about, h("span", {}, answered?.about || q?.about || ""),
      more && h("button", { onclick: () => look({}, currentTile()?.i) }, `Now ${whole(q.count)}: show them`));
  }

  function drawEmpty() {
    empty.hidden = windows.count > 0;
    const q = queue();
    const why = filtered() ? "Nothing here matches the filters." : q?.busy ? "Still looking. What is found comes here by itself." : "Nothing to decide here.";
    fill(empty, h("p", {}, why),
      filtered() && h("button", { onclick: () => look({ label: "", split: "", predicted: "", text: "", open: false }) }, "Clear the filters"));
  }

  // ---------------------------------------------------------------- filters

  const searched = () => { if (search.value.trim() !== (view.text ?? "")) look({ text: search.value.trim() }); };
  const search = h("input", { type: "search", class: "fm-cl-search", placeholder: "Search names", "aria-label": "Search names", value: view.text ?? "",
    oninput: debounce(searched, 250),
    onblur: searched, // whoever goes on to another filter at once has searched too
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter" || event.key === "Escape") {
        event.preventDefault();
        if (event.key === "Escape") search.value = "";
        focusItems();
        searched();
      }
      event.stopPropagation();
    } });
  const folded = h("button", { class: "fm-cl-fold", "aria-expanded": "false", onclick: () => {
    folded.setAttribute("aria-expanded", String(filters.classList.toggle("fm-cl-open")));
  } });

  /** @param {string} name @param {string} title @param {string[][]} options @param {string} [none] */
  function select(name, title, options, none) {
    const all = none === undefined ? options : [["", none], ...options];
    if (view[name] && !all.some(([value]) => value === view[name])) all.push([view[name], view[name]]);
    return h("select", { "aria-label": title, title, class: view[name] && none !== undefined ? "fm-cl-on" : "", "data-filter": name,
      onchange: (/** @type {any} */ event) => look({ [name]: event.target.value }, currentTile()?.i) },
    all.map(([value, text]) => h("option", { value, selected: value === (view[name] ?? "") }, text)));
  }

  function drawFilters() {
    const focused = /** @type {any} */ (filters.contains(document.activeElement) ? document.activeElement : null);
    const labels = new Map(answered?.labels ?? []);
    const names = state.vocab.map((/** @type {string} */ name) => [name, labels.has(name) ? `${name} (${whole(/** @type {number} */ (labels.get(name)))})` : name]);
    const classes = ["class", "classes"].includes(state.kind);
    if (document.activeElement !== search) search.value = view.text ?? "";
    const count = ["label", "split", "predicted", "text"].filter((name) => view[name]).length + (view.open ? 1 : 0);
    folded.textContent = `Filter and sort${count ? ` (${count})` : ""}`;
    fill(filters, folded, search,
      classes && select("label", "Label", names, "any label"),
      state.splits.length > 0 && select("split", "Split", state.splits.map((/** @type {string} */ name) => [name, name]), "both splits"),
      classes && state.predicts && select("predicted", "Prediction", state.vocab.map((/** @type {string} */ name) => [name, `seen as ${name}`]), "any prediction"),
      h("label", { class: "fm-cl-sort" }, h("span", {}, "Sort"),
        select("sort", "Sort", SORTS.filter(([name]) => state.predicts || !["loss", "confidence"].includes(name)))),
      h("label", { class: "fm-cl-undecided" }, h("input", { type: "checkbox", checked: !!view.open, "data-filter": "open",
        onchange: (/** @type {any} */ event) => look({ open: event.target.checked }, currentTile()?.i) }), "only undecided"),
      h("span", { class: "fm-cl-sizes", role: "group", "aria-label": "Size of the tiles" }, Object.keys(SIZES).map((name) =>
        h("button", { "aria-pressed": String(name === size), "aria-label": { S: "small", M: "middle", L: "large" }[name], "data-filter": `size-${name}`,
          onclick: () => { size = name; drawFilters(); grid.layout(); } }, name))));
    if (focused === search) search.focus();
    else if (focused) /** @type {any} */ (filters.querySelector(`[data-filter="${focused.dataset.filter}"]`))?.focus();
  }

  // ---------------------------------------------------------------- choosing

  let anchor = 0;
  /** @type {Ranges} */
  let base = [];

  /** What a decision is about: in the zoom what is shown, else what is chosen, else the item one is at. @returns {Ranges} */
  const chosen = () => selection.length && !zoom.open ? selection : grid.here < 0 ? [] : [[grid.here, grid.here]];

  /** @param {Ranges} ranges */
  function choose(ranges) {
    const before = sizeOf(selection);
    selection = ranges;
    const count = sizeOf(ranges);
    grid.draw();
    changedHere();
    if (count !== before) say(count ? `${whole(count)} chosen.` : "None chosen.");
  }

  /** @param {number} rank @param {boolean} extend */
  function moveTo(rank, extend) {
    rank = between(0, rank, windows.count - 1);
    if (extend) choose(united(base, Math.min(anchor, rank), Math.max(anchor, rank)));
    else [anchor, base] = [rank, selection];
    grid.go(rank);
  }

  /** @param {number} rank */
  function toggleChoice(rank) {
    choose(within(selection, rank) ? without(selection, rank, rank) : united(selection, rank, rank));
    [anchor, base] = [rank, without(selection, rank, rank)];
  }

  const chooseAll = () => windows.count && choose([[0, windows.count - 1]]);
  const chooseNone = () => {
    choose([]);
    [anchor, base] = [grid.here, []];
  };

  grid.element.addEventListener("click", (/** @type {any} */ event) => {
    const element = event.target.closest(".fm-cl-tile");
    if (!element) return;
    const rank = Number(element.dataset.rank), tile = windows.at(rank);
    if (!looking || !tile) return clicked(event, rank);
    // Another view is on its way: it is about the item that was clicked, wherever it is then.
    act(() => { for (const [there, one] of windows.all()) if (one.i === tile.i) return clicked(event, there); });
  });

  /** @param {any} event @param {number} rank */
  function clicked(event, rank) {
    if (event.target.closest(".fm-cl-play")) {
      grid.go(rank); // a decision is about what is heard
      return play(rank);
    }
    if (event.shiftKey) moveTo(rank, true);
    else if (event.ctrlKey || event.metaKey || event.target.closest(".fm-cl-check")) {
      grid.go(rank);
      toggleChoice(rank);
    } else {
      if (selection.length) choose([]);
      base = [];
      moveTo(rank, false);
    }
  }
  grid.element.addEventListener("dblclick", (/** @type {any} */ event) => {
    if (event.target.closest(".fm-cl-tile") && !event.target.closest(".fm-cl-play, .fm-cl-check")) zoom.show();
  });

  // ---------------------------------------------------------------- deciding

  /** @param {string} action @param {any} [to] */
  function decide(action, to = null) {
    const ranges = chosen();
    if (!ranges.length) return;
    const alone = selection.length === 0 || zoom.open;
    if (alone && !currentTile()) return say("It is still on its way.");
    /** @type {Map<Tile, Decision | null>} what the kernel will make of it */
    const pending = new Map();
    if (action !== "toggle") {
      for (const [rank, tile] of windows.all()) {
        if (!within(ranges, rank)) continue;
        tile.pending = action === "clear" ? null : action === "relabel" && named(to) === named(tile.label) ? { action: "keep", to: null } : { action, to };
        pending.set(tile, tile.pending);
      }
    }
    const count = sizeOf(ranges);
    if (count > 500) say(`Writing ${whole(count)} decisions…`);
    const from = grid.here;
    const asked = panel.ask("decide", { view: windows.view, ranges, action, to });
    if (action !== "toggle" && !alone) chooseNone();
    if (alone && action !== "toggle" && action !== "clear") advance(from);
    else grid.draw();
    return answer(asked, () => {
      for (const [tile, decision] of pending) if (tile.pending === decision) delete tile.pending;
      grid.draw();
    });
  }

  let end = ""; // what is to be said after the kernel's word

  /** @param {Promise<any>} asked @param {() => void} [done] */
  function answer(asked, done) {
    const slow = setTimeout(() => say("The kernel is busy: what has a dashed mark is not written yet."), 2500);
    return panel.run(async () => {
      try {
        return await asked.then((told) => {
          take(told);
          if (told.said) say([told.said, end].filter(Boolean).join(" "));
          end = "";
          return told;
        });
      } catch (error) {
        windows.age(); // the kernel may show another view by now: asking for what is in sight tells
        throw error;
      } finally {
        clearTimeout(slow);
        done?.();
        changedHere();
      }
    });
  }

  /** Take over what was decided, here or elsewhere. @param {any} told */
  function take({ changed, counts, queues: all }) {
    if (changed) {
      const found = new Map(changed);
      for (const [, tile] of windows.all()) if (found.has(tile.i)) tile.decision = found.get(tile.i);
    } else windows.age();
    if (counts) state.counts = counts;
    if (all) state.queues = all;
    drawHead();
    drawQueues();
    drawAbout();
    grid.draw();
    changedHere();
    panel.settled();
  }

  /** Go on to the next undecided item, after an answer if that has to be known. @param {number} from @param {Promise<any>} [first] */
  function advance(from, first) {
    const mine = advancing = Promise.resolve(first ?? true).then(async (told) => {
      const rank = told ? await nextOpen(from) : -1;
      if (advancing === mine) advancing = null;
      if (rank >= 0) {
        [anchor, base] = [rank, []];
        grid.go(rank, grid.element.contains(document.activeElement));
        if (zoom.open) zoom.draw();
      } else {
        grid.draw();
        if (told && first) say(`${live.textContent} ${NONE_FOLLOWS}`);
        else if (told) say(end = NONE_FOLLOWS);
      }
    });
  }

  /** The next item without a decision, or -1. @param {number} from */
  async function nextOpen(from) {
    const { view: mine } = windows;
    let rank = from + 1;
    for (let tile = windows.at(rank); tile; tile = windows.at(++rank)) if (!decided(tile)) return rank;
    if (rank >= windows.count) return -1;
    const answer = await panel.ask("next_open", { view: mine, rank });
    return windows.view === mine ? answer.rank : -1;
  }

  /** Give a label: to what has another one, or, where there are several an item, to what does not have it. @param {string} name */
  async function give(name) {
    const told = await decide(several() ? "toggle" : "relabel", name);
    if (!told || state.vocab.includes(name)) return;
    state.vocab.push(name);
    actions.make();
    drawFilters();
    changedHere();
  }

  function accept() {
    const tiles = chosen().flatMap(([a, b]) => Array.from({ length: Math.min(b - a + 1, KEPT) }, (_, k) => windows.at(a + k)));
    const says = new Set(tiles.map((tile) => JSON.stringify(tile?.predicted ?? null)));
    if (tiles.length < sizeOf(chosen()) || says.size > 1) return say("Different predictions: accept them one by one, or filter by prediction first.");
    const [to] = [...says].map((text) => JSON.parse(text));
    if (to === null) return say("There is no prediction for it.");
    return decide("relabel", to);
  }

  /** @param {string} what "undo" or "redo" */
  function back(what) {
    const mine = advancing = answer(panel.ask(what, {})).then((told) => {
      if (advancing === mine) advancing = null;
      if (told?.changed?.length !== 1) return;
      const rank = windows.rankOf(told.changed[0][0]);
      if (rank < 0) return;
      grid.go(rank, grid.element.contains(document.activeElement));
      if (zoom.open) zoom.draw();
    });
  }

  function keepOne() {
    const tile = currentTile();
    if (!tile || tile.group === null) return say("It belongs to no group.");
    const from = grid.here;
    let last = from;
    while (windows.at(last + 1)?.group === tile.group) last++;
    advance(last, answer(panel.ask("keep_one", { view: windows.view, rank: from })));
  }

  const keepBest = () => answer(panel.ask("keep_best", { view: windows.view }));

  /** @param {number} rank */
  function play(rank) {
    const tile = windows.at(rank);
    if (!tile?.sound) return say("It is no sound.");
    const on = playing !== tile.i;
    player.pause();
    plays(-1);
    if (!on) return;
    return panel.run(async () => {
      const { sound } = await panel.ask("sound", { i: tile.i });
      if (player.src) URL.revokeObjectURL(player.src);
      player.src = sound.url;
      plays(tile.i);
      await player.play();
    });
  }
  /** @param {number} i the item that is heard from now on, or -1 */
  function plays(i) {
    playing = i;
    grid.draw();
    for (const button of frame.querySelectorAll(".fm-cl-hear")) button.textContent = i === currentTile()?.i ? "■ Stop" : "▶ Play";
  }
  const player = new Audio();
  player.addEventListener("ended", () => plays(-1));

  // ---------------------------------------------------------------- the buttons for it

  /** The labels with a digit as their key: digits themselves, or the most frequent ones. @returns {Map<string, string>} */
  function digits() {
    if (state.vocab.every((/** @type {string} */ name) => /^\d$/.test(name))) return new Map(state.vocab.map((/** @type {string} */ name) => [name, name]));
    return new Map(state.frequent.slice(0, DIGITS).map((/** @type {string} */ name, /** @type {number} */ k) => [String(k + 1), name]));
  }

  /** @param {boolean} zoomed */
  function makeActions(zoomed) {
    const about_ = h("span", { class: "fm-cl-about-these" });
    const acts = h("div", { class: "fm-cl-acts" });
    const legend = h("div", { class: "fm-cl-legend" });
    // The focus stays at the item when a button is clicked: keys go on from there.
    const element = h("div", { class: "fm-cl-actions", role: "group", "aria-label": "Decide",
      onmousedown: (/** @type {Event} */ event) => event.preventDefault() }, acts, legend);
    /** @type {Record<string, any>} */
    let buttons = {};

    /** @param {string} name @param {string} sign @param {string} text @param {string} hint @param {() => any} does @param {string} title */
    function button(name, sign, text, hint, does, title) {
      return buttons[name] = h("button", { class: `fm-cl-act fm-cl-act-${name}`, title, "data-act": name, onclick: () => act(does) },
        sign && h("span", { class: "fm-cl-sign", "aria-hidden": "true" }, sign), h("span", {}, text), hint && key(hint));
    }

    function make() {
      buttons = {};
      fill(acts, about_,
        !zoomed && button("all", "", "All", "", chooseAll, "Choose everything in this view (Ctrl+A)"),
        !zoomed && button("none", "", "None", "", chooseNone, "Choose none (Esc)"),
        h("span", { class: "fm-cl-space" }),
        button("keep", "✓", "Keep", "K", () => decide("keep"), "Looked at, and right as it is"),
        button("aside", "✕", "Set aside", "X", () => decide("aside"), "Out of the data; no file is deleted"),
        button("clear", "○", "Clear", "C", () => decide("clear"), "Undecided again"),
        !zoomed && button("zoom", "⌕", "Zoom", "⏎", () => zoom.show(), "Show it large, with all that is known"),
        state.media === "sound" && !zoomed && button("play", "▶", "Play", "P", () => play(grid.here), "Play it, or stop"));
      const hints = digits();
      const more = state.vocab.length > hints.size;
      fill(legend, state.relabel && [h("span", { class: "fm-dim" }, several() ? "Labels" : "Relabel to"),
        [...hints].map(([digit, name]) => h("button", { class: "fm-cl-give", "data-label": name, title: `${several() ? "Give or take" : "Relabel to"} “${name}”`,
          onclick: () => act(() => give(name)) }, key(digit), h("span", {}, name))),
        (more || state.newlabel) && button("other", "", more ? `all ${whole(state.vocab.length)}…` : "other…", "L", pickLabel, "Any label, by its name"),
        state.predicts && button("accept", "→", "as predicted", "A", accept, "Relabel to what the model predicts")],
      button("one", "", "Keep only this one", "G", keepOne, "Keep this one of its group and set the others aside"),
      !zoomed && button("best", "", "Keep the best of each group", "", keepBest, "In every group without a decision: keep the best file, set the others aside"));
      legend.hidden = !legend.children.length;
    }

    function draw() {
      const tile = currentTile();
      const count = sizeOf(selection);
      const none = grid.here < 0;
      about_.textContent = zoomed || none ? "" : count ? `${whole(count)} chosen` : tile?.name ?? "";
      about_.title = about_.textContent;
      about_.classList.toggle("fm-cl-several", count > 0 && !zoomed);
      const clear = count && !zoomed || tile && decided(tile);
      /** @type {Record<string, boolean>} */
      const able = { all: !none && count < windows.count, none: count > 0, keep: !none, aside: !none, clear: !!clear, zoom: !!tile,
        play: !!tile?.sound, other: !none, accept: !!tile && (count > 0 && !zoomed || tile.predicted !== null), one: !!tile && tile.group !== null, best: !none };
      for (const [name, element_] of Object.entries(buttons)) element_.disabled = !able[name];
      for (const name of ["one", "best"]) if (buttons[name]) buttons[name].hidden = !queue()?.grouped;
      const labels = tile ? [decided(tile)?.to ?? tile.label].flat() : [];
      for (const element_ of legend.querySelectorAll(".fm-cl-give")) {
        /** @type {any} */ (element_).disabled = none;
        if (several()) element_.setAttribute("aria-pressed", String((!count || zoomed) && labels.includes(/** @type {any} */ (element_).dataset.label)));
      }
    }
    return { element, make, draw };
  }

  /** What one is at, or what is chosen, has changed. */
  function changedHere() {
    actions.draw();
    zoom.decided();
  }

  function drawHead() {
    const { counts } = state;
    const focused = head.contains(document.activeElement) ? /** @type {any} */ (document.activeElement).dataset.act : null;
    const parts = [[counts.relabel, "to relabel"], [counts.aside, "set aside"], [counts.keep, "kept"]].filter(([n]) => n).map(([n, word]) => `${whole(n)} ${word}`);
    const due = counts.relabel + counts.aside;
    /** @param {string} name @param {string} sign @param {string} word @param {string} keys_ */
    const reverse = (name, sign, word, keys_) => h("button", { "data-act": name, "aria-label": word, disabled: !counts[name],
      title: counts[name] ? `${word} (${keys_}): ${counts[name]}` : `Nothing to ${name}`, onclick: () => act(() => back(name)) }, sign, h("span", {}, ` ${word}`));
    const corners = h("svg", { viewBox: "0 0 14 14", width: 13, height: 13, "aria-hidden": "true" },
      h("path", { d: "M1 5V1h4M9 1h4v4M13 9v4H9M5 13H1V9", fill: "none", stroke: "currentColor", "stroke-width": 1.6 }));
    fill(head,
      h("div", { class: "fm-cl-what" }, h("b", {}, state.source), h("span", { class: "fm-dim" }, items(state.total)),
        h("span", { class: "fm-cl-counts" }, parts.join(" · ") || "nothing decided yet")),
      h("div", { class: "fm-cl-tools" }, reverse("undo", "↶", "Undo", "U"), reverse("redo", "↷", "Redo", "Shift+U"),
        document.fullscreenEnabled && h("button", { "data-act": "full", "aria-label": "Full screen (F)", title: "Full screen (F)", onclick: fullScreen }, corners),
        h("button", { "data-act": "help", "aria-label": "Help: all keys (?)", title: "All keys (?)", onclick: help }, "?"),
        state.revert && h("button", { "data-act": "revert", title: "Bring back what was applied last", onclick: revert }, "Bring back…"),
        h("button", { "data-act": "apply", class: "fm-cl-apply", disabled: !due, title: "What applying would do (Ctrl+Enter)", onclick: apply },
          due ? `Apply ${whole(due)} decision${due === 1 ? "" : "s"}…` : "Apply…")));
    if (focused) {
      const again = /** @type {any} */ (head.querySelector(`[data-act="${focused}"]:not(:disabled)`));
      if (again) again.focus({ preventScroll: true });
      else focusItems();
    }
    const { file, beside } = state.journal;
    journal.textContent = `Each decision is written to ${file} at once${beside ? "." : ": the data's folder cannot be written to."}`;
    journal.title = journal.textContent;
  }

  function fullScreen() {
    if (!document.fullscreenEnabled) return say("This page may not fill the screen.");
    return panel.run(() => document.fullscreenElement ? document.exitFullscreen() : panel.root.requestFullscreen());
  }

  // ---------------------------------------------------------------- keys

  /** @returns {[string, string][]} */
  const keys = () => /** @type {[string, string][]} */ ([
    ["← → ↑ ↓", "to another item; in the zoom to the one before or after"], ["Home End PgUp PgDn", "far"], ["Shift + those", "choose up to there"],
    ["Space", "choose it, or not"], ["Ctrl+A", "choose all"], ["Esc", "choose none; close"],
    state.relabel && [[...digits().keys()].join(" "), several() ? "give or take that label" : "relabel"],
    state.relabel && ["L or /", "any label, by its name"], state.relabel && state.predicts && ["A", "relabel to what the model says"],
    ["X or Delete", "set aside"], ["K", "keep: right as it is"], ["C", "clear: undecided again"], ["G", "keep only this one of its group"],
    ["U or Ctrl+Z", "undo"], ["Shift+U or Ctrl+Y", "redo"], ["Enter or Z", "zoom, and back"], ["Ctrl+Enter", "what applying would do"],
    state.media === "sound" && ["P", "play, stop"], ["N", "next undecided"], ["[ and ]", "queue before, queue after"],
    ["S", "search names"], document.fullscreenEnabled && ["F", "full screen"], ["?", "this help"],
  ].filter(Boolean));

  function help() {
    layers.ask("Keys", [h("dl", { class: "fm-cl-keys" }, keys().map(([name, text]) => [h("dt", {}, h("kbd", {}, name)), h("dd", {}, text)])),
      h("p", { class: "fm-dim" }, "By mouse: click an item, Shift-click for a range, Ctrl-click for one more, double click to zoom. "
        + "A decision is about what is chosen, else about the item you are at.")], []);
  }

  function toSearch() {
    filters.classList.add("fm-cl-open");
    search.focus();
    search.select();
  }

  /** Do what a key says. @param {KeyboardEvent} event @param {boolean} zoomed */
  function command(event, zoomed) {
    const target = /** @type {any} */ (event.target);
    if (target.matches("input, select, textarea, audio") && target.type !== "checkbox") return;
    const graph = event.getModifierState("AltGraph"); // how some keyboards write [ and ]
    const ctrl = (event.ctrlKey || event.metaKey) && !graph;
    if (event.altKey && !graph) return;
    let name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.code.startsWith("Key") && !/[a-z]/.test(name)) name = event.code[3].toLowerCase(); // keyboards of other scripts
    const digit = /^\d$/.test(name) ? name : !event.shiftKey && /^Digit\d$/.test(event.code) ? event.code[5] : ""; // AZERTY has them shifted
    const on = target.closest("button, input") && !target.closest(".fm-cl-tile"); // it has a use for Enter and Space itself
    const redo = () => back("redo");
    const undo = event.shiftKey ? redo : () => back("undo");
    /** @type {Record<string, () => any>} */
    const does = ctrl ? {
      a: chooseAll, z: undo, y: redo, Enter: apply, Home: () => moveTo(0, event.shiftKey), End: () => moveTo(windows.count - 1, event.shiftKey),
    } : {
      x: () => decide("aside"), Delete: () => decide("aside"), k: () => decide("keep"), c: () => decide("clear"), u: undo,
      g: keepOne, z: () => zoomed ? zoom.close() : zoom.show(), l: pickLabel, "/": pickLabel, a: accept, p: () => play(grid.here), f: fullScreen, "?": help,
      n: () => nextOpen(grid.here).then((rank) => rank >= 0 ? step(rank, zoomed) : say(NONE_FOLLOWS)),
    };
    if (!ctrl && !on) Object.assign(does, { Enter: does.z });
    if (!zoomed && !ctrl) Object.assign(does, { "[": () => besideQueue(-1), "]": () => besideQueue(1), s: toSearch, Escape: chooseNone });
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: zoomed ? -1 : -grid.columns, ArrowDown: zoomed ? 1 : grid.columns,
      Home: -Infinity, End: Infinity, PageUp: -grid.page, PageDown: grid.page };
    const by = moves[/** @type {"Home"} */ (name)];
    if (by !== undefined && !ctrl && (zoomed || !on)) {
      does[name] = () => {
        const to = grid.here + by;
        const lastRow = Math.floor((windows.count - 1) / grid.columns);
        // In the first and the last row, up and down stay where they are.
        if (!zoomed && Math.abs(by) === grid.columns && (to < 0 || to >= windows.count && Math.floor(grid.here / grid.columns) === lastRow)) return;
        step(to, zoomed, event.shiftKey && !zoomed);
      };
    }
    if (!ctrl && !on && name === " " && !zoomed) does[" "] = () => toggleChoice(grid.here);
    if (digit && !ctrl) {
      does[name] = () => {
        if (!state.relabel) return say("Labels of this data are not changed here.");
        const label = digits().get(digit);
        return label === undefined ? say(`No label has the key ${digit}.`) : give(label);
      };
    }
    const one = does[name];
    if (!one || !windows.count && !ctrl && !["u", "[", "]", "s", "f", "?", "Escape"].includes(name)) return;
    event.preventDefault();
    event.stopPropagation();
    act(one);
  }

  /** @param {number} rank @param {boolean} zoomed @param {boolean} [extend] */
  function step(rank, zoomed, extend = false) {
    if (!zoomed) return moveTo(rank, extend);
    grid.go(rank, false);
    zoom.draw();
  }

  main.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => command(event, false));

  // ---------------------------------------------------------------- any label, by its name

  /** @type {string[]} */
  let recent = [];

  function pickLabel() {
    if (!state.relabel) return say("Labels of this data are not changed here.");
    if (!chosen().length) return;
    const id = `fm-cl-labels-${panel.id}`;
    /** @type {{name: string, fresh: boolean}[]} */
    let offers = [];
    let at = 0;
    const list = h("ul", { class: "fm-cl-labels", role: "listbox", id, "aria-label": "Labels" });
    const input = h("input", { type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": id, "aria-autocomplete": "list",
      "aria-label": "Label", placeholder: "Type a label", autocomplete: "off", spellcheck: "false",
      oninput: () => { at = 0; offer(); },
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
        if (by) {
          at = between(0, at + by, offers.length - 1);
          mark();
        } else if (event.key === "Enter") take_(offers[at]);
        else return;
        event.preventDefault();
      } });
    const count = sizeOf(chosen());
    const which = count > 1 ? `${whole(count)} items` : currentTile()?.name ?? "";
    const box = layers.ask(several() ? "Give or take a label" : `Relabel ${which}`, [input, list], [], input);

    function offer() {
      const typed = input.value.trim().toLowerCase();
      /** @param {string} name how well it fits: the beginning, the beginning of a word, somewhere */
      const fit = (name) => {
        const place = name.toLowerCase().indexOf(typed);
        return place < 0 ? 9 : place === 0 ? 0 : /[\s_\-/.]/.test(name[place - 1]) ? 1 : 2;
      };
      /** @type {string[]} */
      const names = [...recent, ...state.vocab.filter((/** @type {string} */ name) => !recent.includes(name))];
      const found = names.map((name, k) => ({ name, fresh: false, fit: fit(name), k })).filter((one) => one.fit < 9);
      offers = found.sort((a, b) => a.fit - b.fit || a.k - b.k).slice(0, 200);
      const known = names.some((name) => name.toLowerCase() === typed);
      if (typed && state.newlabel && !known) offers.push({ name: input.value.trim(), fresh: true });
      const has = currentTile() && count === 1 ? [decided(/** @type {Tile} */ (currentTile()))?.to ?? currentTile()?.label].flat() : [];
      const note = several() ? " ✓ has it" : " (as it is)";
      fill(list, offers.map(({ name, fresh }, k) => h("li", { role: "option", id: `${id}-${k}`, onclick: () => take_(offers[k]) },
        fresh ? [h("b", {}, "+ "), `New label “${name}”`] : name, !fresh && has.includes(name) && h("span", { class: "fm-dim" }, note),
        [...digits()].filter(([, label]) => label === name).map(([digit]) => key(digit)))),
      !offers.length && h("li", { class: "fm-dim" }, "No such label."));
      mark();
    }

    function mark() {
      [...list.children].forEach((item, k) => item.setAttribute("aria-selected", String(k === at)));
      input.setAttribute("aria-activedescendant", offers.length ? `${id}-${at}` : "");
      const item = /** @type {any} */ (list.children[at]);
      if (item) list.scrollTop = between(item.offsetTop + item.offsetHeight - list.clientHeight, list.scrollTop, item.offsetTop);
    }

    /** @param {{name: string, fresh: boolean} | undefined} offered */
    function take_(offered) {
      if (!offered) return;
      layers.close(box);
      if (offered.fresh) {
        const yes = h("button", { class: "fm-cl-apply", onclick: () => { layers.close(sure); given(offered.name); } }, `Make “${offered.name}”`);
        const no = h("button", { onclick: () => { layers.close(sure); pickLabel(); } }, "Back");
        const sure = layers.ask("A new label?", [h("p", {}, `“${offered.name}” is none of the ${whole(state.vocab.length)} labels so far.`)], [yes, no], yes);
      } else given(offered.name);
    }

    /** @param {string} name */
    function given(name) {
      if (![...digits().values()].includes(name)) recent = [name, ...recent.filter((other) => other !== name)].slice(0, 5);
      act(() => give(name));
    }
    offer();
  }

  // ---------------------------------------------------------------- the zoom

  const zoom = makeZoom();

  function makeZoom() {
    const actions_ = makeActions(true);
    const title = h("b", { class: "fm-cl-zoomed-name" });
    const place = h("span", { class: "fm-dim" });
    const picture = h("div", { class: "fm-cl-large" });
    const side = h("div", { class: "fm-cl-side" });
    const said = h("div", { class: "fm-cl-said", role: "status", "aria-live": "polite" });
    /** @param {number} by */
    const beside = (by) => step(grid.here + by, true);
    const back_ = h("button", { "aria-label": "The item before (←)", title: "The item before (←)", onclick: () => beside(-1) }, "‹");
    const on = h("button", { "aria-label": "The next item (→)", title: "The next item (→)", onclick: () => beside(1) }, "›");
    const element = h("div", { class: "fm-cl-layer fm-cl-zoom", role: "dialog", "aria-modal": "true", "aria-label": "Zoom", tabindex: -1 },
      h("div", { class: "fm-cl-title" }, back_, on, title, place, h("span", { class: "fm-grow" }),
        h("button", { class: "fm-cl-close", "aria-label": "Close", title: "Close (Esc)", onclick: () => close() }, "✕")),
      h("div", { class: "fm-cl-zoomed" }, picture, side), h("div", {}, actions_.element, said));
    element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => command(event, true));
    let open = false, shown = -1, asked = 0;
    let url = "";
    let inspector = "";

    function show() {
      if (!currentTile() || open) return;
      open = true;
      shown = -1;
      actions_.make();
      said.textContent = "";
      layers.open(element, element, closed);
      draw();
    }

    function close() {
      layers.close(element);
    }

    function closed() {
      open = false;
      asked++;
      forget();
      picture.replaceChildren();
      inspector = "";
      panel.ask("close_large").catch(() => {});
      grid.draw();
      setTimeout(focusItems);
    }

    function forget() {
      if (url) URL.revokeObjectURL(url);
      url = "";
    }

    /** Show the item that one is at. */
    async function draw() {
      const rank = grid.here;
      const mine = ++asked;
      if (!windows.at(rank)) await windows.fetch(Math.floor(rank / CHUNK));
      const tile = windows.at(rank);
      if (!tile || mine !== asked) return;
      back_.disabled = rank === 0;
      on.disabled = rank === windows.count - 1;
      place.textContent = `${whole(rank + 1)} of ${whole(windows.count)}`;
      decided_();
      if (tile.i === shown) return;
      shown = tile.i;
      title.textContent = tile.name;
      element.setAttribute("aria-label", `Zoom: ${wordsOf(tile)}`);
      // Its thumbnail until the large one is here, where no inspector stays.
      if (!inspector) fill(picture, tile.picture ? plain(tile.picture.url, tile.name) : h("div", { class: "fm-cl-long" }, insideOf(tile)));
      sideOf(tile, null);
      await panel.run(async () => {
        const answer = await panel.ask("large", { i: tile.i });
        if (mine !== asked) {
          if (answer.picture) URL.revokeObjectURL(answer.picture.url);
          return;
        }
        forget();
        url = answer.picture?.url ?? "";
        sideOf(tile, answer);
        if (!answer.pixels || answer.pixels !== inspector) inspect(answer, tile);
      });
    }

    /** @param {string} src @param {string} alt */
    const plain = (src, alt) => {
      const image = h("img", { src, alt, onload: () => image.classList.toggle("fm-cl-coarse", image.naturalWidth < 200) });
      return image;
    };

    /** Put the large picture into its place, and over it the pixel inspector as soon as it is there. @param {any} answer @param {Tile} tile */
    function inspect(answer, tile) {
      const parts = [answer.picture && plain(answer.picture.url, answer.name),
        answer.text !== undefined && h("div", { class: "fm-cl-long" }, answer.text), answer.row && h("div", { class: "fm-cl-long" }, rowTable(answer.row)),
        tile.sound && h("button", { class: "fm-cl-hear", onclick: () => play(grid.here) }, "▶ Play"),
        !answer.picture && tile.gone && h("p", { class: "fm-dim" }, "The file is gone.")].filter(Boolean);
      if (!answer.pixels) {
        inspector = "";
        return fill(picture, parts);
      }
      const host = h("div", { class: "fm-cl-inspector", "data-fastmagic-panel": answer.pixels });
      const before = picture.querySelector(".fm-cl-inspector");
      inspector = answer.pixels;
      if (before) return fill(picture, host);
      host.hidden = true;
      fill(picture, parts, host);
      const watch = new MutationObserver(() => {
        watch.disconnect();
        clearTimeout(late);
        if (inspector !== answer.pixels) return;
        host.hidden = false;
        fill(picture, host);
      });
      const late = setTimeout(() => { // nobody mounts it here: the picture stays
        watch.disconnect();
        if (inspector === answer.pixels) inspector = "";
        host.remove();
      }, 1500);
      watch.observe(host, { childList: true });
    }

    /** @param {Tile} tile @param {any} answer */
    function sideOf(tile, answer) {
      /** @type {[string, number][]} */
      const top = answer?.top ?? [];
      const sure = tile.confidence === null ? "" : ` ${percent(tile.confidence)}`;
      const known = [tile.label !== null && ["label", named(tile.label)], tile.predicted !== null && ["model says", `${named(tile.predicted)}${sure}`],
        tile.loss !== null && ["loss", tile.loss.toFixed(3)], tile.why && ["here because", tile.why], tile.split && ["split", tile.split]].filter(Boolean);
      const likely = `Most likely: ${top.map(([name, p]) => `${name} ${percent(p)}`).join(", ")}`;
      fill(side, mark, h("dl", { class: "fm-cl-facts" }, known.map(fact)),
        top.length > 0 && h("div", { class: "fm-cl-bars", role: "img", "aria-label": likely }, top.map(([name, p]) => [
          h("span", { class: "fm-cl-bar-name", title: name }, name),
          h("span", { class: "fm-cl-track" }, h("span", { class: "fm-bar", style: `width: ${Math.max(1, 100 * p)}%` })), h("span", {}, percent(p))])),
        h("dl", { class: "fm-cl-facts" }, (answer?.facts ?? []).map(fact), answer?.place && fact(["path", answer.place])));
      decided_();
    }
    const fact = (/** @type {any} */ [word, value]) => [h("dt", {}, word), h("dd", {}, String(value))];
    const mark = h("div", { class: "fm-cl-zoomed-mark" });

    /** What is decided about what is shown. */
    function decided_() {
      if (!open) return;
      const tile = currentTile();
      const decision = tile && decided(tile);
      mark.className = `fm-cl-zoomed-mark${decision ? ` fm-cl-mark fm-cl-${decision.action}` : ""}`;
      mark.textContent = decision ? markOf(decision) : "undecided";
      actions_.draw();
    }
    return { show, close, draw, decided: decided_, say: (/** @type {string} */ text) => { if (open) said.textContent = text; }, get open() { return open; } };
  }

  // ---------------------------------------------------------------- applying

  function apply() {
    if (!state.counts.relabel && !state.counts.aside) return say("Nothing is decided that could be applied.");
    return panel.run(async () => {
      const plan = await panel.ask("plan", {});
      const yes = h("button", { class: "fm-cl-apply", disabled: !!plan.problem || plan.nothing, onclick: () => panel.run(async () => {
        yes.disabled = true;
        yes.textContent = "Applying…";
        try {
          const answer = await panel.ask("apply", {});
          layers.close(box);
          refresh(answer.state);
          applied(answer);
        } catch (error) {
          layers.close(box);
          throw error;
        }
      }) }, "Apply");
      const no = h("button", { onclick: () => layers.close(box) }, "Cancel");
      /** @type {string[][]} */
      const examples = plan.examples;
      const rows = examples.map(([from, to]) => h("tr", {}, h("td", {}, from), h("td", { class: "fm-cl-arrow" }, "→"), h("td", {}, to)));
      const box = layers.ask(plan.title, [plan.lines.map((/** @type {string} */ line) => h("p", {}, line)),
        rows.length > 0 && h("div", { class: "fm-scroll fm-cl-examples", tabindex: 0, role: "group", "aria-label": "Examples" },
          h("table", {}, h("tbody", {}, rows)), plan.more > 0 && h("p", { class: "fm-dim" }, `… and ${whole(plan.more)} more`)),
        plan.problem && h("p", { class: "fm-cl-problem" }, `✗ ${plan.problem}`)], [yes, no], yes.disabled ? no : yes);
    });
  }

  /** @param {{said: string[], train?: string}} answer */
  function applied({ said, train }) {
    const line = train && h("code", { class: "fm-cl-train", tabindex: 0 }, train);
    const copy = train && h("button", { onclick: async () => {
      try {
        await navigator.clipboard.writeText(train);
        copy.textContent = "Copied";
      } catch { // no right to, or no secure page: marked, it can be copied by hand
        getSelection()?.selectAllChildren(line);
        copy.textContent = "Press Ctrl+C";
      }
    } }, "Copy");
    const done = h("button", { class: "fm-cl-apply", onclick: () => layers.close(box) }, "Done");
    const again = train && h("div", {}, h("span", {}, "The next cell:"), h("div", { class: "fm-row" }, line, copy));
    const undo = train !== undefined && state.revert && h("button", { onclick: () => { layers.close(box); revert(); } }, "Bring back…");
    const box = layers.ask(train === undefined ? "Brought back" : "Applied", [said.map((text) => h("p", {}, text)), again], [done, undo].filter(Boolean), done);
    say(said.join(" "));
  }

  function revert() {
    const yes = h("button", { class: "fm-cl-apply", onclick: () => panel.run(async () => {
      yes.disabled = true;
      try {
        const answer = await panel.ask("revert", {});
        refresh(answer.state);
        layers.close(box);
        applied({ said: [answer.said].flat() });
      } catch (error) {
        layers.close(box);
        throw error;
      }
    }) }, "Bring back");
    const no = h("button", { onclick: () => layers.close(box) }, "Cancel");
    const box = layers.ask("Bring back what was applied last?", [h("p", {}, "The files go back to where they were, and the decisions count again.")], [yes, no], yes);
  }

  // ---------------------------------------------------------------- begin

  /** Draw everything anew. @param {any} fresh */
  function refresh(fresh) {
    zoom.close();
    state = fresh;
    view = { ...state.view };
    asking++;
    looking = null;
    grid.element.removeAttribute("aria-busy");
    answered = null;
    actions.make();
    drawHead();
    show(state.window);
  }

  panel.on("decided", take);
  let trouble = "";
  panel.on("queues", ({ queues: all, counts, trouble: wrong }) => {
    if (wrong && wrong !== trouble) panel.error(wrong);
    trouble = wrong;
    const before = answered?.count;
    state.queues = all;
    if (counts) state.counts = counts;
    drawHead();
    drawQueues();
    drawAbout();
    drawEmpty();
    if (!windows.count && !filtered() && queue()?.count && queue().count !== before) look({});
  });
  panel.on("refresh", ({ state: fresh }) => refresh(fresh));
  panel.on("mounted", () => { grid.again(); drawQueues(); });
  refresh(first);
}

export default definePanel(build, STYLES);
