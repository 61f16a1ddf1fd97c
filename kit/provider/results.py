"""Owns finding links and takes in an answer, whatever its spelling; decides nothing about success."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kit.provider.reading import clean, number, usable_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kit.provider.kinds import Asset, Kind

__all__ = ["Link", "Take", "find_links", "find_takes"]

MAX_ITEMS = 50


@dataclass(frozen=True)
class Link:
    """Name one file of a result: alternative absolute http(s) urls, direct ones first (provider-api 17)."""

    role: str
    index: int
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Take:
    """Describe one track of a song; duration in seconds, urls absolute http(s)."""

    index: int
    audio_id: str
    title: str | None = None
    tags: str | None = None
    model: str | None = None
    prompt: str | None = None
    duration_s: float | None = None
    image_url: str | None = None
    audio_url: str | None = None
    stream_url: str | None = None


def find_takes(kind: Kind | None, data: Mapping[str, Any], response: Mapping[str, Any]) -> tuple[Take, ...]:
    """Return the tracks of a music answer, in its order (provider-api 6.2, 6.3, 14 row 21)."""
    if kind is None or kind.name != "music":
        return ()
    return tuple(_take(index, item) for index, item in _items(data, response))


def find_links(
    kind: Kind | None, data: Mapping[str, Any], response: Mapping[str, Any], takes: tuple[Take, ...]
) -> tuple[tuple[Link, ...], list[str]]:
    """Return the usable links and notes on those that are none (provider-api 14 rows 2, 3, 11)."""
    if kind is None:
        return (), []
    if kind.name == "music":
        found = [_link(asset, index, item) for index, item in _items(data, response) for asset in kind.assets]
        missing = [f"take {t.index} has no usable link" for t in takes if t.audio_url is None and t.stream_url is None]
        return tuple(link for link in found if link.urls), missing
    asset = kind.assets[0]
    return _many(asset, data, response) if asset.many else _one(asset, data, response)


def _one(asset: Asset, data: Mapping[str, Any], response: Mapping[str, Any]) -> tuple[tuple[Link, ...], list[str]]:
    written = [holder.get(name) for holder in (data, response) for name in _names(asset)]
    link = Link(asset.role, 0, _urls(written))
    odd = [f"no link: {clean(value, 80)!r}" for value in written if isinstance(value, str) and not usable_url(value)]
    return ((link,) if link.urls else ()), odd


def _many(asset: Asset, data: Mapping[str, Any], response: Mapping[str, Any]) -> tuple[tuple[Link, ...], list[str]]:
    lists = (holder.get(name) for holder in (data, response) for name in _names(asset))
    values = next((_as_list(value) for value in lists if value), [])[:MAX_ITEMS]
    links = [Link(asset.role, index, _urls([value])) for index, value in enumerate(values)]
    odd = [f"no link: {clean(value, 80)!r}" for value in values if not usable_url(value)]
    return tuple(link for link in links if link.urls), odd


def _link(asset: Asset, index: int, item: Mapping[str, Any]) -> Link:
    return Link(asset.role, index, _urls([item.get(name) for name in _names(asset)]))


def _names(asset: Asset) -> list[str]:
    """Return both spellings, alternating, so that direct links stay before streams whatever the spelling."""
    pairs = zip(asset.callback_fields, asset.details_fields, strict=True)
    return list(dict.fromkeys(name for pair in pairs for name in pair))


def _urls(values: list[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(url for value in values if (url := usable_url(value))))


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _items(data: Mapping[str, Any], response: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    lists = (data.get("data"), response.get("sunoData"), response.get("data"), data.get("sunoData"))
    chosen = next((value for value in lists if isinstance(value, list) and value), [])
    return ((index, item) for index, item in enumerate(chosen[:MAX_ITEMS]) if isinstance(item, dict))


def _take(index: int, item: Mapping[str, Any]) -> Take:
    return Take(
        index=index,
        audio_id=(clean(_first(item, "id", "audioId", "audio_id"), 256) or "").strip(),
        title=clean(item.get("title")),
        tags=clean(item.get("tags")),
        model=clean(_first(item, "model_name", "modelName"), 100),
        prompt=clean(item.get("prompt"), 10_000),
        duration_s=number(item.get("duration")),
        image_url=_url(item, "image_url", "imageUrl", "source_image_url", "sourceImageUrl"),
        audio_url=_url(item, "audio_url", "audioUrl", "source_audio_url", "sourceAudioUrl"),
        stream_url=_url(item, "stream_audio_url", "streamAudioUrl", "source_stream_audio_url", "sourceStreamAudioUrl"),
    )


def _first(item: Mapping[str, Any], *names: str) -> Any:
    return next((item[name] for name in names if item.get(name) is not None), None)


def _url(item: Mapping[str, Any], *names: str) -> str | None:
    return next((url for name in names if (url := usable_url(item.get(name)))), None)
