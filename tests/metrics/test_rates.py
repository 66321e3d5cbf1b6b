"""Rates over a window: alerts where a count by hand says so, once a crossing, and what is refused."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcli.errors import UsageError
from ftcli.metrics.rates import Rate, parse

OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


def alerts(text: str, records: list[bool]) -> list[tuple[int, int]]:
    """Number of the record and count of each alert."""
    rate = Rate(parse(text))
    found = [rate.add(number, has) for number, has in enumerate(records, 1)]
    return [(alert.record, alert.count) for alert in found if alert is not None]


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 12), st.integers(1, 19), st.sampled_from(sorted(OPERATORS)))
def test_an_alert_wherever_a_rate_counted_anew_crosses(records: list[bool], window: int, part: int, op: str) -> None:
    share = part / 20
    beyond = [
        OPERATORS[op](sum(records[end - window : end]) * 20, part * window) for end in range(window, len(records) + 1)
    ]
    crossed = [i for i, now in enumerate(beyond) if now and (i == 0 or not beyond[i - 1])]
    wanted = [(i + window, sum(records[i : i + window])) for i in crossed]
    assert alerts(f"x{op}{share}/{window}", records) == wanted


@given(st.lists(st.booleans(), max_size=80), st.integers(1, 10), st.integers(1, 10), st.integers(0, 10))
def test_with_a_band_the_rate_has_been_back_between_two_alerts(
    records: list[bool], window: int, share: int, back: int
) -> None:
    back = min(back, share)
    for op, low, high in ((">=", back, share), ("<=", 10 - share, 10 - back)):
        own = records if op == ">=" else [not has for has in records]
        bound, to = (high, low) if op == ">=" else (low, high)
        found = alerts(f"x{op}{bound / 10}:{to / 10}/{window}", own)
        counts = [sum(own[end - window : end]) if end >= window else None for end in range(len(own) + 1)]
        armed, wanted = True, []
        for end, count in enumerate(counts):
            if count is None:
                continue
            signed = count if op == ">=" else window - count
            if signed * 10 >= share * window:
                if armed:
                    wanted.append((end, count))
                armed = False
            elif signed * 10 <= back * window:
                armed = True
        assert found == wanted


def test_once_a_crossing_and_again_after_it_went_back() -> None:
    bad, fine = True, False
    assert alerts("x>0.5/4", [bad, bad, bad]) == [], "the window is not full"
    assert alerts("x>0.5/4", [bad, bad, bad, fine]) == [(4, 3)]
    there_and_back = [bad, bad, bad, fine, bad, fine, bad, bad]
    assert alerts("x>0.5/4", there_and_back) == [(4, 3), (8, 3)]
    assert alerts("x>0.5:0.25/4", there_and_back) == [(4, 3)], "it went back to a half only"
    assert alerts("x < 0.5 / 2", [bad, bad, fine, fine]) == [(4, 0)]
    assert alerts("x>0.3/10", [bad] * 3 + [fine] * 7) == [], "three of ten are no more than 0.3"
    assert alerts("x>=0.3/10", [bad] * 3 + [fine] * 7) == [(10, 3)]


@given(st.text(min_size=1).map(str.strip).filter(bool), st.integers(1, 1000))
def test_any_label_can_be_watched(label: str, window: int) -> None:
    watch = parse(f"{label} > 0.25 / {window}")
    assert (watch.label, watch.op, watch.share, watch.window) == (label, ">", 0.25, window)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("negative", "no rate to watch"),
        ("negative>0.3", "no rate to watch"),
        (">0.3/100", "no rate to watch"),
        ("negative=0.3/100", "no rate to watch"),
        ("negative>0.3/-5", "no rate to watch"),
        ("negative>30/100", "30 % is 0.3"),
        ("negative>0.3/0", "from 1 to"),
        ("negative>0.3/100000000", "from 1 to"),
        ("negative>1/10", "for no rate"),
        ("negative<0/10", "for no rate"),
        ("negative>=0/10", "for every rate"),
        ("negative<=1/10", "for every rate"),
        ("negative>0.3:0.4/10", "below 0.3"),
        ("negative<0.3:0.2/10", "above 0.3"),
    ],
)
def test_what_is_no_watch(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert said in caught.value.message
