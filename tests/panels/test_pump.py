"""A cell that runs hears the browser, on whichever kernel this environment has, and loses nothing that was not for it."""

from __future__ import annotations

import pytest

PANEL = """
import time
from fastmagic.panels.kernel import pumping
from fastmagic.panels.panel import Panel, Still

class Bell(Panel):
    rung, broken = [], None
    def on_ring(self, times=1):
        if times < 0:
            raise ValueError("a bell cannot be unrung")
        self.rung.append(times)
        return {"rung": len(self.rung)}
    def still(self):
        return Still("<p>bell</p>", "bell")

Bell._esm = "export default {}"
bell = Bell()
print(bell.comm.comm_id)
"""
LISTEN = """
with pumping() as pump:
    print("listening", flush=True)
    end = time.monotonic() + 10
    while 7 not in bell.rung and time.monotonic() < end:
        pump(0.05)
print("heard", bell.rung)
"""


def listen(kernel, code):
    """Start a cell that listens, and return when it does."""
    cell = kernel.start(code)
    kernel.until(lambda m: m["parent_header"].get("msg_id") == cell and "listening" in m["content"].get("text", ""))
    return cell


@pytest.fixture
def bell(kernel):
    return kernel.run(PANEL).strip().splitlines()[-1]


def test_a_running_cell_answers_a_panel(kernel, bell):
    cell = listen(kernel, LISTEN)
    assert kernel.ask(bell, "ring", times=1)["answer"] == {"rung": 1}
    assert kernel.ask(bell, "ring", times=-1)["error"] == "ValueError: a bell cannot be unrung"
    assert "does not know 'msg'" in kernel.ask(bell, "msg", callback="x")["error"]  # a widget's own method
    kernel.tell(bell, "ring", times=7)
    assert "heard [1, 7]" in kernel.finish(cell)


def test_cells_sent_meanwhile_run_afterwards_in_their_order(kernel, bell):
    first = listen(kernel, LISTEN + "order = ['first']")
    later = [kernel.queue(f"order.append({i})\nprint(order)") for i in range(3)]
    kernel.tell(bell, "ring", times=7)
    kernel.finish(first)
    assert "['first', 0]" in kernel.finish(later[0])
    assert "['first', 0, 1]" in kernel.finish(later[1])
    assert "['first', 0, 1, 2]" in kernel.finish(later[2])


def test_cells_sent_meanwhile_are_not_run_when_the_cell_fails(kernel, bell):
    first = listen(kernel, LISTEN + "raise RuntimeError('stop here')")
    later = [kernel.queue("ran_after_the_error = True") for _ in range(2)]
    kernel.tell(bell, "ring", times=7)
    assert kernel.reply(first)["ename"] == "RuntimeError"
    assert [kernel.reply(cell)["status"] in ("aborted", "error") for cell in later] == [True, True]
    assert "False" in kernel.run("print('ran_after_the_error' in globals())")


def test_a_page_reloaded_meanwhile_learns_of_kernel_and_widgets(kernel, bell):
    cell = listen(kernel, LISTEN)
    kernel.ask(bell, "ring", times=1)  # the cell runs
    asked = kernel.send("kernel_info_request", {})
    assert kernel.reply(asked, 10)["implementation"] == "ipython"
    asked = kernel.send("comm_info_request", {"target_name": "jupyter.widget"})
    assert bell in kernel.reply(asked, 10)["comms"]
    kernel.tell(bell, "ring", times=7)
    kernel.finish(cell)


def test_an_interrupt_reaches_a_listening_cell(kernel, bell):
    cell = listen(kernel, LISTEN)
    kernel.ask(bell, "ring", times=1)
    kernel.manager.interrupt_kernel()
    assert kernel.reply(cell)["ename"] == "KeyboardInterrupt"
    kernel.until_idle(cell)
    assert "still here" in kernel.run("print('still here')")


def test_a_listening_block_inside_another_listens_with_it(kernel, bell):
    code = "with pumping() as outer:\n    with pumping() as inner:\n        print(inner is outer)"
    assert "True" in kernel.run(code)


def test_without_a_kernel_there_is_nothing_to_hear():
    from fastmagic.panels.kernel import in_kernel, pumping

    with pumping() as pump:
        assert pump is None
    assert not in_kernel()
