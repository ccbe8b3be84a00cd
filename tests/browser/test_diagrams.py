"""Diagrams in the page's colours: read on a light and on a dark page, and on a slide."""

from __future__ import annotations

import pytest
from front_ends import FrontEnd
from playwright.sync_api import expect

# Contrast of each text with the first background behind it that is not transparent, by WCAG's formula.
CONTRAST = """svg => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let behind = svg;
  while (behind && (numbers(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
  const paper = light(behind ? numbers(getComputedStyle(behind).backgroundColor) : [255, 255, 255]);
  return Math.min(...[...svg.querySelectorAll('text')].map(text => {
    const ink = light(numbers(getComputedStyle(text).fill));
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  }));
}"""


@pytest.mark.parametrize("dark", [False, True])
def test_in_light_and_dark(lab: FrontEnd, dark: bool):
    shown = lab.open(["%load_ext fastmagic", "%diagram training", '%%dot\na [label="<b>"]\na -> b'], dark=dark)
    shown.run_all()
    for cell in (1, 2):
        shown.show(cell)
        svg = shown.output(cell).locator("svg[role=img]")
        expect(svg).to_be_visible()
        assert svg.evaluate(CONTRAST) > 4.5
    assert shown.output(2).get_by_text("<b>").count() >= 1
    shown.screenshot("diagram")
    assert shown.console == []


def test_on_a_slide(rise: FrontEnd):
    shown = rise.open(["%load_ext fastmagic", "%diagram training"])
    shown.run_all()
    shown.show(1)
    svg = shown.output(1).locator("svg[role=img]")
    expect(svg).to_be_visible()
    box = svg.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 1280
    shown.screenshot("diagram")
