"""Where a task waits until somebody tells it to go on."""

from __future__ import annotations

import trio


class Parking:
    """A place for one task. A wake that finds nobody is remembered, once: none is lost, one may be for nothing."""

    __slots__ = ("_task", "_woken")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
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

    def wake(self) -> None:
        """Let the task go on; synchronous."""
        task, self._task = self._task, None
        if task is None:
            self._woken = True
        else:
            trio.lowlevel.reschedule(task)
