"""What a shell has seen: the user's variables, and which were made or used last."""

from __future__ import annotations

import types
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar

from ..errors import NotFoundError, did_you_mean
from .settings import FastMagic


class Session:
    """What fastmagic knows of one IPython shell: its variables, its settings, and what was made or used last."""

    _of_shell: ClassVar[weakref.WeakKeyDictionary[Any, Session]] = weakref.WeakKeyDictionary()

    def __init__(self, shell: Any):
        self._shell = weakref.ref(shell)
        self.recent: list[str] = []

    @classmethod
    def of(cls, shell: Any) -> Session:
        """Return the one session of a shell."""
        if shell not in cls._of_shell:
            cls._of_shell[shell] = cls(shell)
        return cls._of_shell[shell]

    @property
    def shell(self) -> Any:
        return self._shell()

    @property
    def namespace(self) -> dict[str, Any]:
        """The user's variables."""
        shell = self._shell()
        return shell.user_ns if shell is not None else {}

    @property
    def settings(self) -> FastMagic:
        return FastMagic.attach(self._shell())

    def variables(self, *type_names: str) -> list[str]:
        """Return the names of the user's variables of the given types (class names along the MRO), newest last."""
        hidden = getattr(self._shell(), "user_ns_hidden", {})
        return [
            name
            for name, value in self.namespace.items()
            if not name.startswith("_") and not (name in hidden and hidden[name] is value) and is_a(value, type_names)
        ]

    def newest(self, *type_names: str) -> tuple[str, Any] | None:
        """Return name and value of the newest variable of a type: one a magic made or used, else the last defined."""
        candidates = self.variables(*type_names)
        for name in [*reversed(self.recent), *reversed(candidates)]:
            if name in candidates:
                return name, self.namespace[name]
        return None

    def holds(self, expression: str, type_names: Sequence[str]) -> bool:
        """Tell whether `name` or `name.attribute` is a value of one of the types."""
        name, *attributes = expression.split(".")
        value = self.namespace.get(name)
        for attribute in attributes:
            value = getattr(value, attribute, None)
        return value is not None and is_a(value, type_names)

    def saw(self, name: str) -> None:
        """Remember that a variable was made or used just now."""
        if name in self.recent:
            self.recent.remove(name)
        self.recent.append(name)

    def bind(self, name: str, value: Any) -> None:
        """Give the user a variable."""
        shell = self._shell()
        if shell is not None:
            shell.push({name: value})
            self.saw(name)

    def value(self, expression: str) -> Any:
        """Return the value of `name` or `name.attribute`.

        Raises:
            FastmagicError: there is no such variable or attribute; names the closest.
        """
        name, *attributes = expression.split(".")
        if name not in self.namespace:
            raise NotFoundError(f"There is no variable {name!r}.", did_you_mean(name, self.variables()))
        value = self.namespace[name]
        for attribute in attributes:
            if not hasattr(value, attribute):
                hint = did_you_mean(attribute, (n for n in dir(value) if not n.startswith("_")))
                raise NotFoundError(f"{name!r} ({type(value).__name__}) has no attribute {attribute!r}.", hint)
            value = getattr(value, attribute)
        self.saw(name)
        return value


def is_a(value: Any, type_names: Sequence[str]) -> bool:
    """Tell whether a value is of a type by the name of its classes, so that nothing is imported to find out."""
    if not type_names:
        return not isinstance(value, types.ModuleType)
    return any(cls.__name__ in type_names for cls in type(value).__mro__)
