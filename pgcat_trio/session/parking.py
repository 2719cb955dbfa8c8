"""Where a task waits until somebody tells it to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Parking:
    """A place for one task. A wake that finds nobody is remembered, once: none is lost, one may be for nothing."""

    __slots__ = ("_scope", "_task", "_woken")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._scope: trio.CancelScope | None = None
        self._woken = False

    async def park(self) -> None:
        """Wait for `wake`. After `Cancelled` the place is free again."""
        if self._woken:
            self._woken = False
            await trio.lowlevel.checkpoint()
            return
        self._task = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def park_or(self, receive: Callable[[], Awaitable[bytes]]) -> bytes | None:
        """Wait for `wake` (None) or for bytes, whichever comes first. Cancelling ``receive`` must lose nothing."""
        if self._woken:
            self._woken = False
            return None
        with trio.CancelScope() as self._scope:
            try:
                return await receive()
            finally:
                self._scope = None
        return None

    def wake(self) -> None:
        """Let the task go on; synchronous."""
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)
        elif self._scope is not None:
            self._scope.cancel()
        else:
            self._woken = True
