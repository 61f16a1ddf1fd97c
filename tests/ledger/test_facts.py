"""The records and their rows."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import LedgerError
from kit.ledger.facts import FACT_TYPES, Fact, Row, fact_type, from_row, new_id, request_key, to_row
from tests.ledger.stories import any_fact, departure, intent, params


@pytest.mark.parametrize("name", FACT_TYPES)
@given(data=st.data())
def test_every_fact_comes_back_from_its_row(name: str, data: st.DataObject) -> None:
    """Any fact of any type is the same after it was a row, to the microsecond."""
    fact = data.draw(any_fact(FACT_TYPES[name]))

    assert name == fact_type(fact)
    assert fact == from_row(to_row(fact))


def test_a_moment_in_another_zone_is_the_same_moment_in_utc() -> None:
    """What is stored is the instant; it comes back in UTC."""
    far = datetime(2026, 3, 1, 20, 30, tzinfo=timezone(timedelta(hours=8)))
    back = from_row(to_row(departure().__class__(task="t1", at=far)))

    assert back is not None
    assert (datetime(2026, 3, 1, 12, 30, tzinfo=UTC), UTC) == (back.at, back.at.tzinfo)


def test_a_row_is_always_valid_unicode() -> None:
    """Half characters, which JSON from the network may carry, are replaced; pairs become what they stand for."""
    row = to_row(intent(title="a\ud800b \ud83c\udfb9"))

    assert "a\ufffdb 🎹" in row.body.encode("utf-8").decode()


@given(
    st.builds(Row, st.text(max_size=5), st.sampled_from([*FACT_TYPES, "later"]), st.integers(), st.text(), st.none())
)
def test_a_row_of_another_version_is_skipped(row: Row) -> None:
    """No row raises: unknown types and shapes are left out, fields added later are ignored."""
    logging.getLogger("kit.ledger.facts").setLevel(logging.CRITICAL)

    assert from_row(row) is None or row.type in FACT_TYPES


def test_fields_added_by_a_later_version_are_ignored() -> None:
    """A known type with more in it is read as far as it is known."""
    row = to_row(departure())

    assert departure() == from_row(row._replace(body='{"mood":"blue"}'))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_a_parameter_that_is_not_json_is_refused_by_name(value: Any) -> None:
    """The error names the task and the fact, before anything is written."""
    with pytest.raises(LedgerError, match=r"intent of task t1 .* not JSON"):
        to_row(intent(params={"weight": value}))


def test_a_time_without_a_zone_is_refused() -> None:
    """A naive time is an error that shows how to write it."""
    with pytest.raises(LedgerError, match=r"datetime\.now\(UTC\)"):
        to_row(Fact.__subclasses__()[1](task="t1", at=datetime(2026, 1, 1)))  # noqa: DTZ001


@given(params)
def test_one_wish_has_one_key(wish: dict[str, Any]) -> None:
    """Order, absent values and 1 against 1.0 do not make another wish; provider, kind and values do."""
    key = request_key("sandbox", "music", wish)

    assert key == request_key("sandbox", "music", dict(reversed(wish.items())))
    assert key == request_key("sandbox", "music", wish | {"not given": None})
    assert key != request_key("sandbox", "video", wish)
    assert key != request_key("sandbox-kie", "music", wish)
    assert key != request_key("sandbox", "music", wish | {"style": "another one, longer than any drawn"})
    assert request_key("p", "k", {"weight": 1.0}) == request_key("p", "k", {"weight": 1})
    assert request_key("p", "k", {"instrumental": True}) != request_key("p", "k", {"instrumental": 1})


def test_ids_are_unique_and_sort_by_time() -> None:
    """Ten thousand ids of one moment are different, short, and in the order of their making."""
    ids = [new_id() for _ in range(10_000)]

    assert ids == sorted(set(ids))
    assert {13} == {len(id) for id in ids}
    assert {"t"} == {id[0] for id in ids}
