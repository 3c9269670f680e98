"""The section [Podman] of the configuration, as values."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs

from supervisor import SupervisorError


@attrs.frozen(kw_only=True)
class PodmanSettings:
    """The section [Podman], a field per key. Keys that may be repeated are tuples.

    image: `runtime=reference`, or a reference alone for all other runtimes. command: podman with
    its own options, as a shell splits them. network: as for `podman run --network`. volume and
    option: given to `podman run` as --volume, and as they are.
    """

    section: ClassVar[str] = "Podman"

    image: tuple[str, ...] = ()
    command: str = "podman"
    network: str = "none"
    volume: tuple[str, ...] = ()
    option: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The command, split."""
        return tuple(shlex.split(self.command))

    @property
    def images(self) -> Mapping[str, str]:
        """Runtime → reference; "" is the image of every other runtime."""
        return dict(_pair(value) for value in self.image)

    def image_of(self, runtime: str) -> str:
        """Give the image for a runtime. Raises SupervisorError("settings-invalid")."""
        image = self.images.get(runtime) or self.images.get("")
        if not image:
            raise invalid(f"it names no Image for the runtime {runtime!r}")
        return image


def read(section: Mapping[str, Sequence[str]]) -> PodmanSettings:
    """Read the section as Context.section gives it; SupervisorError("settings-invalid")."""
    given = {key: values[-1] for key, values in section.items() if values}
    settings = PodmanSettings(
        image=tuple(section.get("image", ())),
        command=given.get("command", "podman"),
        network=given.get("network", "none"),
        volume=tuple(section.get("volume", ())),
        option=tuple(section.get("option", ())),
    )
    if not settings.image:
        raise invalid("it names no Image, as in `Image = r=localhost/r:4.2`")
    try:
        if not settings.words:
            raise ValueError("no words")
    except ValueError as error:
        raise invalid(f"Command {settings.command!r} is not a command ({error})") from None
    return settings


def invalid(text: str) -> SupervisorError:
    """Make the error for a wrong section."""
    return SupervisorError("settings-invalid", f"[Podman]: {text}")


def _pair(value: str) -> tuple[str, str]:
    """Split `runtime=reference`; without a runtime it counts for all others."""
    runtime, equals, reference = value.partition("=")
    return (runtime.strip().lower(), reference.strip()) if equals else ("", value.strip())
