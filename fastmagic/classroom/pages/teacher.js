// The teacher's board, whole page. The secret comes behind the #, which no server and no log sees, and becomes a cookie.
import {Line} from "./cups.js";
import {Board} from "./board.js";

const root = document.getElementById("board"), first = document.getElementById("line");
const room = location.pathname.replace(/\/teacher\/?$/, "").replace(/.*\//, "");
const here = new URL(".", location.href).href;
const code = (link) => `qr.svg?of=${encodeURIComponent(link)}`;
// What is good for this machine alone is no use to a phone.
const alone = /^(localhost|127\..*|\[::1\])$/.test(location.hostname);
let board = null;

const wire = new Line({
  socket: "board-socket",
  plain: (message) => (message ? ["act", message] : ["board"]),
  every: 1000,
  message: arrived,
  status: (connected) => board?.connected(connected),
});

async function past(at) {
  const answer = await fetch(`board?at=${at}`), told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

function arrived(message) {
  if (message.type === "board") {
    board ??= new Board(root, {send: (wanted) => wire.send(wanted), past, link: here, picture: code(here), room});
    const link = alone && message.reach ? `${message.reach}${room}/` : here;
    board.way(link, code(link), alone && !message.reach ? "Only this machine reaches this address. For phones: fastmagic cups serve --host 0.0.0.0" : "");
    board.show(message);
  } else if (message.type === "refused") {
    if (board) board.problem(message.error);
    else first.textContent = message.error;
  }
}

const secret = decodeURIComponent(location.hash.slice(1));
const answer = secret ? await fetch("enter", {method: "POST", body: JSON.stringify({secret})}).catch(() => null) : null;
if (answer?.ok) history.replaceState(null, "", location.pathname + location.search);
if (answer && !answer.ok) first.textContent = (await answer.json()).error;
else wire.start();
