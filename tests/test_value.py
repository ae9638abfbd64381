from __future__ import annotations

import copy
import typing
from typing import Any, Dict, Tuple

import pytest

from check_lync_presence.value import NamedTuple

if typing.TYPE_CHECKING:
    from typing import NamedTuple as Ours
else:
    Ours = NamedTuple


class Mine(Ours):
    """Ours."""

    first: int
    second: str = "two"
    third: Tuple[int, ...] = ()

    @property
    def doubled(self) -> int:
        return self.first * 2

    def __str__(self) -> str:
        return f"{self.first}!"


class Theirs(typing.NamedTuple):
    """Typing's."""

    first: int
    second: str = "two"
    third: Tuple[int, ...] = ()


GIVEN: Tuple[Tuple[Tuple[Any, ...], Dict[str, Any]], ...] = (
    ((1,), {}),
    ((1, "b"), {}),
    ((1, "b", (3,)), {}),
    ((), {"first": 1}),
    ((1,), {"third": (3,)}),
    ((), {"third": (3,), "second": "b", "first": 1}),
    ((), {}),  # from here on TypeErrors
    ((), {"second": "b"}),
    ((1,), {"first": 1}),
    ((1,), {"fourth": 4}),
    ((1, "b", (3,), 4), {}),
    ((1, "b", (3,)), {"third": ()}),
)


def made(kind: Any, values: Tuple[Any, ...], named: Dict[str, Any]) -> object:
    try:
        return tuple(kind(*values, **named))
    except TypeError:
        return TypeError


@pytest.mark.parametrize(("values", "named"), GIVEN)
def test_a_value_is_made_of_what_typing_makes_one_of(values: Tuple[Any, ...], named: Dict[str, Any]) -> None:
    assert made(Mine, values, named) == made(Theirs, values, named)


def test_a_value_reads_as_one_of_typing_does() -> None:
    mine, theirs = Mine(1, third=(3,)), Theirs(1, third=(3,))
    assert (mine.first, mine.second, mine.third) == (theirs.first, theirs.second, theirs.third)
    assert repr(mine) == repr(theirs).replace("Theirs", "Mine")
    assert mine._asdict() == theirs._asdict()
    assert (mine._fields, mine._field_defaults) == (theirs._fields, theirs._field_defaults)
    assert typing.get_type_hints(Mine) == typing.get_type_hints(Theirs)
    assert tuple(mine) == tuple(theirs)
    assert hash(mine) == hash(theirs)


def test_a_class_keeps_its_own_properties_and_methods() -> None:
    assert Mine(2).doubled == 4
    assert str(Mine(2)) == "2!"
    assert Mine.__doc__ == "Ours."


def test_a_value_with_something_else_in_it_is_another_value() -> None:
    mine = Mine(1)
    assert mine._replace(second="b") == Mine(1, "b")
    assert mine == Mine(1)
    with pytest.raises(TypeError):
        mine._replace(**{"fourth": 4})  # type: ignore[arg-type]


def test_a_value_is_not_changed() -> None:
    for name in ("first", "fourth"):
        with pytest.raises(AttributeError):
            setattr(Mine(1), name, 2)


def test_a_copy_is_equal() -> None:
    mine = Mine(1, "b", (3,))
    assert copy.deepcopy(mine) == mine
    assert isinstance(copy.copy(mine), Mine)
