"""Values: NamedTuple, without what the one of typing costs at every start.

That one compiles the text of every annotation and checks it, for some fifty classes in each run. Here the names are
enough; type checkers see typing's.
"""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any, Dict, Tuple

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:

    class _Values(type):
        def __new__(cls, name: str, bases: Tuple[type, ...], members: Dict[str, Any]) -> type:
            fields = members.get("__annotations__", {})
            defaults = [members.pop(field) for field in tuple(fields) if field in members]
            made = namedtuple(name, fields, defaults=defaults, module=members["__module__"])
            for key, member in members.items():
                if key not in ("__module__", "__dict__", "__weakref__"):
                    setattr(made, key, member)
            return made

    NamedTuple = type.__new__(_Values, "NamedTuple", (), {})
