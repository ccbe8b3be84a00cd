// @ts-nocheck
// The board: counts, history, what lost them, a question, the way in. Used by the page and by the panel in a notebook.
import {CUPS, cupPicture, element} from "./cups.js";

const WORDS = {green: "fine", yellow: "not sure", red: "lost"};

export class Board {
  constructor(root, {send, past, link, picture, room, page = ""}) {
    Object.assign(this, {root, sendRaw: send, past, last: null, at: null});
    root.replaceChildren();
    root.classList.add("board");
    this.head = element("header");
    this.title = element("h1", {textContent: `Room ${room}`});
    this.status = element("span", {role: "status"});
    this.controls = element("span");
    this.head.append(this.title, this.status, element("span", {className: "grow"}), this.controls);
    this.counts = element("div", {className: "counts"});
    for (const cup of Object.keys(CUPS)) {
      const box = element("div", {className: `count ${cup}`}), text = element("div");
      text.append(element("b", {textContent: "0"}), element("div", {textContent: WORDS[cup]}), element("div", {className: "dim share"}));
      box.append(cupPicture(cup), text);
      this.counts.append(box);
    }
    this.plot = element("canvas", {className: "history", role: "img", title: "Click to look back at a time"});
    this.plot.onclick = (event) => this.last?.history.length && this.lookBack(this.times().from + (event.offsetX / this.plot.clientWidth) * this.times().long);
    this.back = this.makeBack();
    this.notes = element("ul", {className: "notes"});
    this.poll = element("section", {className: "poll"});
    this.join = element("div", {className: "join"});
    this.way(link, picture);
    const left = element("div", {className: "left"});
    left.append(this.plot, this.back, this.poll, this.notes);
    const side = element("div", {className: "side"});
    side.append(left, this.join);
    root.append(this.head, this.counts, side);
    for (const [name, words, asks] of [["reset", "All green"], ["pause", "Pause"], ["lock", "Lock"], ["close", "Close", "Close the room for good?"]]) {
      const button = element("button", {type: "button", textContent: words});
      button.dataset.does = name;
      button.onclick = () => (!asks || confirm(asks)) && this.send(button.dataset.does);
      this.controls.append(button, " ");
    }
    this.bell = element("button", {type: "button", textContent: "Sound", title: "A sound and a notification when too many are lost"});
    this.bell.setAttribute("aria-pressed", "false");
    this.bell.onclick = () => this.ring();
    this.controls.append(this.bell);
    this.looks = element("button", {type: "button", textContent: "Look back", title: "The board as it was, at any time of the lesson"});
    this.looks.onclick = () => this.lookBack(this.at === null ? this.times().until : null);
    this.controls.append(" ", this.looks);
    if (page) this.controls.append(" ", element("a", {href: page, target: "_blank", rel: "noreferrer", textContent: "Whole page"}));
    this.settings = this.makeSettings();
    left.append(this.settings);
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  /** The way in: a QR code and the address, for phones. */
  way(link, picture, trouble = "") {
    if (this.wayIs === link + trouble) return;
    this.wayIs = link + trouble;
    this.join.replaceChildren(element("img", {src: picture, alt: `QR code of ${link}`}), element("div", {textContent: link}),
      element("div", {className: "line bad", textContent: trouble, hidden: !trouble}));
  }

  send(what, value) {
    this.sendRaw({do: what, value, id: what});
  }

  /** When it shouts, and when a cup fades: three numbers. */
  makeSettings() {
    const box = element("details"), fields = {};
    const number = (name, before, unit, max, factor) => {
      const label = element("label", {textContent: before}), input = element("input", {type: "number", min: 0, max, required: true});
      input.onchange = () => input.reportValidity() && this.send("settings", {[name]: input.value / factor});
      fields[name] = [input, factor];
      label.append(input, unit);
      return label;
    };
    const row = element("div", {className: "settings"});
    row.append(number("red", "More than", "% lost", 100, 100), number("seconds", "for", "seconds", 3600, 1),
      number("fade", "A cup fades after", "minutes (0: never)", 1440, 1 / 60));
    box.append(element("summary", {textContent: "When it shouts"}), row);
    box.fields = fields;
    return box;
  }

  /** Turn sound and notification on or off; a browser wants a click before either. */
  async ring() {
    const on = this.bell.getAttribute("aria-pressed") !== "true";
    this.bell.setAttribute("aria-pressed", String(on));
    if (!on) return;
    this.audio ??= new AudioContext();
    this.beep();
    if (globalThis.Notification?.permission === "default") await Notification.requestPermission();
  }

  beep() {
    const {audio} = this, now = audio.currentTime, tone = audio.createOscillator(), loud = audio.createGain();
    tone.frequency.setValueAtTime(660, now);
    tone.frequency.setValueAtTime(440, now + 0.18);
    loud.gain.setValueAtTime(0.15, now);
    loud.gain.linearRampToValueAtTime(0, now + 0.4);
    tone.connect(loud).connect(audio.destination);
    tone.start();
    tone.stop(now + 0.4);
  }

  shout(b) {
    if (this.bell.getAttribute("aria-pressed") !== "true") return;
    this.beep();
    if (globalThis.Notification?.permission === "granted") new Notification(`${b.counts.red} of ${active(b)} are lost`, {tag: "fastmagic-cups"});
  }

  connected(yes) {
    this.off = !yes;
    this.head.classList.toggle("off", !yes);
    this.say();
  }

  problem(words) {
    this.trouble = words;
    setTimeout(() => { this.trouble = ""; this.say(); }, 6000);
    this.say();
  }

  /** Look back: the board as it was at a time of the lesson, chosen or played. */
  makeBack() {
    const row = element("div", {className: "back", hidden: true});
    this.range = element("input", {type: "range", min: 0, max: 1000});
    this.range.setAttribute("aria-label", "Time of the lesson");
    this.range.oninput = () => this.lookBack(this.times().from + (this.range.value / 1000) * this.times().long);
    this.play = element("button", {type: "button", textContent: "▶ Play"});
    this.play.onclick = () => this.playing(!this.timer);
    row.append(this.range, this.play);
    return row;
  }

  /** The whole history in half a minute, from where the handle is. */
  playing(yes) {
    clearInterval(this.timer);
    this.timer = 0;
    this.play.textContent = yes ? "❚❚ Stop" : "▶ Play";
    if (!yes) return;
    const {from, long} = this.times(), until = this.last.now;
    if (this.at >= until - long / 100) this.at = from;
    this.timer = setInterval(() => {
      if (this.looking) return;
      if (this.at >= until || !this.root.isConnected) this.playing(false);
      else this.lookBack(Math.min(until, this.at + (until - from) / 120));
    }, 250);
  }

  /** Show the board as it was at a time, `null` for now. */
  async lookBack(at) {
    this.at = at = at === null ? null : Math.min(at, this.last.now);
    this.back.hidden = at === null;
    this.root.classList.toggle("past", at !== null);
    this.looks.setAttribute("aria-pressed", String(at !== null));
    if (at === null) {
      this.playing(false);
      return this.show(this.last);
    }
    const {from, long} = this.times();
    this.range.value = (1000 * (at - from)) / long;
    this.range.setAttribute("aria-valuetext", clock(at));
    this.draw();
    if (this.looking) return;
    this.looking = true;
    try {
      for (let asked = null; this.at !== null && asked !== this.at;) {
        asked = this.at;
        const found = await this.past(asked);
        if (this.at !== null) this.paint(found);
      }
    } catch (error) {
      this.problem(String(error.message ?? error));
    } finally {
      this.looking = false;
    }
  }

  /** Where the drawn history begins and ends, and how long that is, in seconds. */
  times() {
    const {history, now} = this.last, from = history[0][0], until = Math.max(now, from + 60);
    return {from, until, long: until - from};
  }

  say() {
    const b = this.shown ?? this.last;
    if (this.at !== null && b) {
      this.status.className = this.trouble ? "line bad" : "dim";
      this.status.textContent = this.trouble || `As it was at ${clock(b.now)}: ${active(b)} of ${b.seats} ${b.seats === 1 ? "cup" : "cups"} active`;
      return;
    }
    this.status.className = b?.alert && !this.off ? "alarm" : this.off || this.trouble ? "line bad" : "dim";
    this.status.textContent = this.trouble || (this.off ? "Connection lost. Reconnecting…"
      : !b ? "Connecting…"
      : b.alert ? `⚠ ${b.counts.red} of ${active(b)} are lost`
      : b.closed ? "closed"
      : `${b.here} here, ${active(b)} of ${b.seats} ${b.seats === 1 ? "cup" : "cups"} active${b.paused ? ", paused" : ""}${b.locked ? ", locked" : ""}`);
  }

  show(b) {
    if (b.alert && !this.last?.alert) this.shout(b);
    this.last = b;
    for (const [name, [input, factor]] of Object.entries(this.settings.fields)) {
      if (document.activeElement !== input) input.value = Math.round(b.settings[name] * factor);
    }
    this.root.classList.toggle("alert", b.alert);
    const [, pause, lock, close] = this.controls.querySelectorAll("button");
    [pause.dataset.does, pause.textContent] = b.paused ? ["go", "Go on"] : ["pause", "Pause"];
    [lock.dataset.does, lock.textContent] = b.locked ? ["unlock", "Unlock"] : ["lock", "Lock"];
    close.disabled = b.closed;
    this.looks.disabled = !b.history.length;
    if (this.at === null) this.paint(b);
    else this.draw();
  }

  /** Show a board's counts, notes and question: those of now, or of an earlier time. */
  paint(b) {
    this.shown = b;
    const all = active(b);
    [...this.counts.children].forEach((box, i) => {
      const count = b.counts[Object.keys(CUPS)[i]];
      box.querySelector("b").textContent = count;
      box.querySelector(".share").textContent = all ? `${Math.round((100 * count) / all)} %` : "";
    });
    this.say();
    this.list(b);
    this.ask(b);
    this.draw();
  }

  ask(b) {
    const p = b.poll, then = this.at !== null, text = JSON.stringify([p, b.closed, then]);
    if (text === this.asked || this.poll.querySelector("form")) return;
    this.asked = text;
    const all = p ? p.counts.reduce((sum, count) => sum + count, 0) : 0;
    // The board may be on the wall: no bars before the end, they would sway who has not answered yet.
    const rows = !p ? [] : p.answers.map((answer, i) => {
      const row = element("div", {className: "bar-row"}), bar = element("span", {className: "bar"});
      row.append(bar, element("span", {textContent: answer}));
      if (p.open) return row;
      bar.style.width = `${all ? (100 * p.counts[i]) / all : 0}%`;
      row.append(element("span", {className: "share", textContent: `${p.counts[i]} · ${all ? Math.round((100 * p.counts[i]) / all) : 0} %`}));
      return row;
    });
    const again = element("button", {type: "button", textContent: p ? "New question" : "Ask a question", disabled: b.closed});
    again.onclick = () => this.write();
    const row = element("div");
    if (p?.open) {
      const reveal = element("button", {type: "button", textContent: "End and show"});
      reveal.onclick = () => this.send("reveal", p.id);
      row.append(reveal, " ");
    }
    row.append(again);
    row.hidden = then;
    const head = p ? [element("h2", {textContent: p.question}), element("p", {className: "dim", textContent:
      then ? `${all} had answered` : `${all} of ${Math.max(b.here, all)} have answered${p.open ? "; all see the bars when you end it" : ""}`})] : [];
    this.poll.replaceChildren(...head, ...rows, row);
  }

  write() {
    const form = element("form"), fields = [];
    const field = (words, most, needed) => {
      const label = element("label", {textContent: words}), input = element("input", {maxLength: most, required: needed});
      label.append(input);
      fields.push(input);
      return label;
    };
    form.append(field("Question", 200, true), ...[1, 2, 3, 4, 5, 6].map((i) => field(`Answer ${i}`, 80, i < 3)));
    const row = element("div"), cancel = element("button", {type: "button", textContent: "Cancel"});
    const close = () => { form.remove(); this.asked = null; this.ask(this.last); };
    cancel.onclick = close;
    row.append(element("button", {textContent: "Ask"}), " ", cancel);
    form.append(row);
    form.onsubmit = (event) => {
      event.preventDefault();
      const [question, ...answers] = fields.map((input) => input.value.trim());
      this.send("ask", {question, answers: answers.filter(Boolean)});
      close();
    };
    this.poll.replaceChildren(form);
    fields[0].focus();
  }

  list(b) {
    const then = this.at !== null, text = JSON.stringify([b.notes, then]);
    if (text === this.listed) return;
    this.listed = text;
    this.notes.replaceChildren(...b.notes.map((note) => {
      const row = element("li", {className: note.cup}), done = element("button", {type: "button", textContent: "Answered"});
      done.onclick = () => this.send("answered", note.id);
      row.append(element("span", {textContent: note.text}));
      if (!then) row.append(done);
      return row;
    }));
  }

  draw() {
    const b = this.last, canvas = this.plot, box = canvas.getBoundingClientRect();
    if (!b || !box.width) return;
    const scale = devicePixelRatio || 1, width = box.width, height = box.height, style = getComputedStyle(this.root);
    canvas.width = width * scale;
    canvas.height = height * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    canvas.setAttribute("aria-label", `History: now ${b.counts.green} fine, ${b.counts.yellow} not sure, ${b.counts.red} lost.`);
    if (!b.history.length) return;
    const {from, until} = this.times(), most = Math.max(1, ...b.history.map(([, g, y, r]) => g + y + r));
    const x = (time) => ((time - from) / (until - from)) * width, y = (count) => height - 18 - (count / most) * (height - 30);
    const steps = [...b.history, [b.now, ...b.history.at(-1).slice(1)]];
    ["green", "yellow", "red"].forEach((cup, layer) => {
      // The lost at the bottom: their level is read against a straight line.
      const below = ([, g, yl, r]) => [r + yl, r, 0][layer], above = ([, g, yl, r]) => [r + yl + g, r + yl, r][layer];
      pen.beginPath();
      steps.forEach((point, i) => {
        if (i) pen.lineTo(x(point[0]), y(above(steps[i - 1])));
        pen.lineTo(x(point[0]), y(above(point)));
      });
      for (let i = steps.length - 1; i >= 0; i--) {
        pen.lineTo(x(steps[i][0]), y(below(steps[i])));
        if (i) pen.lineTo(x(steps[i][0]), y(below(steps[i - 1])));
      }
      pen.closePath();
      pen.fillStyle = style.getPropertyValue(`--${cup}-fill`);
      pen.strokeStyle = style.getPropertyValue(`--${cup}`);
      pen.fill();
      pen.stroke();
    });
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = pen.strokeStyle = style.getPropertyValue("--dim");
    let free = -1;
    for (const [time, label] of b.marks) {
      if (time < from) continue;
      pen.beginPath();
      pen.setLineDash([3, 3]);
      pen.moveTo(x(time), 0);
      pen.lineTo(x(time), height - 16);
      pen.stroke();
      pen.setLineDash([]);
      if (x(time) > free) {
        pen.fillText(label, x(time) + 3, 11);
        free = x(time) + 8 + pen.measureText(label).width;
      }
    }
    if (this.at !== null) {
      pen.fillStyle = style.getPropertyValue("--focus");
      pen.fillRect(x(this.at) - 1.5, 0, 3, height - 16);
      pen.fillStyle = style.getPropertyValue("--dim");
    }
    const minutes = Math.round((until - from) / 60);
    pen.fillText(clock(from), 3, height - 4);
    const end = `${minutes} min`;
    pen.fillText(end, width - 3 - pen.measureText(end).width, height - 4);
  }
}

const clock = (time) => new Date(time * 1000).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"});
const active = (b) => b.counts.green + b.counts.yellow + b.counts.red;
