from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pgcat_trio.routing.cache import TextCache


def test_the_least_recently_used_text_goes_first() -> None:
    cache: TextCache[int] = TextCache(2)
    cache.put(b"a", 1)
    cache.put(b"b", 2)
    assert cache.get(b"a") == 1
    cache.put(b"c", 3)
    assert (cache.get(b"a"), cache.get(b"b"), cache.get(b"c")) == (1, None, 3)
    assert (cache.hits, cache.misses, len(cache)) == (3, 1, 2)


def test_a_budget_of_bytes_bounds_the_texts() -> None:
    cache: TextCache[int] = TextCache(100, max_total_bytes=10)
    for name in (b"aaaa", b"bbbb", b"cc", b"dd"):
        cache.put(name, 0)
    assert cache.total_bytes == 8
    assert cache.get(b"aaaa") is None


def test_too_long_a_text_is_not_kept_and_drives_nothing_out() -> None:
    cache: TextCache[int] = TextCache(100, max_text_bytes=4)
    cache.put(b"a", 1)
    cache.put(b"bbbbb", 2)
    assert (cache.get(b"a"), cache.get(b"bbbbb"), len(cache)) == (1, None, 1)


def test_a_new_value_replaces_the_old_one() -> None:
    cache: TextCache[int] = TextCache(2)
    cache.put(b"a", 1)
    cache.put(b"a", 2)
    assert (cache.get(b"a"), len(cache), cache.total_bytes) == (2, 1, 1)


def test_no_entries_at_all() -> None:
    cache: TextCache[int] = TextCache(0)
    cache.put(b"a", 1)
    assert (cache.get(b"a"), cache.total_bytes) == (None, 0)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=6))))
def test_bounds_hold_and_the_count_of_bytes_is_right(calls: list[tuple[bool, bytes]]) -> None:
    cache: TextCache[int] = TextCache(4, max_total_bytes=12, max_text_bytes=5)
    kept: set[bytes] = set()
    for is_put, text in calls:
        if is_put:
            cache.put(text, 1)
            kept.add(text)
        else:
            cache.get(text)
    present = [text for text in kept if cache.get(text) is not None]
    assert len(present) == len(cache) <= 4
    assert sum(map(len, present)) == cache.total_bytes <= 12


def test_looking_in_vain_for_what_may_be_kept_otherwise_does_not_count() -> None:
    cache: TextCache[int] = TextCache(2)
    cache.put(b"a", 1)
    cache.put(b"b", 2)
    assert (cache.find(b"a"), cache.find(b"c")) == (1, None)
    assert (cache.hits, cache.misses) == (1, 0)
    cache.put(b"c", 3)
    assert (cache.peek(b"a"), cache.peek(b"b")) == (1, None)  # to find it was to use it


def test_a_cleared_cache_is_empty_and_goes_on_counting() -> None:
    cache: TextCache[int] = TextCache(2)
    cache.put(b"a", 1)
    cache.get(b"a")
    cache.clear()
    assert (cache.get(b"a"), len(cache), cache.total_bytes) == (None, 0, 0)
    assert (cache.hits, cache.misses) == (1, 1)
