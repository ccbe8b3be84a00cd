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
  panel.on("theme", () => board.draw());
  panel.on("mounted", () => board.draw());
}

export default definePanel(build, STYLES);
