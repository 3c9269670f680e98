"""The unit that `supervisor setup --systemd` writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.errors import SupervisorError
from supervisor.parent import unit
from supervisor.settings import configure, parse


def unit_of(text: str, *, file: str | None = None) -> str:
    return unit.text(configure(parse(text, "s.gcfg"), file=file), {}, program="/opt/it/supervisor")


def test_nothing_is_left_to_fill_in() -> None:
    text = unit_of("")
    assert "@" not in text.replace(
        "@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap", ""
    )
    assert "ExecStart=/opt/it/supervisor serve\n" in text
    assert "reload --socket /run/content-supervisor/core.sock\n" in text


def test_of_devices_only_that_of_a_contents_own_network_is_added() -> None:
    lines = [line for line in unit_of("").splitlines() if line.startswith("Device")]
    assert ["DevicePolicy=closed", "DeviceAllow=/dev/net/tun rw"] == lines


def test_settings_elsewhere_are_named_and_a_home_can_be_written() -> None:
    text = unit_of(
        "[Server]\nDataDir = /home/shiny\nRunDir = /srv/run%1\n", file="/srv/supervisor.gcfg"
    )
    assert "ExecStart=/opt/it/supervisor serve --config /srv/supervisor.gcfg\n" in text
    assert "reload --socket /srv/run%%1/core.sock\n" in text
    assert "ReadWritePaths=/home/shiny\n" in text


def test_a_path_that_a_unit_cannot_name_is_refused() -> None:
    with pytest.raises(SupervisorError, match="cannot stand in a unit") as caught:
        unit_of('[Server]\nRunDir = "/srv/my run"\n')
    assert "settings-invalid" == caught.value.code


def test_a_unit_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / unit.NAME
    assert unit.installed(str(path)) is None
    path.write_text(unit_of(""))
    assert unit_of("") == unit.installed(str(path))
    path.write_text("[Service]\n")
    with pytest.raises(SupervisorError, match="left as it is"):
        unit.installed(str(path))
