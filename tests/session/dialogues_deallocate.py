"""Conversations that take prepared statements away by DEALLOCATE: see `dialogues`."""

from __future__ import annotations

from typing import Final

from support.client import bind, describe_portal, parse
from support.extended import ONE, SYNC, TWO, describe, query, run, use

DEALLOCATES: Final = {
    "deallocate": [
        parse(ONE, "a") + parse(TWO, 'B "b"') + parse(ONE, "c") + parse(TWO, "A") + SYNC,
        query("deallocate A"),
        use("a") + SYNC,
        use("A") + SYNC,
        run('deallocate "A"') + SYNC,
        use("A") + SYNC,
        query('DEALLOCATE PREPARE "B ""b""" ; '),
        use('B "b"') + SYNC,
        run("deallocate c") + use("c") + SYNC,
        use("c") + SYNC,
        query("deallocate c"),
    ],
    "deallocate with a comment": [
        parse(ONE, "a") + parse(ONE, "b") + parse(ONE, "c") + SYNC,
        query("/* because */ deallocate a"),
        use("a") + SYNC,
        query("deallocate b -- because"),
        use("b") + SYNC,
        query("-- because\ndeallocate /* all */ c"),
        use("c") + SYNC,
    ],
    "deallocate all with a comment": [
        parse(ONE, "a") + parse(ONE, "b") + parse(ONE, "c") + SYNC,
        query("/* because */ deallocate all"),
        use("a") + SYNC,
        parse(ONE, "a") + SYNC,
        query("discard /* really */ all"),
        use("a") + SYNC,
    ],
    "deallocate among others": [
        parse(ONE, "a") + parse(ONE, "b") + parse(ONE, "c") + SYNC,
        query("select 1; deallocate a"),
        use("a") + SYNC,
        query("begin; deallocate b; commit"),
        use("b") + SYNC,
        query("deallocate c; select 1/0"),
        use("c") + SYNC,
    ],
    "deallocate all among others": [
        parse(ONE, "a") + parse(ONE, "b") + parse(ONE, "c") + SYNC,
        query("select 1; deallocate all; select 2"),
        use("a") + SYNC,
    ],
    "deallocate all after an error": [
        parse(ONE, "a") + SYNC,
        query("select 1/0; deallocate all"),
        use("a") + SYNC,
    ],
    "deallocate all before an error": [
        parse(ONE, "a") + SYNC,
        query("deallocate all; select 1/0"),
        use("a") + SYNC,
    ],
    "deallocate in one batch": [
        parse(ONE, "a") + use("a") + run("deallocate a") + use("a") + SYNC,
        parse(ONE, "a") + use("a") + run("deallocate a") + parse(TWO, "a") + use("a") + SYNC,
        use("a") + SYNC,
        run("deallocate a") + use("x") + SYNC,
        use("a") + SYNC,
    ],
    "deallocate, skipped": [
        parse(ONE, "a") + SYNC,
        use("x") + run("deallocate a") + SYNC,
        use("a") + SYNC,
        run("deallocate a") + SYNC,
    ],
    "deallocate, only parsed": [
        parse(ONE, "a") + SYNC,
        parse("deallocate a") + describe() + SYNC,
        use("a") + SYNC,
        parse("deallocate all") + describe() + SYNC,
        use("a") + SYNC,
    ],
    "deallocate, bound and described only": [
        parse(ONE, "a") + parse("deallocate a", "b") + parse("deallocate all", "c") + SYNC,
        bind(name="b") + describe_portal() + use("x") + SYNC,
        use("a") + SYNC,
        bind(name="c") + describe_portal() + use("x") + SYNC,
        use("a") + SYNC,
    ],
    "deallocate by name": [
        parse(ONE, "a") + parse("deallocate a", "b") + SYNC,
        use("b") + SYNC,
        use("a") + SYNC,
        use("b") + SYNC,
        parse(ONE, "a") + SYNC,
        use("b") + SYNC,
        use("a") + SYNC,
    ],
    "deallocate all by name": [
        parse(ONE, "a") + parse("deallocate all", "b") + SYNC,
        use("b") + SYNC,
        use("a") + SYNC,
        use("b") + SYNC,
    ],
}
