"""How far long work is: one convention for everything that takes a while.

`progress` is a function called with (items done, items in all) from the thread that works, and where it raises, the
work ends; `True` for a bar, for work that takes longer than a second; `None` for neither.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Progress = Callable[[int, int], object]


@contextlib.contextmanager
def reporting(progress: Progress | bool | None, what: str = "Looking at images") -> Iterator[Progress | None]:
    """Give the function that is told how far the work is, or `None`, and clear the bar at its end.

    Args:
        progress: as described above.
        what: stands before the bar.

    >>> with reporting(lambda done, total: print(done, "of", total)) as report:
    ...     report(1, 2)
    1 of 2
    """
    if not progress:
        yield None
    elif callable(progress):
        yield progress
    else:
        from tqdm.auto import tqdm

        with tqdm(total=0, desc=what, delay=1, leave=False) as bar:

            def report(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield report
