"""Owns the way out: our parameters are checked against the truth table and written as a request body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kit.errors import InvalidInput
from kit.provider.kinds import Kind, kind_named
from kit.provider.params import DEFAULT_MODEL, Param

if TYPE_CHECKING:
    from kit.provider.codes import Dialect

__all__ = ["check_params", "is_custom", "submit_body"]

_CUSTOM = ("style", "title", "lyrics")


def check_params(kind: str, dialect: Dialect, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return `params` (our names) normalised: nothing empty, defaults filled in, in the table's order.

    Raises `InvalidInput` that names the value, the limit and a call that would work (provider-api 1.6, 3.1 to 6.1).
    """
    entry = kind_named(kind)
    _refuse_unknown(entry, dialect, params)
    given = {name: value for name, value in params.items() if value is not None and not _blank(value)}
    if entry.name == "music":
        given = {"instrumental": False, "model": DEFAULT_MODEL} | given
    checked = {p.name: _checked(p, dialect, given) for p in entry.params if p.name in given}
    for param in entry.params:
        if param.required and param.name not in checked:
            raise InvalidInput(param.name, params.get(param.name), param.doc, param.example)
    if entry.name == "music":
        _check_music(entry, checked)
    return checked


def is_custom(params: Mapping[str, Any]) -> bool:
    """Return True where these music parameters mean the providers' custom mode."""
    return bool(params.get("instrumental")) or any(params.get(name) for name in _CUSTOM)


def submit_body(kind: str, dialect: Dialect, params: Mapping[str, Any], callback_url: str) -> dict[str, Any]:
    """Return the JSON object of the submit request, exactly as documented (provider-api 3.1, 4.1, 5.1, 6.1)."""
    entry = kind_named(kind)
    checked = check_params(kind, dialect, params)
    body = {p.wire: checked[p.name] for p in entry.params if p.name in checked}
    if entry.name == "music":
        body["customMode"] = is_custom(checked)
        if dialect == "kie" and "prompt" not in body:
            # kie's schema wants a prompt always; without a voice nobody sings it (provider-api 6.1).
            body["prompt"] = checked["style"]
    # Always sent: some schemas call it optional, and the server refuses without it (provider-api 14 row 24).
    return body | {"callBackUrl": callback_url}


def _blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _refuse_unknown(kind: Kind, dialect: Dialect, params: Mapping[str, Any]) -> None:
    known = [p.name for p in kind.params if dialect in p.dialects]
    for name, value in params.items():
        if name not in known:
            raise InvalidInput(str(name), value, f"a parameter that {dialect} has: {', '.join(known)}", kind.example)


def _checked(param: Param, dialect: Dialect, given: Mapping[str, Any]) -> Any:
    value, model = given[param.name], given.get("model")
    if param.type == "bool":
        if not isinstance(value, bool):
            raise InvalidInput(param.name, value, "True or False", param.example)
        return value
    if param.type in ("float", "int"):
        return _number(param, value)
    return _text(param, value, dialect, model)


def _number(param: Param, value: Any) -> float | int:
    low, high = param.minimum or 0, param.maximum or 0
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    # The comparison comes first: it refuses NaN, infinity and integers that no float can hold.
    if not real or not low <= value <= high or abs(round(value, 2) - value) > 1e-9:
        expected = f"a number from {low:g} to {high:g} with at most two decimals"
        raise InvalidInput(param.name, value, expected, param.example)
    rounded: float | int = round(value, 2)
    return rounded


def _text(param: Param, value: object, dialect: Dialect, model: object) -> str:
    limit, options = param.limit(dialect, model if isinstance(model, str) else None), param.options(dialect)
    if not isinstance(value, str):
        raise InvalidInput(param.name, value, f"text: {param.doc}", param.example)
    if options and value not in options:
        raise InvalidInput(param.name, value, f"one of {', '.join(options)}", param.example)
    if limit is not None and len(value) > limit:
        suffix = f" for model {model}" if isinstance(param.max_length, Mapping) else ""
        expected = f"at most {limit} characters{suffix}, and this has {len(value)}"
        raise InvalidInput(param.name, value, expected, param.example)
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise InvalidInput(param.name, value, "text that can be written as UTF-8", param.example)
    if param.required and (value != value.strip() or not value.isprintable()):
        raise InvalidInput(param.name, value, "an id without spaces or control characters", param.example)
    return value


def _check_music(kind: Kind, checked: Mapping[str, Any]) -> None:
    custom = is_custom(checked)
    if custom and "description" in checked:
        expected = "to stand alone; beside style, title, lyrics or instrumental=True, say it in style="
        raise InvalidInput("description", checked["description"], expected, kind.example)
    needed = _needed(checked) if custom else ("description",)
    for name in needed:
        if name not in checked:
            _refuse_missing(kind, name, custom)
    for param in kind.params:
        if param.name in checked:
            _check_mode(param, checked, custom)
    if "persona_model" in checked and "persona" not in checked:
        _refuse(kind, "persona_model", checked, "to come with persona=")


def _needed(checked: Mapping[str, Any]) -> tuple[str, ...]:
    return ("style", "title") if checked["instrumental"] else ("style", "title", "lyrics")


def _refuse_missing(kind: Kind, name: str, custom: bool) -> None:
    param = kind.param(name)
    if param is None:
        return
    why = " (style, title and instrumental=True or lyrics belong together)" if custom else ""
    raise InvalidInput(name, None, f"text: {param.doc}{why}", param.example)


def _check_mode(param: Param, checked: Mapping[str, Any], custom: bool) -> None:
    value = checked[param.name]
    if param.mode == "custom" and not custom:
        raise InvalidInput(param.name, value, "to come with style= and title=", param.example)
    if param.models and checked["model"] not in param.models:
        expected = f"model {' or '.join(param.models)}, and this is {checked['model']}"
        raise InvalidInput(param.name, value, expected, param.example)


def _refuse(kind: Kind, name: str, checked: Mapping[str, Any], expected: str) -> None:
    param = kind.param(name)
    raise InvalidInput(name, checked[name], expected, param.example if param else kind.example)
