// A student's page: three cups, a line, a question. It talks over a WebSocket, or over plain HTTP where none comes about.
import {CUPS, cupPicture, element, Line} from "./cups.js";

const $ = (id) => document.getElementById(id);
const KEY = `fastmagic-cup ${location.pathname.replace(/\/$/, "")}`;
const token = keptToken();
let state = null, wished = null, drawn = null;

const line = new Line({
  socket: "socket",
  hello: () => ({do: "look", token}),
  plain: (message) => (message && message.do !== "look" ? ["do", {...message, token}] : ["state", {token}]),
  every: 3000,
  message: arrived,
  status: (connected) => { show(); if (connected && wished) send(wished); },
});

function keptToken() {
  const random = () => btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(18)))).replace(/\+/g, "-").replace(/\//g, "_");
  try {
    const found = localStorage.getItem(KEY);
    if (found) return found;
    const made = random();
    localStorage.setItem(KEY, made);
    return made;
  } catch {  // a browser that keeps nothing: the cup lasts as long as the page
    return random();
  }
}

function arrived(message) {
  if (message.type === "state") {
    state = message;
    if (state.cup === wished || state.closed || state.paused) wished = null;
  } else if (message.type === "kept" && message.of === "cup") {
    if (state) state = {...state, cup: wished ?? state.cup, since: Date.now() / 1000};
    wished = null;
  } else if (message.type === "kept" && message.of === "note") {
    $("sent").textContent = "Sent.";
    $("words").value = "";
  } else if (message.type === "refused") {
    if (message.of === "cup") {
      const cup = wished;
      // Too many at once: it is sent again by itself.
      if (message.status === 429) setTimeout(() => { if (wished === cup && cup) send(cup); }, 3000 + 3000 * Math.random());
      else wished = null;
    }
    problem = message.error;
    setTimeout(() => { problem = ""; show(); }, 6000);
  }
  show();
}
let problem = "";

function send(cup) {
  wished = cup;
  line.send({do: "cup", cup, id: "cup"});
  show();
}

for (const [cup, words] of Object.entries(CUPS)) {
  const button = element("button", {className: `cup ${cup}`, type: "button", role: "radio"});
  button.dataset.cup = cup;
  button.append(cupPicture(cup), element("span", {textContent: words}), element("span", {className: "kept"}));
  button.onclick = () => send(cup);
  $("cups").append(button);
}
$("cups").addEventListener("keydown", (event) => {
  const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
  if (!step) return;
  const all = [...$("cups").children];
  all[(all.indexOf(document.activeElement) + step + all.length) % all.length].focus();
  event.preventDefault();
});

$("note").onsubmit = (event) => {
  event.preventDefault();
  const text = $("words").value.trim();
  if (text) line.send({do: "note", text, id: "note"});
};

function show() {
  const mine = wished ?? state?.cup ?? null;
  const off = !line.connected || !state || state.paused || state.closed;
  for (const button of $("cups").children) {
    const chosen = button.dataset.cup === mine;
    button.setAttribute("aria-checked", chosen);
    button.disabled = off && !chosen;
    button.classList.toggle("waiting", chosen && wished !== null);
    button.lastChild.textContent = !chosen ? "" : wished !== null ? "sending…" : "✓ arrived";
  }
  $("note").hidden = !(state && state.cup === "red" && !state.closed);
  $("line").className = `line${line.connected && !problem ? "" : " bad"}`;
  $("line").textContent = problem || (!line.connected ? (state ? "Connection lost. Reconnecting…" : "Connecting…")
    : !state ? "Connecting…"
    : state.closed ? "The room is closed. Thank you!"
    : state.paused ? "The teacher has paused the cups."
    : !mine ? "Tap a cup; change it whenever that changes."
    : state.fade && state.now - state.since > state.fade ? "Your cup has faded. Tap it if it still holds."
    : "");
  poll();
}

function poll() {
  const asked = state?.poll, text = JSON.stringify([asked, state?.vote, line.connected]);
  if (text === drawn) return;
  drawn = text;
  $("poll").hidden = !asked;
  $("poll").replaceChildren();
  if (!asked) return;
  const all = (asked.counts || []).reduce((sum, count) => sum + count, 0);
  const answers = asked.answers.map((answer, i) => {
    const button = element("button", {className: "answer", type: "button", role: "radio", disabled: !asked.open || !line.connected});
    button.setAttribute("aria-checked", state.vote === i);
    if (asked.counts) {
      const share = all ? asked.counts[i] / all : 0, bar = element("span", {className: "bar"});
      bar.style.width = `${100 * share}%`;
      button.append(bar, element("span", {className: "share", textContent: `${asked.counts[i]} · ${Math.round(100 * share)} %`}));
    }
    button.append(element("span", {textContent: answer}));
    button.onclick = () => { state.vote = i; line.send({do: "vote", poll: asked.id, answer: i, id: "vote"}); poll(); };
    return button;
  });
  const group = element("div", {className: "poll", role: "radiogroup"});
  group.setAttribute("aria-label", asked.question);
  group.append(...answers);
  $("poll").append(element("h2", {textContent: asked.question}), ...answers);
}

setInterval(show, 5000);
line.start();
