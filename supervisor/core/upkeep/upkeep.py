"""Upkeep: sweeps from time to time and when asked, backups, and no removal while one is made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import attrs
import trio

from supervisor.core.retention import Going
from supervisor.core.storage.disk import Disk
from supervisor.core.upkeep.backup import Backup
from supervisor.core.upkeep.removal import remove_files
from supervisor.core.upkeep.sweep import Sweep
from supervisor.errors import SupervisorError
from supervisor.log import Log
from supervisor.model import Content, Deployment, PlaceKind, PlaceRef

FIRST = 60.0  # seconds after the start of a core: visitors come first


@attrs.define(eq=False, kw_only=True)
class Upkeep:
    """What keeps DataDir in order. interval: seconds between two sweeps, 0 for none."""

    sweep: Sweep
    disk: Disk
    backups: Backup
    log: Log
    interval: float = 0.0
    _turn: trio.Lock = attrs.field(factory=trio.Lock)  # of sweeps, and of backups among each other
    _backing_up: bool = False

    async def run(self) -> None:
        """Sweep from time to time, until cancelled."""
        if not self.interval:
            return
        await trio.sleep(min(FIRST, self.interval))
        while True:
            try:
                await self.clean()
            except SupervisorError as error:
                self.log.warning("sweep-failed", reason=error.message)
            except Exception as error:
                self.log.error("sweep-broke", exc=error)
            await trio.sleep(self.interval)

    async def clean(self, *, dry: bool = False) -> Sequence[Going]:
        """Remove what is not needed and give it; dry: only give what would go."""
        if self._backing_up:
            raise SupervisorError(
                "unavailable",
                "A backup is being made; nothing is removed meanwhile.",
                hint="Try again when it is done.",
                recoverable=True,
            )
        async with self._turn, self.sweep.holding():
            going = await self.sweep.look()
            if dry:
                return going
            gone = await self.sweep.clear(going)
        if gone:
            known = sum(each.size or 0 for each in gone)
            self.log.info("swept", things=len(gone), bytes=known)
        return gone

    async def backup(self) -> AsyncGenerator[bytes, None]:
        """Yield a backup, piece by piece. What it has begun with stays until it is done."""
        if self._backing_up:
            raise SupervisorError("unavailable", "Another backup is being made.", recoverable=True)
        self._backing_up = True
        try:
            async with self._turn, aclosing(self.backups.pieces()) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self._backing_up = False

    # -- what somebody does not need any more -------------------------------------------------

    async def deserted(self, deployment: Deployment) -> None:
        """Remove the directory of a deployment that nobody runs or will run."""
        keeper = self.sweep.registry.numbered(deployment.content)
        if keeper is None or deployment.id == keeper.content.active_deployment:
            return
        if self._backing_up:
            return  # the next sweep finds it
        place = PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(deployment.content, deployment.id))
        try:
            if not await self.sweep.claims.claim([deployment.content]):
                return  # another node has the content now, and may serve from there
            stored = await self.sweep.journal.get("content", deployment.content)
            if isinstance(stored, Content) and deployment.id == stored.active_deployment:
                return  # it was activated, but the answer was lost
            await self.sweep.executor().remove(place)
        except SupervisorError as error:
            self.log.warning("directory-left", deployment=deployment.id, error=error.message)

    async def removed(self, content: Content) -> None:
        """Remove the files of a content that was removed; raises SupervisorError."""
        if not self._backing_up:
            sweep = self.sweep
            await remove_files(content, sweep.executor(), sweep.journal, sweep.data_dir)
