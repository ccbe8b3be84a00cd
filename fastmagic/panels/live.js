// @ts-check
// The predictor in a page without a kernel: what panels ask is answered here, by the model's ONNX file, which ONNX Runtime
// runs in the browser. Pictures are cut and resized as Pillow does it, to the bit, so that the model sees what it learned from;
// but transparent ones, whose hidden colours a canvas does not keep, and those beyond MOST_PIXELS, which the browser makes smaller.
import { build, percent } from "./predictor.js";
import { definePanel, h, STYLES } from "./shared.js";

/** @typedef {Record<string, any>} Content */
/** Rows of pixels, `channels` bytes each. @typedef {{data: Uint8Array | Uint8ClampedArray, width: number, height: number, channels: number}} Pixels */
/** @typedef {{number: number, name: string, thumbnail: Content, preview: Content, answers: number[], seconds: number}} Entry */

const HISTORY = 12, PREVIEW = 640, THUMBNAIL = 96;
const UNSURE = 0.5, CLOSE = 0.1; // as in predictor.py
const MOST_PIXELS = 16_000_000; // more than that some phones cannot draw

// ---------------------------------------------------------------- pictures, as Pillow has them

const sinc = (/** @type {number} */ x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
/** Pillow's filters by its numbers (Image.Resampling): how far they reach, and their weight at a distance. @type {Record<number, [number, (x: number) => number]>} */
const FILTERS = {
  1: [3, (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0)],
  2: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  3: [2, (x) => {
    const d = Math.abs(x);
    return d < 1 ? (1.5 * d - 2.5) * d * d + 1 : d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
  }],
  4: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  5: [1, (x) => (x === 0 ? 1 : Math.abs(x) >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x)))],
};
const BITS = 22; // of the weights, which are whole numbers

/**
 * Resize along one axis: libImaging/Resample.c, for bytes.
 * @param {Pixels} image @param {number} size @param {number} resample @param {boolean} across
 * @returns {Pixels}
 */
function resizedAlong({ data, width, height, channels }, size, resample, across) {
  const length = across ? width : height;
  if (size === length) return { data, width, height, channels };
  const scale = length / size;
  const [reach, weight] = FILTERS[resample];
  const stretch = Math.max(1, scale);
  const [newWidth, newHeight] = across ? [size, height] : [width, size];
  const made = new Uint8Array(newWidth * newHeight * channels);
  const lines = across ? height : width;
  const step = across ? channels : width * channels; // from one pixel of a line to the next
  const next = across ? width * channels : channels; // from one line to the next
  const newStep = across ? channels : newWidth * channels;
  const newNext = across ? newWidth * channels : channels;
  for (let i = 0; i < size; i++) {
    const centre = (i + 0.5) * scale;
    const from = Math.max(0, Math.trunc(centre - reach * stretch + 0.5));
    const to = Math.min(length, Math.trunc(centre + reach * stretch + 0.5));
    const shares = Array.from({ length: to - from }, (_, k) => weight((k + from - centre + 0.5) / stretch));
    const sum = shares.reduce((a, b) => a + b, 0);
    const whole = Int32Array.from(shares, (share) => {
      const scaled = (sum ? share / sum : share) * 2 ** BITS;
      return Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    });
    for (let line = 0; line < lines; line++) {
      for (let channel = 0; channel < channels; channel++) {
        let total = 1 << (BITS - 1);
        let at = line * next + from * step + channel;
        for (let k = 0; k < whole.length; k++, at += step) total += data[at] * whole[k];
        made[line * newNext + i * newStep + channel] = Math.min(255, Math.max(0, total >> BITS));
      }
    }
  }
  return { data: made, width: newWidth, height: newHeight, channels };
}

/** @param {Pixels} image @param {(x: number, y: number) => [number, number] | null} from where each pixel is taken from @param {number} width @param {number} height @returns {Pixels} */
function taken(image, from, width, height) {
  const { data, channels } = image;
  const made = new Uint8Array(width * height * channels);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += channels) {
      const there = from(x, y);
      if (!there) continue;
      const at = (there[1] * image.width + there[0]) * channels;
      for (let channel = 0; channel < channels; channel++) made[to + channel] = data[at + channel];
    }
  }
  return { data: made, width, height, channels };
}

/** @param {Pixels} image @param {number} width @param {number} height @param {number} resample as Pillow numbers them @returns {Pixels} */
export function resized(image, width, height, resample) {
  if (resample === 0) {
    const [across, down] = [image.width / width, image.height / height];
    return taken(image, (x, y) => [Math.trunc((x + 0.5) * across), Math.trunc((y + 0.5) * down)], width, height);
  }
  const downFirst = image.height - height > 2 * Math.max(0, image.width - width); // as Pillow 13 does it
  const once = resizedAlong(image, downFirst ? height : width, resample, !downFirst);
  return resizedAlong(once, downFirst ? width : height, resample, downFirst);
}

/**
 * Cut out a part, which may reach beyond the picture: fastai's `crop_pad`.
 * @param {Pixels} image @param {number} left @param {number} top @param {number} width @param {number} height @param {string} mode zeros, border or reflection
 */
function cutOut(image, left, top, width, height, mode) {
  /** @param {number} i @param {number} begin @param {number} size of what is left of the picture: beyond it nothing is known */
  const inside = (i, begin, size) => {
    if (i >= begin && i < begin + size) return i;
    if (mode === "zeros") return -1;
    if (mode === "border" || size === 1) return Math.min(begin + size - 1, Math.max(begin, i));
    const period = 2 * (size - 1);
    const k = (((i - begin) % period) + period) % period;
    return begin + (k < size ? k : period - k);
  };
  const [x0, y0] = [Math.max(0, left), Math.max(0, top)];
  const [wide, high] = [Math.min(image.width, left + width) - x0, Math.min(image.height, top + height) - y0];
  return taken(image, (x, y) => {
    const [u, v] = [inside(x + left, x0, wide), inside(y + top, y0, high)];
    return u < 0 || v < 0 ? null : [u, v];
  }, width, height);
}

/** What fastai's transforms do in validation, by their names. @type {Record<string, (image: Pixels, words: Content) => Pixels>} */
const TRANSFORMS = {
  Resize(image, { size: [height, width], method, pad_mode, resamples }) {
    if (method === "squish") return resized(image, width, height, resamples[0]);
    const [across, down] = [image.width / width, image.height / height];
    const scale = (method === "pad" ? across > down : across < down) ? across : down;
    const [wide, high] = [Math.trunc(scale * width), Math.trunc(scale * height)];
    const [left, top] = [Math.trunc(0.5 * (image.width - wide)), Math.trunc(0.5 * (image.height - high))];
    return resized(cutOut(image, left, top, wide, high, pad_mode), width, height, resamples[0]);
  },
  CropPad: (image, { size: [height, width], pad_mode }) => cutOut(image, Math.floor((image.width - width) / 2), Math.floor((image.height - height) / 2), width, height, pad_mode),
  ToTensor: (image) => image,
};

/** @param {HTMLCanvasElement} canvas @param {number} channels 3, or 1 for grey as Pillow makes it @returns {Pixels} */
function pixelsOf(canvas, channels) {
  const { data, width, height } = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).getImageData(0, 0, canvas.width, canvas.height);
  const made = new Uint8Array(width * height * channels);
  for (let from = 0, to = 0; from < data.length; from += 4, to += channels) {
    if (channels === 1) made[to] = (data[from] * 19595 + data[from + 1] * 38470 + data[from + 2] * 7471 + 0x8000) >> 16;
    else for (let channel = 0; channel < 3; channel++) made[to + channel] = data[from + channel];
  }
  return { data: made, width, height, channels };
}

/**
 * Draw a file, upright and in the colours that are in it, as Pillow opens it.
 * @param {Blob} file @param {string} name
 * @returns {Promise<HTMLCanvasElement>}
 */
async function drawn(file, name) {
  /** @type {ImageBitmapOptions} */
  const asItIs = { imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "none" };
  let picture;
  try {
    picture = await createImageBitmap(file, asItIs);
  } catch {
    throw new Error(`'${name}' is not a picture that this browser opens.\nGive a JPEG or PNG.`);
  }
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (picture.width * picture.height)));
  const canvas = fitted(picture, Math.floor(picture.width * scale), Math.floor(picture.height * scale));
  picture.close();
  return canvas;
}

/** @param {CanvasImageSource} picture @param {number} width @param {number} height @returns {HTMLCanvasElement} */
function fitted(picture, width, height) {
  const canvas = h("canvas", {});
  canvas.width = Math.max(1, width);
  canvas.height = Math.max(1, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** @param {HTMLCanvasElement} canvas @param {number} side @returns {Content} */
function small(canvas, side) {
  const scale = Math.min(1, side / Math.max(canvas.width, canvas.height));
  const mime = Math.max(canvas.width, canvas.height) <= THUMBNAIL ? "image/png" : "image/jpeg"; // every pixel of a small one is shown
  return { mime, url: fitted(canvas, Math.round(canvas.width * scale), Math.round(canvas.height * scale)).toDataURL(mime, 0.85) };
}

// ---------------------------------------------------------------- the model

/** @param {string} id of a script that holds bytes, packed @returns {Promise<ArrayBuffer>} */
async function unpacked(id) {
  const script = /** @type {HTMLElement} */ (document.getElementById(id));
  const letters = atob(script.textContent ?? "");
  const packed = new Uint8Array(letters.length); // `fetch` takes addresses of this length in few browsers
  for (let at = 0; at < packed.length; at++) packed[at] = letters.charCodeAt(at);
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** @type {Promise<any> | null} */
let starting = null;
/** @type {any} */
let ort = null;

/** Return the session of the page's model, begun with the first picture. */
function session() {
  starting ??= (async () => {
    if (!("DecompressionStream" in globalThis)) throw new Error("This browser is too old for the model.\nOpen the page in one of 2023 or later.");
    const code = URL.createObjectURL(new Blob([await unpacked("fastmagic-onnxruntime")], { type: "text/javascript" }));
    ort = await import(code);
    ort.env.wasm.numThreads = 1; // more need headers that a file has not
    ort.env.wasm.wasmBinary = await unpacked("fastmagic-wasm");
    const begun = await ort.InferenceSession.create(new Uint8Array(await unpacked("fastmagic-model")), { executionProviders: ["wasm"] });
    for (const id of ["fastmagic-onnxruntime", "fastmagic-wasm", "fastmagic-model"]) document.getElementById(id)?.remove(); // large
    return begun;
  })().catch((error) => {
    starting = null; // the next picture tries again
    throw new Error(`The model does not start in this browser.\n${error?.message ?? error}`);
  });
  return starting;
}

/**
 * What the model answers to a picture: probabilities by class, or numbers.
 * @param {HTMLCanvasElement} picture @param {Content} model
 * @returns {Promise<number[]>}
 */
async function answersTo(picture, model) {
  let image = pixelsOf(picture, model.channels);
  for (const [name, words] of model.item_tfms) image = TRANSFORMS[name](image, words);
  const { data, width, height, channels } = image;
  const floats = new Float32Array(data.length);
  for (let pixel = 0, from = 0; pixel < width * height; pixel++) {
    for (let channel = 0; channel < channels; channel++) floats[channel * width * height + pixel] = data[from++] / 255;
  }
  const running = await session();
  const { answers } = await running.run({ pixels: new ort.Tensor("float32", floats, [1, channels, height, width]) });
  return [...answers.data];
}

// ---------------------------------------------------------------- what the kernel would be

/** @param {Entry} entry @param {Content} state @param {Content} model @returns {Content} */
function described(entry, state, model) {
  const { kind, classes, threshold } = model.target;
  const { number, name, preview, seconds, answers } = entry;
  const about = { number, name, preview, seconds, text: "", row: null, label: null, right: null, other: null, threshold: null, numbers: null };
  if (kind === "numbers") {
    const numbers = answers.map((value) => Number(value.toPrecision(4)));
    return { ...about, decision: numbers.join("; "), probability: null, bars: [], hint: "", numbers: numbers.length > 1 ? numbers : null };
  }
  const ranked = answers.map((share, index) => /** @type {[string, number]} */ ([String(classes[index]), share])).sort((a, b) => b[1] - a[1]);
  const [[best, share], second] = ranked;
  if (kind === "classes") {
    const given = classes.filter((/** @type {any} */ _, /** @type {number} */ index) => answers[index] >= threshold).map(String);
    return {
      ...about, threshold, decision: given.join(", ") || "none of the labels", probability: null,
      bars: ranked.slice(0, Math.max(state.top, given.length)).map(([label, p]) => [label, p, p >= threshold]),
      hint: given.length ? "" : `No label reaches the threshold of ${threshold}; the nearest is ${best} with ${percent(share)}.`,
    };
  }
  const hint = second && share - second[1] < CLOSE ? `Not sure: ${best} (${percent(share)}) and ${second[0]} (${percent(second[1])}) are close.`
    : share < UNSURE ? `Not sure: the likeliest class has ${percent(share)}, the others together ${percent(1 - share)}.` : "";
  return { ...about, decision: best, probability: share, bars: ranked.slice(0, state.top).map(([label, p], rank) => [label, p, rank === 0]), hint };
}

/**
 * What a panel takes for its model, answering here what it asks.
 * @param {string} id of the panel @param {Content} page what the page says of the model
 */
function answering(id, { state, model, example }) {
  /** @type {Function[]} */
  const listeners = [];
  /** @type {Entry[]} */
  let entries = [];
  /** @type {Entry | null} */
  let shown = null;
  let count = 0;
  /** @type {Map<string, Uint8Array>} */
  const uploads = new Map();

  /** @param {Content} message */
  const tell = (message) => listeners.forEach((listener) => listener(message, []));

  /** @param {Entry | null} [added] @param {boolean} [show] @returns {Content} */
  const changes = (added = null, show = true) => ({
    top: state.top, upright: true,
    ...(show ? { shown: shown && described(shown, state, model) } : {}),
    history: entries.map((entry) => {
      const { decision, probability } = described(entry, state, model);
      return { number: entry.number, name: entry.name, decision: probability === null ? decision : `${decision} (${percent(probability)})`, thumbnail: entry === added ? entry.thumbnail : null };
    }),
  });
  const changed = (/** @type {Entry | null} */ added = null, show = true) => tell({ event: "changed", content: { added: Boolean(added) && show, ...changes(added, show) } });

  /** @param {Blob} file @param {string} name @param {boolean} show */
  async function judge(file, name, show) {
    const picture = await drawn(file, name);
    if (!starting) tell({ event: "doing", content: { text: "Unpacking the model" } });
    await session();
    const began = performance.now();
    const answers = await answersTo(picture, model);
    const entry = { number: ++count, name, answers, seconds: (performance.now() - began) / 1000, thumbnail: small(picture, THUMBNAIL), preview: small(picture, PREVIEW) };
    entries = [entry, ...entries].slice(0, HISTORY);
    if (show || !shown) shown = entry;
    changed(entry, show);
  }

  /** @type {Record<string, (content: Content, buffers: ArrayBuffer[]) => any>} */
  const asked = {
    hello: () => ({ ...state, ...changes() }),
    settled: () => {},
    forget: ({ upload }) => { uploads.delete(upload); },
    upload({ upload, at, size }, [part]) {
      if (!uploads.has(upload)) uploads.set(upload, new Uint8Array(size));
      uploads.get(upload)?.set(new Uint8Array(part), at);
    },
    judge({ upload, name, show }, [whole]) {
      const bytes = whole ?? uploads.get(upload);
      uploads.delete(upload);
      return judge(new Blob([bytes]), name, show);
    },
    example: async () => judge(await (await fetch(example)).blob(), state.examples[0].name, true),
    show({ number }) {
      shown = entries.find((entry) => entry.number === number) ?? shown;
      changed();
    },
    settings({ top }) {
      state.top = top ?? state.top;
      changed();
    },
    clear() {
      entries = [];
      shown = null;
      changed();
    },
  };

  return {
    alone: true, // nobody else is there to be busy, or to have ended
    get: () => id,
    on: (/** @type {string} */ _, /** @type {Function} */ listener) => { listeners.push(listener); },
    off: () => {},
    /** @param {Content} message @param {any} _ @param {ArrayBuffer[]} buffers */
    async send({ id: re, ask, content }, _, buffers) {
      if (!ask) return;
      try {
        tell({ re, answer: (await asked[ask](content, buffers ?? [])) ?? {} });
      } catch (/** @type {any} */ error) {
        tell({ re, error: error?.message ?? String(error) });
      }
    },
  };
}

const told = document.getElementById("fastmagic-live");
if (told) { // the page's own: the panel takes the place of its still
  const page = JSON.parse(told.textContent ?? "");
  definePanel(build, STYLES).initialize({ model: answering(page.panel, page) });
}
