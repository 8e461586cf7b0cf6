"""Frozen dataclasses to and from plain JSON values; unknown and missing names are errors."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from clover.errors import CheckpointError, ConfigError

ConfigT = TypeVar("ConfigT")


def to_plain(config: Any) -> Any:
    """A config as dictionaries, lists and scalars, ready for JSON."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: to_plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, (list, tuple)):
        return [to_plain(item) for item in config]
    if isinstance(config, dict):
        return {name: to_plain(value) for name, value in config.items()}
    if config is None or isinstance(config, (str, int, float, bool)):
        return config
    raise ConfigError(f"a config cannot hold {type(config).__name__} {config!r}")


def flat(plain: Any) -> dict[str, Any]:
    """The single values of nested dictionaries by dotted name; lists are single values."""
    if not isinstance(plain, Mapping) or not plain:
        return {"": plain}
    leaves: dict[str, Any] = {}
    for key, part in plain.items():
        leaves |= {f"{key}.{name}" if name else str(key): value for name, value in flat(part).items()}
    return leaves


def check_finite(plain: Any, path: Path) -> None:
    """Refuse a NaN or an infinity, which Python's JSON takes and no setting of a model means.

    Args:
        plain: What was read of a file.
        path: The file.

    Raises:
        CheckpointError: there is one; the message names it.
    """
    waiting = [("", plain)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise CheckpointError(f"{path}: {name} is {value}; it must be a finite number")
        items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        waiting += [(f"{name}.{key}" if name else str(key), item) for key, item in items]


def read_versioned(cls: type[ConfigT], path: Path, *, what: str, version: str, remedy: str) -> ConfigT:
    """Read a config from a JSON file that says by ``format`` of which version it is.

    Args:
        cls: The dataclass.
        path: The file.
        what: It is a config of, for messages.
        version: The only one that is read.
        remedy: What to do about another file, for messages.

    Raises:
        CheckpointError: it cannot be read, is of another version, or holds what the dataclass refuses.
    """
    try:
        plain: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}); {remedy}") from error
    if not isinstance(plain, dict) or plain.get("format") != version:
        raise CheckpointError(f"{path} is not {what} of a version this program reads ({version}); {remedy}")
    check_finite(plain, path)
    try:
        return from_plain(cls, plain, where=path.name)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def from_plain(cls: type[ConfigT], plain: Any, *, where: str = "") -> ConfigT:
    """Rebuild a config of type ``cls`` from what `to_plain` gave.

    Args:
        cls: The dataclass.
        plain: A mapping with a value for any of its fields; fields left out keep their default.
        where: Name of the place the values come from, for error messages.

    Raises:
        ConfigError: an unknown field, a value of the wrong type, or a value the dataclass refuses.
    """
    where = where or cls.__name__
    if not isinstance(plain, Mapping):
        raise ConfigError(f"{where} must be an object with named fields, not {plain!r}")
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    unknown = sorted(set(plain) - set(names))
    if unknown:
        raise ConfigError(f"{where} has no field {', '.join(map(repr, unknown))}; it has {', '.join(names)}")
    values = {name: _convert(hints[name], plain[name], f"{where}.{name}") for name in names if name in plain}
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Check and convert one JSON value to the type that a field asks for."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type, hint), value, where=where)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        options = [option for option in arguments if option is not type(None)]
        return _convert(next((option for option in options if _can_be(option, value)), options[0]), value, where)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{where} is {value!r}; it can be {', '.join(map(repr, arguments))}")
    if origin is tuple and isinstance(value, list):
        item_hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(item_hints) != len(value):
            raise ConfigError(f"{where} has {len(value)} values; it takes {len(item_hints)}")
        return tuple(_convert(item, entry, where) for item, entry in zip(item_hints, value, strict=True))
    if origin is dict and isinstance(value, Mapping):
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    raise ConfigError(f"{where} is {value!r}; it must be of type {getattr(hint, '__name__', hint)}")


def _can_be(option: Any, value: Any) -> bool:
    """Whether a dataclass has all the fields that a value names: what tells the options of a union apart."""
    if not dataclasses.is_dataclass(option) or not isinstance(value, Mapping):
        return False
    return set(value) <= {field.name for field in dataclasses.fields(option)}
