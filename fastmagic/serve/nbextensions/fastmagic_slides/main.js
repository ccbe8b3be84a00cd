// Loaded by nbclassic in a server that `fastmagic slides` started: the show begins, looks and turns as it should.
define(["require"], require => {
  const until = async (holds, then) => {
    while (!holds()) await new Promise(done => setTimeout(done, 50));
    then();
  };

  // RISE's own `autolaunch` looks for slides before the notebook is there. A reload goes on where it was.
  const begin = () => {
    const [, slide, below] = location.hash.match(/^#\/slide-(\d+)-(\d+)/) ?? [];
    const {notebook, keyboard_manager} = window.Jupyter;
    const {actions} = keyboard_manager;
    const begins = cell => ["slide", "subslide"].includes(cell.metadata.slideshow?.slide_type);
    until(() => notebook._fully_loaded && actions.exists("RISE:slideshow"), () => {
      if (!notebook.get_cells().some(begins)) return;
      actions.call("RISE:slideshow");
      if (slide) until(() => window.Reveal?.isReady(), () => Reveal.slide(+slide, +below));
    });
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
