"""What has been written a moment ago, by name and time."""

from __future__ import annotations

import pytest

from pgcat_trio.routing.activity import Activity


def settled() -> Activity:
    """One that is past its beginning at 10 s."""
    activity = Activity(init_delay_s=0.1, ttl_s=900, mutation_ttl_s=0.05)
    activity.heard(9.0)
    activity.heard(10.0)
    return activity


def test_beginning_and_silence() -> None:
    activity = Activity(init_delay_s=0.1, ttl_s=900, mutation_ttl_s=0.05)
    for begin in (5.0, 1000.0):
        activity.heard(begin)
        assert activity.why_primary({"t"}, begin + 0.09) == "the pool has just come to life"
        activity.heard(begin + 0.09)
        assert activity.why_primary({"t"}, begin + 0.11) is None
        activity.heard(begin + 50)
        assert activity.why_primary({"t"}, begin + 50) is None


@pytest.mark.parametrize(
    ("written", "read", "primary"),
    [
        ("t", "t", True),
        ("t", "u", False),
        ("s.t", "s.t", True),
        ("s.t", "t", True),
        ("t", "s.t", True),
        ("r.t", "s.t", False),
        ("s.t", "s.u", False),
        ("public.t", "public.u", False),
    ],
)
def test_names(written: str, read: str, primary: bool) -> None:
    activity = settled()
    activity.wrote({written}, 10.0)
    assert (activity.why_primary({"other", read}, 10.049) is not None) is primary
    assert activity.why_primary({"other", read}, 10.051) is None


def test_a_later_write_counts() -> None:
    activity = settled()
    activity.wrote({"t"}, 10.0)
    activity.wrote({"t"}, 10.04)
    assert activity.why_primary({"t"}, 10.08) == "t has been written a moment ago"


def test_what_is_over_is_forgotten() -> None:
    activity = settled()
    for number in range(5000):
        activity.wrote({f"t{number}"}, 10.0 + number)
    assert activity.why_primary({"t4999"}, 5009.01) is not None
    assert len(activity._written) < 1002
