"""Who may do how much: buckets that refill, for addresses and seats. In memory alone; addresses only as salted hashes."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict

MOST_BUCKETS = 50_000
NEWCOMERS = 150  # who may join a room from one address at once: a school comes through one


class Buckets:
    """Token buckets by name: `burst` at once, then `rate` a second.

    Example:
        >>> buckets = Buckets(burst=2, rate=1)
        >>> [buckets.take("a", now) for now in (0, 0, 0, 1.5)]
        [True, True, False, True]
    """

    def __init__(self, burst: float, rate: float):
        self.burst, self.rate = burst, rate
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, now: float) -> bool:
        """Take one, and tell whether there was one."""
        left, then = self._left.pop(name, (self.burst, now))
        left = min(self.burst, left + (now - then) * self.rate)
        self._left[name] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > MOST_BUCKETS:  # the one longest unused is full again, or nearly
            self._left.popitem(last=False)
        return left >= 1


class Addresses:
    """Turns addresses into names that cannot be turned back, and are other ones after a restart."""

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(16)

    def name(self, address: str) -> str:
        return hashlib.blake2b(address.encode(), key=self._salt, digest_size=12).hexdigest()
