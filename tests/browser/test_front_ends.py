"""The front ends themselves: a button in a plain widget reaches the kernel and back, nothing asks the network."""

from __future__ import annotations

import pytest
from front_ends import FrontEnd
from playwright.sync_api import expect

COUNTER = '''
import anywidget, ipykernel, traitlets

class Counter(anywidget.AnyWidget):
    _esm = """
    function render({model, el}) {
      const button = document.createElement("button");
      const show = () => { button.textContent = `count is ${model.get("count")}`; };
      button.onclick = () => model.send({add: 1});
      model.on("change:count", show);
      show();
      el.append(button);
    }
    export default {render};
    """
    count = traitlets.Int(0).tag(sync=True)

    def __init__(self):
        super().__init__()
        self.on_msg(lambda widget, content, buffers: setattr(self, "count", self.count + content["add"]))

    def _repr_mimebundle_(self, **options):
        bundle = super()._repr_mimebundle_(**options)
        bundle = bundle[0] if isinstance(bundle, tuple) else bundle
        return {**bundle, "text/html": "<b>a still</b>"}

counter = Counter()
counter
'''


def test_a_click_reaches_the_kernel_and_its_answer_the_page(front_end: FrontEnd):
    shown = front_end.open([COUNTER, "print('ipykernel', ipykernel.__version__)"])
    shown.run_all()
    button = shown.output(0).get_by_role("button", name="count is")
    button.click()
    expect(button).to_have_text("count is 1")
    shown.screenshot("counter")
    shown.show(1)
    expect(shown.output(1)).to_contain_text("ipykernel 7.")
    assert shown.foreign == []
    assert shown.console == []


def test_every_kernel_answers(lab: FrontEnd, kernel: str):
    shown = lab.open([COUNTER, "print('ipykernel', ipykernel.__version__)"], kernel=kernel)
    shown.run_all()
    button = shown.output(0).get_by_role("button", name="count is")
    button.click()
    expect(button).to_have_text("count is 1")
    expect(shown.output(1)).to_contain_text(kernel.replace("-", " "))


def test_the_oldest_widgets_answer(nbclassic: FrontEnd):
    shown = nbclassic.open([COUNTER, "print('ipykernel', ipykernel.__version__)"], kernel="oldest")
    shown.run_all()
    button = shown.output(0).get_by_role("button", name="count is")
    button.click()
    expect(button).to_have_text("count is 1")
    expect(shown.output(1)).to_contain_text("ipykernel 6.17.1")


@pytest.mark.parametrize("name", ["lab", "notebook", "nbclassic"])
def test_a_saved_notebook_opens_without_its_kernel(front_ends, name: str):
    shown = front_ends[name].open([COUNTER, "counter.count"])
    shown.run(0)
    shown.output(0).get_by_role("button", name="count is 0").click()
    shown.run(1)
    assert shown.save().cells[1].outputs[0].data["text/plain"] == "1"
    shown.reload()
    expect(shown.output(0).get_by_role("button", name="count is 1")).to_be_visible()
    shown.reopen()
    expect(shown.output(1)).to_contain_text("1")
    expect(shown.output(0).get_by_role("button")).to_have_count(0)
    assert [one for one in shown.front_end.api("sessions") if one["path"] == shown.path.name] == []
    shown.screenshot("reopened")


@pytest.mark.parametrize("name", ["lab", "notebook", "voila"])
def test_the_dark_theme_is_dark(front_ends, name: str):
    shown = front_ends[name].open(["1 + 1"], dark=True)
    colour = shown.page.evaluate("getComputedStyle(document.body).getPropertyValue('--jp-layout-color0')")
    shown.screenshot("theme")
    assert colour.strip() == "#111"


def test_the_wrong_jupyterlab_rise_shows_no_widget(lab_rise_wrong: FrontEnd):
    shown = lab_rise_wrong.open([COUNTER])
    shown.run_all()
    shown.screenshot("counter")
    expect(shown.output(0).get_by_role("button", name="count is")).to_have_count(0)
    expect(shown.output(0)).to_contain_text("a still")
