// @ts-check
// The predictor: what a reader gives (files, a drop, the clipboard, a photo, an address, a text) goes to the kernel as
// it is, and the kernel tells every browser what came of it.
import { definePanel, h, STYLES } from "./shared.js";

/** @typedef {import("./shared.js").PanelView} PanelView */
/** @typedef {Record<string, any>} Content */
/** @typedef {{name: string, run: (last: boolean) => Promise<any>}} Task */

// A Jupyter server refuses websocket messages of more than 10 MiB (tornado's default) and drops the connection.
const PART = 1 << 20;
const TOPS = [1, 3, 5, 10, 20, 100];

/** @param {number} share */
export const percent = (share) => `${(100 * share).toFixed(1)}%`;

/** @param {PanelView} panel @param {Content} state */
export function build(panel, state) {
  const pictures = state.kind === "picture";
  const rows = state.kind === "row";
  /** @type {Map<number, string>} */
  const thumbnails = new Map();
  /** @type {Content | null} */
  let shown = null;
  /** @type {Content[]} */
  let past = [];

  // ---------------------------------------------------------------- what is given, one after the other

  /** @type {Task[]} */
  const waiting = [];
  let busy = false;
  let cancelled = false;
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Progress" });
  const doing = h("span", { class: "fm-pr-doing" });
  const cancel = h("button", { onclick: () => { cancelled = true; waiting.length = 0; } }, "Cancel");
  const progress = h("div", { class: "fm-row fm-pr-progress", hidden: true }, bar, doing, cancel);

  /**
   * Do the tasks after those that wait already; what fails is shown when all are done.
   * @param {...Task} tasks
   */
  async function work(...tasks) {
    if (!tasks.length) return;
    waiting.push(...tasks);
    if (busy) return;
    busy = true;
    cancelled = false;
    panel.errors.replaceChildren();
    const showing = setTimeout(() => { progress.hidden = false; }, 300); // what is done at once moves nothing
    panel.root.setAttribute("aria-busy", "true");
    done = 0;
    /** @type {[string, any][]} */
    const failed = [];
    const slow = setInterval(() => {
      if (!panel.model.alone && Date.now() - heard > 4000) doing.textContent = `${doingNow}: no answer yet, the kernel is still at it, busy with a cell, or gone`;
    }, 500);
    let task;
    while ((task = waiting.shift())) {
      all = done + waiting.length + 1;
      say(all > 1 ? `${done + 1} of ${all}: ${task.name}` : task.name);
      try {
        await task.run(waiting.length === 0);
      } catch (error) {
        failed.push([task.name, error]);
      }
      done += 1;
    }
    clearInterval(slow);
    clearTimeout(showing);
    busy = false;
    progress.hidden = true;
    panel.root.removeAttribute("aria-busy");
    if (failed.length && done === 1) panel.error(failed[0][1]);
    else if (failed.length) {
      const lines = failed.slice(0, 5).map(([name, error]) => {
        const cause = String(error.message).split("\n")[0];
        return cause.includes(name) ? cause : `${name}: ${cause}`;
      });
      if (failed.length > 5) lines.push(`… and ${failed.length - 5} more`);
      panel.error(new Error([`${failed.length} of ${done} could not be predicted.`, ...lines].join("\n")));
    }
    if (failed.length && done > failed.length) await panel.run(() => panel.ask("show", { number: past[0]?.number ?? 0 }));
  }

  let heard = 0;
  let doingNow = "";
  let done = 0;
  let all = 1;
  /** @param {string} text @param {number} [share] without one, how long it takes is not known */
  function say(text, share) {
    heard = Date.now();
    doingNow = doing.textContent = text;
    if (share || all > 1) bar.value = (done + (share ?? 0)) / all;
    else bar.removeAttribute("value");
  }

  /**
   * Send a file in parts, three of them under way at a time, and have it predicted.
   * @param {Blob} blob
   * @param {string} name
   * @param {boolean} last
   */
  async function send(blob, name, last) {
    if (blob.size > state.largest) {
      throw new Error(`'${name}' has ${Math.round(blob.size / 1e6)} MB, and ${state.largest / 1e6} MB are taken.\nGive a smaller picture.`);
    }
    const upload = `${Date.now()}-${Math.random()}`;
    if (blob.size <= PART) { // in one go
      await panel.ask("judge", { upload, name, show: last }, [await blob.arrayBuffer()]);
      return;
    }
    const before = doingNow;
    /** @type {Promise<any>[]} */
    const underWay = [];
    let sent = 0;
    let at = 0;
    while (at < blob.size) {
      if (cancelled) {
        await panel.ask("forget", { upload });
        return;
      }
      const part = await blob.slice(at, at + PART).arrayBuffer();
      const answer = panel.ask("upload", { upload, at, size: blob.size }, [part]).then(() => {
        sent += part.byteLength;
        say(`${before}, ${(sent / 1e6).toFixed(1)} of ${(blob.size / 1e6).toFixed(1)} MB`, sent / blob.size);
      });
      answer.catch(() => {}); // heard below, perhaps after another one has failed
      underWay.push(answer);
      if (underWay.length >= 3) await underWay.shift();
      at += PART;
    }
    await Promise.all(underWay);
    say(`${before}, predicting`);
    await panel.ask("judge", { upload, name, show: last });
  }

  /** @param {Iterable<File>} files */
  const predictFiles = (files) => work(...[...files].map((file) => ({
    name: file.name || "picture",
    run: async (/** @type {boolean} */ last) => {
      const name = file.name || "picture";
      try {
        await send(file, name, last);
      } catch (/** @type {any} */ error) {
        // What this browser can open and the kernel cannot: HEIC in Safari, SVG.
        const drawn = / is not a picture /.test(error.message) ? await redrawn(file) : null;
        if (!drawn) throw error;
        await send(drawn, name, last);
      }
    },
  })));

  /** @param {string} url */
  const predictUrl = (url) => work({ name: `Fetching ${url.slice(0, 60)}`, run: () => panel.ask("url", { url }) });

  // ---------------------------------------------------------------- controls

  const picker = h("input", {
    type: "file", accept: "image/*", multiple: true, hidden: true,
    onchange: () => { predictFiles([...picker.files]); picker.value = ""; },
  });
  const upload = h("button", { class: "fm-pr-first", onclick: () => picker.click() }, "Upload…");
  const address = h("input", { type: "url", placeholder: "https://…/bird.jpg", "aria-label": "Address of a picture" });
  const fetching = h("form", {
    class: "fm-pr-url", novalidate: true, onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      if (address.value.trim()) predictUrl(address.value.trim());
      else address.focus();
    },
  }, address, h("button", { type: "submit" }, "Get"));
  const pasting = h("button", { onclick: () => panel.run(pasteFromButton) }, "Paste");
  const camera = cameraOf(panel, (photo, name) => predictFiles([new File([photo], name, { type: photo.type })]));

  async function pasteFromButton() {
    let items;
    try {
      items = await navigator.clipboard.read();
    } catch {
      throw new Error("The browser does not let a button read the clipboard here.\nClick into the panel and press Ctrl+V (⌘V on a Mac).");
    }
    for (const item of items) {
      const type = item.types.find((name) => name.startsWith("image/"));
      if (type) return predictFiles([new File([await item.getType(type)], "pasted picture", { type })]);
    }
    for (const item of items) {
      if (item.types.includes("text/plain") && pasteText(await (await item.getType("text/plain")).text())) return;
    }
    throw new Error("There is no picture on the clipboard.\nCopy one first: in a browser, right-click on it and choose “Copy image”.");
  }

  /** @param {string} text @returns {boolean} whether it was an address */
  function pasteText(text) {
    const url = text.trim();
    if (url.startsWith("data:image/")) predictFiles([fileOf(url)]);
    else if (/^https?:\/\/\S+$/i.test(url)) predictUrl(url);
    else return false;
    return true;
  }

  /** @param {ClipboardEvent} event */
  function pasted(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    const typing = /** @type {HTMLElement} */ (event.target).matches?.("input, textarea");
    if (files.length) predictFiles(files.map((file) => (file.name === "image.png" ? new File([file], "pasted picture", { type: file.type }) : file)));
    else if (typing || !pasteText(event.clipboardData?.getData("text/plain") ?? "")) return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {DragEvent} event */
  const carriesPicture = (event) => [...(event.dataTransfer?.types ?? [])].some((type) => type === "Files" || type === "text/uri-list");

  /** @param {DragEvent} event */
  function dropped(event) {
    if (!carriesPicture(event)) return;
    event.preventDefault();
    event.stopPropagation();
    panel.root.classList.remove("fm-pr-over");
    const data = /** @type {DataTransfer} */ (event.dataTransfer);
    if ([...data.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory)) {
      panel.error(new Error("A folder cannot be dropped here.\nDrop the files in it."));
    } else if (data.files.length) predictFiles(data.files);
    else if (!pasteText((data.getData("text/uri-list") || data.getData("text/plain")).split("\n")[0])) {
      panel.error(new Error("What was dropped is no picture.\nSave it as a file first."));
    }
  }

  // ---------------------------------------------------------------- what is shown

  const picture = h("div", {
    class: "fm-pr-picture", tabIndex: 0, role: "group", "aria-label": "The picture. Paste or drop one here.",
    onclick: () => shown || upload.click(),
    onkeydown: (/** @type {KeyboardEvent} */ event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); upload.click(); } },
  });
  const answer = h("div", { class: "fm-pr-answer" });
  const strip = h("div", { class: "fm-pr-part", hidden: true });
  const spoken = h("div", { class: "fm-hidden", role: "status", "aria-live": "polite" });

  function drawPicture() {
    const old = picture.querySelector("img");
    if (old) URL.revokeObjectURL(old.src);
    if (shown?.preview) {
      const pixels = shown.preview.mime === "image/png";
      picture.replaceChildren(h("img", { src: shown.preview.url, alt: shown.name, class: pixels ? "fm-pr-pixels" : "" }));
    } else {
      const [what, how] = matchMedia("(pointer: coarse)").matches ? ["Tap here", "to choose or take a picture"] : ["Drop pictures here", "or paste one, or click to upload"];
      picture.replaceChildren(h("div", { class: "fm-pr-empty" }, h("b", {}, what), h("span", { class: "fm-dim" }, how)));
    }
    picture.classList.toggle("fm-pr-full", Boolean(shown?.preview));
  }

  function drawAnswer() {
    if (!shown) {
      const names = `${state.classes.join(", ")}${state.count > state.classes.length ? ` and ${state.count - state.classes.length} more` : ""}`;
      answer.replaceChildren(h("p", { class: "fm-dim fm-pr-knows" }, state.answers === "numbers"
        ? (rows ? "The model answers with a number." : "The model answers with numbers.")
        : `The model knows ${state.count} ${state.count === 1 ? "class" : "classes"}: ${names}. ` +
          (state.answers === "class" ? "Whatever it is given, it decides for one of them." : "It gives each one or not.")));
      return;
    }
    const longest = Math.max(3, ...shown.bars.map((/** @type {any[]} */ [name]) => name.length));
    const rest = state.count - shown.bars.length;
    const hidden = rest > 0 && `and ${rest} more`;
    const tops = TOPS.filter((top) => top < state.count && top !== 100 || top === 100 && state.count >= 100);
    if (state.count < 100) tops.push(state.count);
    if (state.top < state.count && !tops.includes(state.top)) tops.push(state.top);
    tops.sort((a, b) => a - b);
    const chosen = Math.min(state.top, state.count);
    const time = shown.seconds < 1 ? `${Math.max(1, Math.round(shown.seconds * 1000))} ms` : `${shown.seconds.toFixed(1)} s`;
    answer.replaceChildren(...[
      h("div", { class: "fm-pr-decision" }, shown.decision, " ",
        shown.probability !== null && shown.probability !== undefined && h("span", {}, percent(shown.probability))),
      shown.label !== null && h("p", { class: shown.right === false ? "fm-pr-wrong" : "" },
        `${shown.right === null ? "" : shown.right ? "✓ Right: " : state.answers === "class" ? "✗ Wrong: " : "✗ Not the same: "}in the validation set it is labelled ${shown.label}.`),
      shown.hint && h("p", { class: "fm-pr-hint" }, shown.hint),
      shown.bars.length > 0 && h("ul", { class: "fm-pr-bars", style: `--names:${Math.min(longest + 1, 16)}ch` },
        shown.bars.map((/** @type {[string, number, boolean]} */ [name, share, given]) => h("li", {},
          h("span", { class: "fm-pr-name", title: name }, name),
          h("span", { class: "fm-pr-track" },
            h("span", { class: given ? "fm-bar" : "fm-bar fm-pr-other", style: `width:${100 * share}%` }),
            shown?.threshold && h("span", { class: "fm-pr-threshold", style: `left:${100 * shown.threshold}%`, title: `threshold ${shown.threshold}` })),
          h("span", { class: "fm-pr-share" }, percent(share))))),
      shown.numbers?.length > 8 && h("ol", { class: "fm-pr-numbers" }, shown.numbers.map((/** @type {number} */ number) => h("li", {}, String(Number(number.toPrecision(4)))))),
      shown.other && h("div", { class: "fm-pr-turned" },
        h("span", {}, state.upright
          ? `This photo is stored on its side and was turned for the model. As stored, as fastai reads the file: ${shown.other}.`
          : `This photo is stored on its side, and the model sees it so, as fastai reads the file. Upright: ${shown.other}.`),
        h("button", { onclick: () => panel.run(() => panel.ask("settings", { upright: !state.upright })) },
          state.upright ? "Judge photos as stored" : "Judge photos upright")),
      h("div", { class: "fm-row fm-pr-foot" },
        h("span", { class: "fm-dim", title: "From opening it to the decision; sending and downloading not counted" }, [time, pictures && shown.name, shown.threshold && `threshold ${percent(shown.threshold)}`].filter(Boolean).join(" · ")),
        (tops.length > 2 || chosen < state.count) && tops.length > 1 && h("label", { class: "fm-dim" }, "Show",
          h("select", { "aria-label": "How many classes are shown", onchange: (/** @type {any} */ event) => panel.run(() => panel.ask("settings", { top: Number(event.target.value) })) },
            tops.map((top) => h("option", { value: String(top), selected: top === chosen }, top === state.count ? `all ${top}` : String(top)))),
          hidden && chosen < state.count ? hidden : null)),
    ].filter(Boolean));
  }

  function drawHistory() {
    for (const [number, url] of thumbnails) {
      if (!past.some((entry) => entry.number === number)) {
        URL.revokeObjectURL(url);
        thumbnails.delete(number);
      }
    }
    const focused = strip.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset.number : undefined;
    strip.hidden = past.length === 0;
    strip.replaceChildren(
      h("div", { class: "fm-row fm-pr-heading" }, h("span", { class: "fm-grow" }, "History"),
        h("button", { class: "fm-pr-quiet", onclick: () => panel.run(async () => { await panel.ask("clear"); upload.focus(); }) }, "Clear")),
      h("ul", { class: "fm-pr-strip", "aria-label": "The last predictions, newest first", onkeydown: along },
        past.map((entry) => h("li", {}, tile(thumbnails.get(entry.number), [pictures ? "" : entry.name, entry.decision], `${entry.name}: ${entry.decision}`, {
          "data-number": entry.number,
          "aria-current": entry.number === shown?.number ? "true" : null,
          onclick: () => { refill = true; panel.run(() => panel.ask("show", { number: entry.number })); },
        })))));
    if (focused) /** @type {HTMLElement | null} */ (strip.querySelector(`[data-number="${focused}"]`))?.focus({ preventScroll: true });
  }

  /** @param {KeyboardEvent} event */
  function along(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const buttons = /** @type {HTMLElement[]} */ ([.../** @type {HTMLElement} */ (event.currentTarget).querySelectorAll("button")]);
    buttons[buttons.indexOf(/** @type {HTMLElement} */ (document.activeElement)) + step]?.focus();
    event.preventDefault();
  }

  /** @param {Content} content */
  function take(content) {
    state.top = content.top;
    state.upright = content.upright;
    past = content.history;
    for (const entry of past) if (entry.thumbnail) thumbnails.set(entry.number, entry.thumbnail.url);
    if ("shown" in content) {
      const before = shown?.number;
      shown = content.shown;
      if (pictures) drawPicture();
      else if (shown && rows) { // what the reader is writing stays, unless another row is shown
        if (!asking && (refill || shown.number !== before)) fill(shown.row);
        refill = false;
      }
      else if (shown && text && text.value !== shown.text) text.value = shown.text;
      drawAnswer();
    }
    drawHistory();
    if (content.added && shown) {
      spoken.textContent = `${shown.name}: ${shown.decision}${typeof shown.probability === "number" ? `, ${percent(shown.probability)}` : ""}. ${shown.hint}`;
      camera.close();
    }
  }

  // ---------------------------------------------------------------- the whole

  let asking = false;
  let refill = false;
  /** @type {[string, any][]} */
  const inputs = state.fields.map((/** @type {Content} */ field, /** @type {number} */ index) => [field.name, inputOf(field, `${panel.id}-${index}`)]);
  /** @param {Content} row */
  function fill(row) {
    for (const [name, input] of inputs) if (row[name] !== undefined && input.value !== row[name]) input.value = row[name];
  }
  const form = rows && h("form", {
    class: "fm-pr-form", novalidate: true, onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      const row = Object.fromEntries(inputs.map(([name, input]) => [name, input.value]));
      work({ name: "Predicting", run: () => {
        asking = true; // what is in the form is the reader's, who may be writing on
        return panel.ask("row", { row }).finally(() => { asking = false; });
      } });
    },
  },
  h("div", { class: "fm-pr-fields" }, inputs.map(([name, input]) => h("label", {}, h("span", { title: name }, name), input,
    input.offers))),
  h("div", { class: "fm-row" }, h("button", { class: "fm-pr-first", type: "submit" }, "Predict"), h("span", { class: "fm-dim" }, "or Enter")));

  const text = pictures || rows ? null : h("textarea", {
    class: "fm-pr-text", rows: "5", "aria-label": "Text to predict", placeholder: "Write or paste a text",
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); predictText(); }
    },
  });
  const predictText = () => work({ name: "Predicting", run: () => panel.ask("text", { text: text?.value ?? "" }) });
  const examples = state.examples.length > 0 && h("div", { class: "fm-pr-part" },
    h("div", { class: "fm-pr-heading" }, "Try one"),
    h("ul", { class: "fm-pr-strip", onkeydown: along }, state.examples.map((/** @type {Content} */ example, /** @type {number} */ index) =>
      h("li", {}, tile(example.thumbnail?.url, [pictures ? "" : example.name], `Example: ${example.name}`, {
        onclick: () => work({ name: example.name, run: () => panel.ask("example", { index }) }),
      })))));

  panel.root.classList.add("fm-predictor");
  panel.root.tabIndex = -1; // a click anywhere in the panel is enough for Ctrl+V to come here
  panel.body.replaceChildren(...[
    state.title && h("h2", { class: "fm-pr-title" }, state.title),
    state.description && h("p", { class: "fm-pr-description" }, state.description),
    pictures && h("div", { class: "fm-pr-controls" }, upload, picker, camera.button, "read" in (navigator.clipboard ?? {}) && pasting, state.urls && fetching),
    progress,
    h("div", { class: pictures ? "fm-pr-main" : "fm-pr-main fm-pr-texts" },
      pictures ? h("div", { class: "fm-pr-place" }, picture, camera.view) : form || h("div", { class: "fm-pr-write" }, text, h("div", { class: "fm-row" },
        h("button", { class: "fm-pr-first", onclick: predictText }, "Predict"), h("span", { class: "fm-dim" }, "or Ctrl+Enter"))),
      answer),
    examples,
    strip,
    spoken,
    pictures && h("div", { class: "fm-pr-target", "aria-hidden": "true" }, "Drop to predict"),
  ].filter(Boolean));

  if (pictures) {
    panel.root.addEventListener("paste", pasted);
    panel.root.addEventListener("dragover", (/** @type {DragEvent} */ event) => {
      if (!carriesPicture(event)) return;
      event.preventDefault();
      event.stopPropagation();
      panel.root.classList.add("fm-pr-over");
    });
    panel.root.addEventListener("dragleave", (/** @type {DragEvent} */ event) => {
      if (!panel.root.contains(/** @type {Node | null} */ (event.relatedTarget))) panel.root.classList.remove("fm-pr-over");
    });
    panel.root.addEventListener("drop", dropped);
  }
  panel.on("waiting", ({ before }) => {
    progress.hidden = false;
    say(before ? `${before} before you` : "Your turn");
  });
  panel.on("doing", ({ text: words }) => { progress.hidden = false; say(words); });
  panel.on("changed", (content) => {
    take(content);
    panel.settled();
  });
  take(state);
}

const FEW = 30; // choices up to which they are a list to click

/**
 * What a column of a table is asked with: a list, a box that completes one, or a box for a number.
 * @param {Content} field
 * @param {string} id of the list that completes
 */
function inputOf(field, id) {
  if (!field.choices) return h("input", { type: "text", inputmode: "decimal", value: field.value, autocomplete: "off" });
  if (field.choices.length <= FEW) {
    return h("select", {}, [["", "—"], ...field.choices.map((/** @type {string} */ choice) => [choice, choice])]
      .map(([value, words]) => h("option", { value, selected: value === field.value }, words)));
  }
  const input = h("input", { type: "text", list: id, value: field.value, autocomplete: "off" });
  input.offers = h("datalist", { id }, field.choices.map((/** @type {string} */ choice) => h("option", { value: choice })));
  return input;
}

/**
 * A button with a picture and words below it.
 * @param {string | undefined} url
 * @param {string[]} words
 * @param {string} label
 * @param {Content} attributes
 */
function tile(url, words, label, attributes) {
  return h("button", { class: url ? "fm-pr-tile" : "fm-pr-tile fm-pr-plain", "aria-label": label, title: label, ...attributes },
    url && h("img", { src: url, alt: "" }), words.filter(Boolean).map((word, index) => h("span", index ? { class: "fm-pr-second" } : {}, word)));
}

/**
 * The camera: a button that opens it, and its view with a live picture. It is off whenever the view is not to be seen.
 * @param {PanelView} panel
 * @param {(photo: Blob, name: string) => void} taken
 */
function cameraOf(panel, taken) {
  /** @type {MediaStream | null} */
  let stream = null;
  let facing = "environment";
  let asked = 0;
  /** @type {any} */
  let watch = 0;
  const video = h("video", { autoplay: true, muted: true, playsinline: true, "aria-label": "What the camera sees" });
  video.muted = true; // the attribute alone does not count for an element made by script
  const take = h("button", { class: "fm-pr-first", onclick: () => panel.run(photo) }, "Take photo");
  const other = h("button", { hidden: true, onclick: () => { facing = facing === "user" ? "environment" : "user"; panel.run(open); } }, "Other camera");
  const view = h("div", { class: "fm-pr-camera", hidden: true }, video,
    h("div", { class: "fm-row" }, take, other, h("button", { onclick: () => { close(); button.focus(); } }, "Close camera")));
  const button = h("button", { "aria-pressed": "false", onclick: () => (stream ? close() : panel.run(open)) }, "Camera");

  async function open() {
    stop();
    panel.errors.replaceChildren();
    const turn = ++asked;
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error(window.isSecureContext
        ? "This browser gives pages no camera.\nTake a photo with another program and upload it."
        : "A browser gives the camera only to secure pages, and this one comes over plain http.\nOpen it by https or as localhost; or press Upload, which on a phone offers to take a photo.");
    }
    let opened;
    try {
      opened = await navigator.mediaDevices.getUserMedia({ audio: false, video: { facingMode: facing, width: { ideal: 1920 }, height: { ideal: 1080 } } });
    } catch (/** @type {any} */ error) {
      close();
      throw new Error({
        NotAllowedError: "The camera was not allowed.\nAllow it for this page in the browser's address bar, then press Camera again.",
        SecurityError: "This page may not use the camera.\nOpen the notebook in a tab of its own.",
        NotFoundError: "No camera was found.\nConnect one, or upload a picture.",
        NotReadableError: "The camera is in use by another program.\nClose that, then press Camera again.",
      }[/** @type {string} */ (error.name)] ?? `The camera cannot be opened: ${error.message}`);
    }
    if (turn !== asked || !panel.root.isConnected) { // closed again, or gone, while the browser asked for permission
      for (const track of opened.getTracks()) track.stop();
      return;
    }
    stream = opened;
    video.srcObject = opened;
    video.classList.toggle("fm-pr-mirror", opened.getVideoTracks()[0].getSettings().facingMode === "user");
    view.hidden = false;
    button.setAttribute("aria-pressed", "true");
    await video.play().catch(() => {});
    take.focus({ preventScroll: true });
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
    other.hidden = cameras.length < 2;
    // A cell that is run again or deleted takes the panel out of the page without a word.
    watch = setInterval(() => { if (!panel.root.isConnected) close(); }, 400);
  }

  async function photo() {
    if (!video.videoWidth) throw new Error("The camera gives no picture yet.\nTry again in a moment.");
    const canvas = h("canvas", {});
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    close();
    button.focus({ preventScroll: true });
    const blob = /** @type {Blob} */ (await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95)));
    taken(blob, `photo ${new Date().toLocaleTimeString([], { hour12: false })}`);
  }

  function stop() {
    clearInterval(watch);
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    video.srcObject = null;
  }

  function close() {
    asked += 1;
    stop();
    view.hidden = true;
    button.setAttribute("aria-pressed", "false");
  }

  return { button, view, close };
}

/**
 * Draw a picture with the browser and return it as JPEG, or `null` where the browser cannot either.
 * @param {Blob} blob
 * @returns {Promise<Blob | null>}
 */
async function redrawn(blob) {
  const url = URL.createObjectURL(blob);
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = h("canvas", {});
    canvas.width = image.naturalWidth || 512;
    canvas.height = image.naturalHeight || 512;
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  } catch {
    return null;
  } finally {
    URL.revokeObjectURL(url);
  }
}

/**
 * Return what a `data:` address holds as a file; pages with a content policy may not `fetch` one.
 * @param {string} url
 */
function fileOf(url) {
  const [head, data] = url.slice(5).split(/,(.*)/s);
  const bytes = head.endsWith(";base64") ? Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)) : new TextEncoder().encode(decodeURIComponent(data));
  return new File([bytes], "pasted picture", { type: head.split(";")[0] });
}

export default definePanel(build, STYLES);
