"""Which of many like events are logged."""

from __future__ import annotations

from pgcat_trio.observe.repeats import Repeats


def test_like_events_are_logged_once_a_second_and_counted() -> None:
    repeats = Repeats()
    logged = [now / 10 for now in range(30) if not repeats.pass_over("refused", now / 10)]
    assert logged == [0.0, 1.0, 2.0]
    assert repeats.take_count() == {"repeated": 27}
    assert repeats.take_count() == {}


def test_another_text_is_another_event() -> None:
    repeats = Repeats()
    assert not repeats.pass_over("refused", 0.0)
    assert not repeats.pass_over("timed out", 0.1)
    assert not repeats.pass_over("refused", 0.2)
    assert repeats.take_count() == {}
