"""Named tuples as JSON has them, and back, checked by their type hints.

Owns the mapping; must not know what the values mean. A Secret is left out on the way there and made up on the way back.
"""

from __future__ import annotations

import enum
import math
import socket
from typing import Any, Dict, Union, get_args, get_origin, get_type_hints

from ..net.resolve import Address, is_ip_literal
from ..settings import Secret

MAX_NUMBER = 1e12  # a Unix time is a thousandth of it
PASSWORD = "the password of a played user"  # no text of a server is taken for it

Json = Any


class WrongValue(Exception):
    """What JSON has is not what the type wants; the text says where and what."""


def to_plain(value: Any) -> Json:
    """A value made of named tuples, tuples, dicts, enums, addresses and scalars, as JSON has it."""
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(value, "_fields"):
        return {name: to_plain(item) for name, item in zip(value._fields, value) if not isinstance(item, Secret)}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: to_plain(item) for name, item in value.items()}
    return value


def from_plain(kind: Any, value: Json, where: str) -> Any:
    """A value of type `kind` out of JSON. Raises WrongValue."""
    if kind in (str, int, bool, float):
        return _scalar(kind, value, where)
    if kind is Address:
        return _address(from_plain(str, value, where), where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Union:  # Optional
        return None if value is None else from_plain(arguments[0], value, where)
    if origin is tuple:
        any_length = arguments[1:] == (...,)
        if not isinstance(value, list) or not (any_length or len(value) == len(arguments)):
            raise WrongValue(f"{where} is not a list of the right length")
        kinds = arguments[:1] * len(value) if any_length else arguments
        return tuple(from_plain(one, item, f"{where}[{n}]") for n, (one, item) in enumerate(zip(kinds, value)))
    if origin is dict:
        return {name: from_plain(arguments[1], item, f"{where}.{name}") for name, item in _dict(value, where).items()}
    if issubclass(kind, enum.Enum):
        try:
            return kind(value)
        except ValueError:
            raise WrongValue(f"{where} is none of {', '.join(item.value for item in kind)}") from None
    return _named_tuple(kind, _dict(value, where), where)


def _named_tuple(kind: Any, given: Dict[str, Json], where: str) -> Any:
    hints = get_type_hints(kind)
    known: Dict[str, Any] = {}
    for name in kind._fields:
        place = f"{where}.{name}".lstrip(".")
        if hints[name] is Secret:
            known[name] = Secret(PASSWORD)
        elif name in given:
            known[name] = from_plain(hints[name], given[name], place)
        elif name not in kind._field_defaults:
            raise WrongValue(f"{place} is missing")
    return kind(**known)


def _scalar(kind: Any, value: Json, where: str) -> Any:
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise WrongValue(f"{where} is not a {_NAMES[kind]}")
    if kind in (int, float) and not (math.isfinite(value) and abs(value) <= MAX_NUMBER):
        raise WrongValue(f"{where} is too large")
    return float(value) if kind is float else value


_NAMES = {str: "text", int: "whole number", bool: "yes or no", float: "number"}


def _dict(value: Json, where: str) -> Dict[str, Json]:
    if not isinstance(value, dict):
        raise WrongValue(f"{where or 'it'} is not an object")
    return value


def _address(text: str, where: str) -> Address:
    host, _, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") else host
    if not is_ip_literal(host) or not (port.isascii() and port.isdigit() and int(port[:6]) < 65536):
        raise WrongValue(f"{where} is not an address with its port")
    if ":" in host:
        return Address(socket.AF_INET6, (host, int(port), 0, 0))
    return Address(socket.AF_INET, (host, int(port)))
