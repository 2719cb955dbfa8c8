"""Cancel keys: process ids that several clients have, and secrets that tell them apart."""

from __future__ import annotations

from pgcat_trio.session.cancel import CancelKeys
from pgcat_trio.wire import codes


class Target:
    def cancel(self) -> None:
        raise AssertionError("nobody asked for it")


def test_one_pid_for_several() -> None:
    keys, targets = CancelKeys(), [Target() for _ in range(3)]
    issued = [keys.issue(codes.PROTOCOL_3_0, target, 7) for target in targets]
    assert {pid for pid, _ in issued} == {7}
    assert [keys.find(*key) for key in issued] == targets
    keys.withdraw(*issued[1])
    assert [keys.find(*key) for key in issued] == [targets[0], None, targets[2]]
    for key in issued:
        keys.withdraw(*key)
    assert [keys.find(*key) for key in issued] == [None] * 3


def test_pids_of_our_own_are_nobody_elses() -> None:
    keys = CancelKeys()
    issued = [keys.issue(codes.PROTOCOL_3_0, Target()) for _ in range(1000)]
    assert len({pid for pid, _ in issued}) == 1000
    assert all(0 < pid < 2**31 for pid, _ in issued)


def test_wrong_secrets_find_nobody() -> None:
    keys = CancelKeys()
    pid, secret = keys.issue(codes.PROTOCOL_3_2, Target(), 7)
    assert len(secret) == 32
    for wrong in (b"", secret[:-1], secret + b"x", bytes(32)):
        assert keys.find(pid, wrong) is None
    assert keys.find(pid + 1, secret) is None


def test_a_key_may_be_withdrawn_twice() -> None:
    keys = CancelKeys()
    key = keys.issue(codes.PROTOCOL_3_0, Target())
    keys.withdraw(*key)
    keys.withdraw(*key)
    assert keys.find(*key) is None
