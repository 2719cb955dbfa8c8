"""Prepared statements in transaction mode: a client's names for them, translated on the way to a backend.

Only names change; a client's texts and values are passed on as they came. What a backend lacks is put before the
message that needs it, and the replies to that are swallowed. A client's message never goes without a message to the
server in its place: so it is the server that keeps replies in order, skips what comes after an error, and says what is
wrong, in its own words. A name that is nobody's goes to the server as it is, which knows no such statement either.

A client may go by the columns that its statement had when it was prepared, and a server refuses to return others. What
a backend lacks, it prepares of the tables as they are: so what follows waits until it has said which columns there are
(`session.checks`).

The unnamed statement stays unnamed. A client that uses it on a backend on which it has not prepared it is given it
again first, or what others have left there is closed: nobody gets at another's.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Final

from ..pool.backend import NO_EFFECT
from ..routing.effects import Effect
from ..wire import codes, encode
from ..wire.replies import COPY_END
from ..wire.statements import (
    BIND_COMPLETE,
    CLOSE_COMPLETE,
    DEALLOCATE_STAND_IN,
    DEFINE_STAND_IN,
    OUT_OF_DATE,
    PARSE_COMPLETE,
    STAND_IN,
    UNANSWERED,
    close,
    describe,
    messages_in,
    name_at,
    parse,
    prepare,
)
from ..wire.suspicions import may_deallocate
from .checks import Check
from .deallocate import clears, deallocated
from .names import FOREIGN, NOTHING, OWN
from .preparing import CANONICAL, Preparing

if TYPE_CHECKING:
    from ..pool.backend import Backend
    from .names import Names

FORGETFUL: Final = Effect.PREPARED | Effect.UNKNOWN
"""Effects that may take prepared statements from a backend."""

_BIND: Final = struct.Struct("!BIB")  # with the empty name of a portal
_ENDS: Final = frozenset((codes.SYNC, codes.QUERY, codes.FUNCTION_CALL))
_AMONG_COPY_DATA: Final = frozenset(b"dcfSH")
_NOTHING: Final = b"\0\0\0"  # an empty text is allowed even in a failed transaction


def bind_renamed(bind: bytes, name: bytes, other: bytes) -> bytes:
    """A Bind of the unnamed portal, with whatever follows it, for a statement of another name."""
    length = int.from_bytes(bind[1:5]) + len(other) - len(name)
    return _BIND.pack(codes.BIND, length, 0) + other + bind[6 + len(name) :]


def translate(
    names: Names,
    batch: bytes,
    backend: Backend,
    effects: Effect,
    *,
    unsynced: bool,
    check: Check | None = None,
    waits: bool = True,
) -> tuple[bytes, Check | None]:
    """The bytes for a backend; what it will reply to them is noted in its codec.

    ``effects`` are those of `FORGETFUL` that the batch has; ``unsynced`` is what `wire.downstream` says about it. To be
    called right before `ExpectedReplies.sent`. Raises `TooManyStatements`, which must end the session.

    With a `Check` these are the bytes for the beginning of the batch: what is from there on is to be translated when it
    is known what has become of the check, which is given then. Unless it ``waits``, there is none.
    """
    expected = backend.upstream.expected
    forgetful = effects is not NO_EFFECT
    unknown = forgetful and bool(effects & Effect.UNKNOWN)
    if unknown:
        backend.prepared.forget()
    if expected.settled:
        names.settle()
    translation = _Translation(names, batch, backend, forgetful, check, waits=waits)
    if unsynced and batch[0] not in _AMONG_COPY_DATA and not (batch[:1] == b"P" and batch[5:6] == b"\0"):
        translation.guard_unnamed()  # later may be too late: the server skips what comes after an error
    try:
        for kind, start, stop in messages_in(batch):
            translation.message(kind, start, stop)
            if translation.check is not None:
                break
        if unsynced or translation.check is not None:
            translation.guard_unnamed()
    except BaseException:
        backend.prepared.forget()  # nothing of this will be sent
        raise
    if translation.needs_notes or unsynced or expected.unsynced:
        translation.put_down()
    if unknown:
        backend.prepared.forget()
    return translation.result(), translation.check


class _Translation(Preparing):
    """One batch on its way to one backend."""

    __slots__ = ("_begun", "_checked", "_copying", "_forgetful", "_leads", "_waits", "check")

    def __init__(
        self, names: Names, batch: bytes, backend: Backend, forgetful: bool, checked: Check | None, *, waits: bool
    ) -> None:
        super().__init__(batch, backend, names)
        expected = backend.upstream.expected
        self._copying = expected.copy_in
        self._forgetful = forgetful
        self._begun = expected.unsynced  # the request has messages before this one
        self._checked = checked  # for its first message
        self._waits = waits
        self._leads = True  # all so far may be among copy data
        self.check: Check | None = None
        """What must be known before more can be translated."""

    def message(self, kind: int, start: int, stop: int) -> None:
        """Translate a message, if its name must change, and note its replies."""
        if kind == codes.BIND or kind == codes.DESCRIBE:
            self._use(kind, start, stop)
        elif kind == codes.PARSE:
            self._parse(start, stop)
        elif kind == codes.CLOSE:
            self._close(start, stop)
        elif kind == codes.EXECUTE:
            if self._names.doubtful:
                # What is answered after it tells that it was done.
                self._insert(stop, close(STAND_IN))
                self._note(CLOSE_COMPLETE)
                self._names.doubtful = False
        elif kind == codes.QUERY:
            self._query(start, stop)
            self._end()
        elif kind == codes.FUNCTION_CALL or (kind == codes.SYNC and not self._copying):
            # A Sync among copy data is ignored.
            self._end()
        elif kind in (codes.COPY_DONE, codes.COPY_FAIL):
            self._copying = False
            if self._leads:
                self._begin_at(stop)
        self._leads &= kind in _AMONG_COPY_DATA
        self._begun = kind not in _ENDS

    def _end(self) -> None:
        self._end_request()
        self._names.doubtful = False

    # -- messages --------------------------------------------------------------------------------------------------

    def _use(self, kind: int, start: int, stop: int) -> None:
        """Bind, Describe: what they name must be there."""
        batch, names = self._batch, self._names
        at = name_at(batch, start, stop)
        if not at:
            return
        end = batch.find(0, at, stop)
        name = batch[at:end]
        text = (names.text(name) if self._forgetful and kind == codes.BIND else None) or b""
        doomed = deallocated(text)
        if doomed in names.by_name:
            self._deallocate(start, stop, at, end, doomed)
            return
        if not name:
            self._bring_unnamed(start)
        elif name in names.by_name:
            ours = self._bring(name, start)
            if self.check is not None:
                return
            self._rename(start, stop, at, end, ours)
        else:
            self._keep_apart(name, start)
        self._forget(text)

    def _bring(self, name: bytes, start: int) -> bytes:
        """A client's statement must be there for the message that starts here: by the name that is returned."""
        statement = self._names.at_home(name)
        checked = None if start else self._checked
        if checked is not None and checked.refused:
            return OUT_OF_DATE
        if checked is not None and statement.name in self._prepared.names:
            return statement.name
        if not self._prepared.has(statement, self._request):
            definition = self._prepare(statement)
            if checked is None and statement.may_change and self._may_wait:
                self.check = Check(start, statement, self._prepared)
                self._notes.append(self.check.note)
                self._end_with(start, definition + describe(statement.name) + encode.FLUSH)
            elif statement.description is None:
                self._insert(start, definition + self._learn(name, statement))
            else:
                self._insert(start, definition)
        return statement.name

    @property
    def _may_wait(self) -> bool:
        """False where nothing can be prepared anyway, or copy data may be read."""
        expected = self._backend.upstream.expected
        fails = expected.skipping or (expected.settled and self._backend.upstream.status == codes.FAILED)
        return self._waits and not (fails or self._copying or max(expected.queue, default=0) >= COPY_END)

    def _forget(self, text: bytes) -> None:
        """A text that may take names away, and statements from the backend, is about to be run."""
        if clears(text):
            self._note(UNANSWERED, undo=self._names.clear())
            self._names.doubtful = True
        if may_deallocate(text):
            self._prepared.forget()

    def _deallocate(self, start: int, stop: int, at: int, end: int, doomed: bytes) -> None:
        """A Bind of DEALLOCATE of a name that the client has. Who binds it is taken to execute it."""
        statement = self._names.statements.find(DEALLOCATE_STAND_IN + bytes(3))
        self._insert(start, DEFINE_STAND_IN)
        self._note(CLOSE_COMPLETE)
        self._note(PARSE_COMPLETE)
        if not self._prepared.has(statement, self._request):
            self._insert(start, self._prepare(statement))
        self._rename(start, stop, at, end, statement.name)
        self._note(UNANSWERED, undo=self._names.undefine(doomed))
        self._names.doubtful = True

    def guard_unnamed(self) -> None:
        """Close what others have left, before the batch, where nothing can keep the server from doing it."""
        if self._names.unnamed_there == FOREIGN:
            self._names.unnamed_there = NOTHING
            self._put_before(close(b""), CLOSE_COMPLETE, partial(setattr, self._names, "unnamed_there", FOREIGN))

    def _bring_unnamed(self, start: int) -> None:
        """Bind or Describe of the unnamed statement: what the client has must be there, and nothing else."""
        names = self._names
        if self._begun:
            self.guard_unnamed()
        if names.unnamed_there == OWN:
            return
        if names.unnamed is not None:
            self._insert(start, parse(b"", names.unnamed))
            self._note(PARSE_COMPLETE, undo=partial(setattr, names, "unnamed_there", NOTHING))
        elif names.unnamed_there == FOREIGN:
            self._insert(start, close(b""))
            self._note(CLOSE_COMPLETE)
        if names.unnamed is None or not self._begun:
            names.unnamed_there = OWN  # else it may be skipped: the next request brings it again

    def _parse(self, start: int, stop: int) -> None:
        batch = self._batch
        end = batch.find(0, start + 5, stop)
        name = batch[start + 5 : end] if end >= 0 else b""
        if not name:
            self._parse_unnamed(start, stop)
        elif name in self._names.by_name:
            # The server shall find that out: in a failed transaction, or of a faulty text, it says other things.
            self._insert(start, prepare(name, _NOTHING))
            self._note(CLOSE_COMPLETE)
            self._note(PARSE_COMPLETE)
            self._note(PARSE_COMPLETE, forward=True)
            self._backend.effects |= Effect.PREPARED
        else:
            statement = self._names.statements.find(batch[end + 1 : stop])
            undo = self._names.define(name, statement)
            # A server analyses a text at each Parse, for its tables may have changed: so this is one, too.
            self._replace(start, stop, self._prepare(statement, undo) + self._learn(name, statement))

    def _parse_unnamed(self, start: int, stop: int) -> None:
        """It takes the place of the last one also if it fails, but not if it is skipped after an error."""
        tail = self._batch[start + 6 : stop] if stop <= len(self._batch) else None
        reached = None
        if self._begun:
            self.guard_unnamed()
            self._insert(start, close(STAND_IN))
            reached = self._note(CLOSE_COMPLETE)
        undo = self._names.define_unnamed(tail)
        self._note(PARSE_COMPLETE, forward=True, undo=lambda: undo(reached is not None and not reached.answered))

    def _close(self, start: int, stop: int) -> None:
        batch, names = self._batch, self._names
        at = name_at(batch, start, stop)
        name = batch[at : batch.find(0, at, stop)] if at else b""
        undo = None
        if name in names.by_name:
            undo = names.undefine(name)
        elif at and not name:
            if self._begun:
                self.guard_unnamed()
            undo = partial(names.define_unnamed(None), True)
        # The server has no statement of that name and answers all the same: only ours must not be closed by it.
        if name.startswith(CANONICAL):
            self._replace(start, stop, close(STAND_IN))
        self._note(CLOSE_COMPLETE, forward=True, undo=undo)

    def _query(self, start: int, stop: int) -> None:
        """DEALLOCATE in the simple protocol: the same in the extended one, which leads to the same replies."""
        names = self._names
        names.define_unnamed(None)
        if not self._forgetful:
            return
        text = self._batch[start + 5 : stop - 1]
        name = deallocated(text)
        if name is not None and name in names.by_name:
            bind_and_execute = encode.message(b"B", bytes(8)) + encode.message(b"E", bytes(5))
            run = parse(b"", DEALLOCATE_STAND_IN + bytes(3)) + bind_and_execute + encode.SYNC
            self._replace(start, stop, DEFINE_STAND_IN + run)
            for kind in (CLOSE_COMPLETE, PARSE_COMPLETE, PARSE_COMPLETE, BIND_COMPLETE):
                self._note(kind)
            self._note(UNANSWERED, undo=names.undefine(name))
            names.unnamed_there = FOREIGN  # a text that nobody gave
        else:
            self._forget(text)
