// A slide that is higher than the screen: what is shown next comes into view, and before the page is turned, the keys that
// turn it go through to the slide's end, or back to its beginning. For RISE and for slides in one file.
(() => {
  const turns = {" ": 1, n: 1, PageDown: 1, ArrowDown: 1, p: -1, PageUp: -1, ArrowUp: -1};
  const own = "input, textarea, select, button, summary, a, [contenteditable], [role=slider], .CodeMirror, .fm-panel, .modal";
  document.addEventListener("keydown", event => {
    const slide = document.querySelector(".reveal .slides section.present:not(.stack)");
    const way = event.key === " " && event.shiftKey ? -1 : turns[event.key];
    if (!slide || !way || event.ctrlKey || event.altKey || event.metaKey || event.target.closest?.(own) || Reveal.isOverview()) return;
    const room = way > 0 ? slide.scrollHeight - slide.clientHeight - slide.scrollTop : slide.scrollTop;
    const {next, prev} = Reveal.availableFragments();
    if (room < 2 || (way > 0 ? next : prev && event.key !== "ArrowUp" && event.key !== "PageUp")) return;
    slide.scrollBy(0, way * slide.clientHeight * 0.8);
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);
  document.addEventListener("fragmentshown", ({fragment}) => {
    const slide = fragment?.closest(".slides section");
    if (!slide) return;
    const [it, screen] = [fragment, slide].map(element => element.getBoundingClientRect());
    const scale = screen.height / slide.offsetHeight || 1;
    slide.scrollTop += Math.max(0, Math.min(it.bottom - screen.bottom, it.top - screen.top)) / scale;
  });
})();
