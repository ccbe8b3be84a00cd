// @ts-check
// The cups beside the cells: the teacher's board, fed by the kernel, which looks at the room.
import { definePanel, h, STYLES } from "./shared.js";
import { Board } from "../classroom/pages/board.js";

/** @typedef {import("./shared.js").PanelView} PanelView */

/** @param {PanelView} panel @param {any} state */
function build(panel, state) {
  const root = h("div", { class: "fm-cups" });
  panel.body.append(root);
  const board = /** @type {any} */ (new Board(root, {
    send: (/** @type {any} */ message) => panel.run(async () => take(await panel.ask("act", { do: message.do, value: message.value ?? null }))),
    past: async (/** @type {number} */ at) => (await panel.ask("at", { at })).board,
    link: state.link, picture: state.code.url, room: state.room, page: state.page,
  }));
  board.way(state.link, state.code.url, state.alone);
  /** @param {any} told */
  function take({ board: shown, trouble }) {
    if (trouble !== undefined) board.connected(!trouble);
    board.show(shown);
  }
  take(state);
  panel.on("board", (told) => { take(told); panel.settled(); });
  // On slides, each slide's heading becomes a mark: reveal.js says so to the page, whichever of the two RISEs runs it.
  const turned = (/** @type {any} */ event) => {
    if (panel.closed) return document.removeEventListener("slidechanged", turned);
    const headings = [...(event.currentSlide?.querySelectorAll("h1, h2, h3, h4") ?? [])].filter((one) => !one.closest(".fm-panel"));
    const heading = headings[0]?.textContent.replace(/¶$/, "").trim();
    if (heading && !state.board.closed) panel.ask("title", { text: heading }).catch(() => {});
  };
  document.addEventListener("slidechanged", turned);
  panel.on("theme", () => board.draw());
  panel.on("mounted", () => board.draw());
}

export default definePanel(build, STYLES);
