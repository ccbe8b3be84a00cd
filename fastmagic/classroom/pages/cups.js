// @ts-nocheck
// What the pages share: the cups' pictures, and a line to the server that comes back by itself.
export const CUPS = {green: "I'm fine", yellow: "Not sure", red: "I'm lost"};

// Shape tells them apart where colour does not: a full cup with a tick, a half one with a question, an empty one that fell.
const SHAPES = {
  green: ["M14 10h36l-5 44H19z", "M24 32l6 7 11-14"],
  yellow: ["M14 10h36l-5 44H19z", "M27 25c0-4 2.500-6 5.500-6s5.500 2 5.500 5c0 4-5.500 4-5.500 9M32.500 41v.5"],
  red: ["M10 20l44-7v38l-44-7z", "M26 25l13 14M39 25L26 39"],
};

export function cupPicture(cup) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 64 64");
  svg.setAttribute("aria-hidden", "true");
  SHAPES[cup].forEach((d, i) => {
    const path = document.createElementNS(svg.namespaceURI, "path");
    const look = {d, fill: i ? "none" : "currentColor", "fill-opacity": i ? 0 : 0.22, stroke: "currentColor", "stroke-width": i ? 5 : 3.5,
      "stroke-linejoin": "round", "stroke-linecap": "round"};
    for (const [name, value] of Object.entries(look)) path.setAttribute(name, value);
    svg.append(path);
  });
  return svg;
}

export function element(tag, properties = {}) {
  const made = document.createElement(tag);
  const {role, ...rest} = properties;
  if (role) made.setAttribute("role", role);
  return Object.assign(made, rest);
}

/** A line to the server: a WebSocket that is made anew when it breaks; after three failures plain requests, again and again. */
export class Line {
  constructor(options) {
    Object.assign(this, {connected: false, tries: 0, unsent: [], ...{}}, {options});
  }

  start() {
    this.open();
    // A phone that slept: its socket is dead and does not know it yet.
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.wake(); });
    window.addEventListener("online", () => this.wake());
    window.addEventListener("offline", () => this.lost());
  }

  wake() {
    if (this.plain) return this.ask();
    this.web?.close();
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    if (this.plain) return this.ask();
    const web = this.web = new WebSocket(new URL(this.options.socket, location.href).href.replace(/^http/, "ws"));
    const gone = () => {
      if (web !== this.web) return;
      this.web = null;
      this.lost();
      if (++this.tries >= 3 && !this.worked) this.plain = true;
      this.timer = setTimeout(() => this.open(), Math.min(500 * 2 ** Math.min(this.tries, 4), 5000) * (0.5 + Math.random() / 2));
    };
    web.onopen = () => {
      if (web !== this.web) return web.close();
      const hello = this.options.hello?.();
      if (hello) web.send(JSON.stringify(hello));
    };
    web.onmessage = ({data}) => {
      if (web !== this.web) return;
      const message = JSON.parse(data);
      if (message.type === "refused" && message.of === undefined && message.status === 403) this.tries = 9;
      if (!this.connected && message.type !== "refused") {
        this.tries = 0;
        this.worked = this.connected = true;
        this.options.status?.(true);
      }
      this.options.message(message);
    };
    web.onclose = web.onerror = gone;
  }

  lost() {
    if (!this.connected) return;
    this.connected = false;
    this.options.status?.(false);
  }

  send(message) {
    if (this.plain) return this.ask(message);
    if (this.web?.readyState === WebSocket.OPEN) this.web.send(JSON.stringify(message));
  }

  async ask(message) {
    clearTimeout(this.timer);
    const [path, body] = this.options.plain(message);
    try {
      const answer = await fetch(path, body === undefined ? {} : {method: "POST", body: JSON.stringify(body)});
      const found = await answer.json();
      if (!answer.ok) this.options.message({type: "refused", error: found.error, status: answer.status, of: message?.id});
      else this.options.message(found);
      if (answer.ok && !this.connected) { this.connected = true; this.options.status?.(true); }
    } catch {
      this.lost();
    }
    this.timer = setTimeout(() => this.ask(), this.options.every);
  }
}
