"""Whether DataDir outlives the container: what doctor and the first lines of serve say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.volume import Volume, look

DEFAULT = "/var/lib/content-supervisor"
ROOT = "1 0 0:50 / / rw - overlay overlay rw\n"


def mounted(at: str) -> str:
    return ROOT + f"2 1 254:0 /volumes/x {at} rw - ext4 /dev/vda rw\n"


@pytest.fixture
def container(tmp_path: Path) -> str:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".containerenv").touch()
    return str(tmp_path)


def test_a_data_dir_on_the_root_of_a_container_is_lost_with_it(container: str) -> None:
    said = look("/data", default=DEFAULT, root=container, mountinfo=ROOT)
    assert said is not None
    assert "/data is no volume: it is lost with this container" == said.text
    assert "Mount one: docker run --volume content-supervisor:/data." == said.fix


def test_a_volume_is_as_good_at_the_data_dir_as_above_it(container: str) -> None:
    good = Volume(text="/data/one is a volume")
    for at in ("/data/one", "/data"):
        assert good == look("/data/one", default=DEFAULT, root=container, mountinfo=mounted(at))


def test_a_volume_with_a_space_in_its_path_is_found(container: str) -> None:
    said = look("/a b/c", default=DEFAULT, root=container, mountinfo=mounted("/a\\040b"))
    assert Volume(text="/a b/c is a volume") == said


def test_a_volume_on_the_default_directory_does_not_help_a_data_dir_elsewhere(
    container: str,
) -> None:
    said = look("/data", default=DEFAULT, root=container, mountinfo=mounted(DEFAULT))
    assert said is not None
    assert said.text.endswith(f"; the volume at {DEFAULT} is not used")
    both = mounted(DEFAULT) + "3 1 254:0 /volumes/y /data rw - ext4 /dev/vda rw\n"
    said = look("/data", default=DEFAULT, root=container, mountinfo=both)
    assert said is not None
    assert f"/data is a volume; the volume at {DEFAULT} is not used" == said.text
    assert "Mount it at /data, or set [Server] DataDir." == said.fix


def test_a_volume_on_the_default_directory_is_good_where_that_is_the_data_dir(
    container: str,
) -> None:
    said = look(DEFAULT, default=DEFAULT, root=container, mountinfo=mounted(DEFAULT))
    assert Volume(text=f"{DEFAULT} is a volume") == said


def test_a_pod_is_a_container_and_a_machine_is_none(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    hosts = tmp_path / "etc" / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    assert look("/data", default=DEFAULT, root=str(tmp_path), mountinfo=ROOT) is None
    hosts.write_text("# Kubernetes-managed hosts file.\n127.0.0.1 localhost\n")
    assert look("/data", default=DEFAULT, root=str(tmp_path), mountinfo=ROOT) is not None


def test_a_machine_made_from_an_image_is_no_container(container: str) -> None:
    disk = "1 0 254:0 / / rw - ext4 /dev/vda rw\n"
    assert look("/data", default=DEFAULT, root=container, mountinfo=disk) is None
    copied = "1 0 254:0 /containers/vfs/dir/x / rw - ext4 /dev/vda rw\n"
    assert look("/data", default=DEFAULT, root=container, mountinfo=copied) is not None
