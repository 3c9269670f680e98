"""The settings as the running core has them: shown, reloaded, and followed by whoever uses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from supervisor.core.control import Control
from supervisor.settings import Settings
from supervisor.settings.effective import effective
from supervisor.settings.sections import SECTIONS

Follower = Callable[[Settings], None]


@attrs.define(eq=False)
class Configured:
    """The settings in force; kinds: the classes of the plugins' sections."""

    settings: Settings
    control: Control
    kinds: Sequence[Any] = ()
    _followers: list[Follower] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.control.configured = self._take

    def follow(self, follower: Follower) -> None:
        """Call it with the settings now, and again whenever `config reload` has changed them."""
        self._followers.append(follower)
        follower(self.settings)

    def _take(self, settings: Settings) -> None:
        self.settings = settings
        for follower in self._followers:
            follower(settings)

    def shown(self) -> list[dict[str, Any]]:
        """Give every key with its value, where that comes from and what a change needs."""
        every = effective(self.settings.entries, [*SECTIONS, *self.kinds])
        return [one.as_json() for one in every]

    async def reload(self) -> dict[str, Any]:
        """Let the file be read again; give the keys that are in force now, and those that wait.

        Raises SupervisorError where the file does not hold: then nothing has changed.
        """
        answer = await self.control.configure()
        return {name: answer.get(name) or [] for name in ("applied", "kept", "warnings")}
