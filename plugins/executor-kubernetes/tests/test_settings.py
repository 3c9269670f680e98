"""The section [Kubernetes]: read, and refused with a sentence where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from supervisor_executor_kubernetes.settings import KubernetesSettings

from supervisor import Context, SupervisorError

IMAGE = {"image": ["python=localhost/python:1", "R=localhost/r:1", "localhost/all:1"]}


def read(section: Mapping[str, Sequence[str]]) -> KubernetesSettings:
    settings = {"kubernetes": section}
    context = Context(data_dir="/data", run_dir="/run", settings=settings, rootless=True)
    return context.read(KubernetesSettings)


def test_images_are_chosen_by_runtime_and_one_is_for_all_others() -> None:
    assert {
        "python": "localhost/python:1",
        "r": "localhost/r:1",
        "": "localhost/all:1",
    } == read(IMAGE).images


def test_the_last_value_of_a_key_counts() -> None:
    settings = read({**IMAGE, "namespace": ["one", "two"], "claimpath": ["/data/"]})
    assert ("two", "data") == (settings.namespace, settings.claim_path)


@pytest.mark.parametrize(
    ("section", "word"),
    [
        ({}, "Image"),
        ({**IMAGE, "namespace": ["Content Apps"]}, "Namespace"),
        ({**IMAGE, "claim": ["../x"]}, "Claim"),
        ({**IMAGE, "claimpath": ["a/../../b"]}, "ClaimPath"),
        ({**IMAGE, "imagepullpolicy": ["Sometimes"]}, "ImagePullPolicy"),
        ({**IMAGE, "executable": ["python=python3"]}, "Executable"),
        ({**IMAGE, "hostpath": ["/"]}, "HostPath"),
        ({**IMAGE, "hostpath": ["/opt"]}, "HostPath"),
        ({**IMAGE, "hostpath": ["/srv/../etc"]}, "HostPath"),
    ],
)
def test_what_is_wrong_is_refused_by_name(section: Mapping[str, Sequence[str]], word: str) -> None:
    with pytest.raises(SupervisorError, match=word) as refused:
        read(section)
    assert "settings-invalid" == refused.value.code
