"""The plugin gives its executor where the configuration asks for it."""

from __future__ import annotations

import pytest
from supervisor_podman import plugin

from supervisor import Context, SupervisorError


def context(**section: list[str]) -> Context:
    settings = {"podman": section} if section else {}
    return Context(data_dir="/d", run_dir="/r", settings=settings, rootless=True)


def test_without_its_section_there_is_no_executor() -> None:
    assert [] == [*plugin.supervisor_executors(context())]


def test_with_its_section_there_is_one() -> None:
    [executor] = plugin.supervisor_executors(context(image=["x"]))
    assert "podman" == executor.name


def test_a_section_without_an_image_is_refused() -> None:
    with pytest.raises(SupervisorError, match="no Image"):
        plugin.supervisor_executors(context(network=["host"]))
