"""Values: NamedTuple, without what the one of typing costs at every start.

That one compiles code for each class and checks the text of every annotation, for some fifty classes in each run: a
tenth of what a check needs beyond the libraries. Here a class is a tuple with names, and all classes share the code.
Type checkers see typing's.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Dict, Iterator, Tuple

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:

    class _Tuple(tuple):
        __slots__ = ()
        _fields = ()
        _field_defaults = {}

        def __new__(cls, *values: Any, **named: Any) -> _Tuple:
            if named or len(values) != len(cls._fields):
                values = (*values, *cls._rest(len(values), named))
            return tuple.__new__(cls, values)

        @classmethod
        def _rest(cls, given: int, named: Dict[str, Any]) -> Iterator[Any]:
            """The values of the fields from number `given` on. Raises TypeError."""
            for field in cls._fields[given:]:
                if field in named:
                    yield named.pop(field)
                elif field in cls._field_defaults:
                    yield cls._field_defaults[field]
                else:
                    raise TypeError(f"{cls.__name__} has no value for {field}")
            if named or given > len(cls._fields):
                raise TypeError(f"{cls.__name__} was given more than its fields: {', '.join(named) or given}")

        def __getnewargs__(self) -> Tuple[Any, ...]:
            return tuple(self)  # for copies: tuple's own would give the values as one

        def __repr__(self) -> str:
            return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._asdict().items())})"

        def _asdict(self) -> Dict[str, Any]:
            return dict(zip(self._fields, self))

        def _replace(self, **named: Any) -> _Tuple:
            values = [named.pop(field, value) for field, value in zip(self._fields, self)]
            if named:
                raise TypeError(f"{type(self).__name__} has no {', '.join(named)}")
            return tuple.__new__(type(self), values)

    class _Values(type):
        def __new__(cls, name: str, bases: Tuple[type, ...], members: Dict[str, Any]) -> type:
            fields = tuple(members.get("__annotations__", ()))
            defaults = {field: members[field] for field in fields if field in members}
            members.update(zip(fields, map(property, map(itemgetter, range(len(fields))))))
            members.update(__slots__=(), _fields=fields, _field_defaults=defaults)
            return type(name, (_Tuple,), members)

    NamedTuple = type.__new__(_Values, "NamedTuple", (), {})
