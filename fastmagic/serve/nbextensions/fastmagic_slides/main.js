// Loaded by nbclassic in a server that `fastmagic slides` started: the show begins, looks and turns as it should.
define(["require"], require => {
  const until = async (holds, then) => {
    while (!holds()) await new Promise(done => setTimeout(done, 50));
    then();
  };

  // RISE looks for slides (`autolaunch`) and for the notebook's settings as soon as it is loaded, which may be before the
  // notebook is: it is loaded then. A reload goes on where it was.
  const begin = () => {
    const [, slide, below] = location.hash.match(/^#\/slide-(\d+)-(\d+)/) ?? [];
    const {notebook, keyboard_manager} = window.Jupyter;
    const {actions} = keyboard_manager;
    const begins = cell => ["slide", "subslide"].includes(cell.metadata.slideshow?.slide_type);
    until(() => notebook._fully_loaded, () => require(["nbextensions/rise/main"], rise => {
      rise.load_ipython_extension();
      if (!notebook.get_cells().some(begins)) return;
      until(() => actions.exists("RISE:slideshow"), () => {
        actions.call("RISE:slideshow");
        if (slide) until(() => window.Reveal?.isReady(), () => Reveal.slide(+slide, +below));
      });
    }));
  };

  const load_ipython_extension = () => {
    const styles = document.createElement("link");
    styles.rel = "stylesheet";
    styles.href = require.toUrl("./main.css");
    const turning = document.createElement("script");
    turning.src = require.toUrl("./high_slides.js");
    document.head.append(styles, turning);
    // A widget's keys are its own: an arrow that moves a slider does not turn the page.
    document.body.addEventListener("keydown", event => {
      if (event.target.closest?.(".jupyter-widgets")) event.stopPropagation();
    });
    begin();
  };
  return {load_ipython_extension};
});
