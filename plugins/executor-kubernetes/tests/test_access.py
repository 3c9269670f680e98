"""Kubeconfigs and service accounts, good and bad."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from supervisor_executor_kubernetes.access import Access, from_kubeconfig, in_cluster

from supervisor import SupervisorError


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key."""
    place = tmp_path_factory.mktemp("pair")
    certificate, key = place / "it.crt", place / "it.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=it"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def write(place: Path, cluster: dict[str, Any], user: dict[str, Any], **context: str) -> Path:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://api:6443/", **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", **context}}],
        "current-context": "x",
    }
    path = place / "config"
    path.write_text(json.dumps(config))
    return path


def data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_a_kubeconfig_as_tools_write_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(
        """
apiVersion: v1
kind: Config
preferences: {}
current-context: two
contexts:
- name: one
  context: {cluster: c, user: u}
- name: two
  context:
    cluster: c
    user: u
    namespace: apps
clusters:
- name: c
  cluster:
    server: http://127.0.0.1:8080
users:
- name: u
  user:
    token: secret
"""
    )
    access = from_kubeconfig(path)
    assert ("http://127.0.0.1:8080", "apps", "secret") == (
        access.server,
        access.namespace,
        access.token.current(),
    )
    assert access.tls is None
    assert "default" == from_kubeconfig(path, "one").namespace
    assert "secret" not in repr(access)


@pytest.mark.parametrize("form", ["data", "file"])
def test_certificates_come_as_data_and_as_files_beside_the_kubeconfig(
    tmp_path: Path, pair: tuple[Path, Path], form: str
) -> None:
    certificate, key = pair
    if form == "data":
        cluster = {"certificate-authority-data": data(certificate)}
        user = {"client-certificate-data": data(certificate), "client-key-data": data(key)}
    else:
        (tmp_path / "it.crt").write_bytes(certificate.read_bytes())
        (tmp_path / "it.key").write_bytes(key.read_bytes())
        cluster = {"certificate-authority": "it.crt"}
        user = {"client-certificate": "it.crt", "client-key": "it.key"}
    access = from_kubeconfig(write(tmp_path, cluster, user))
    assert access.tls is not None
    assert ["it"] == [found["subject"][0][0][1] for found in access.tls.get_ca_certs()]
    assert (ssl.CERT_REQUIRED, True) == (access.tls.verify_mode, access.tls.check_hostname)
    assert "https://api:6443" == access.server


@pytest.mark.parametrize(("said", "mode"), [(True, ssl.CERT_NONE), ("true", ssl.CERT_REQUIRED)])
def test_certificates_are_unchecked_only_where_the_kubeconfig_says_so(
    tmp_path: Path, said: object, mode: ssl.VerifyMode
) -> None:
    access = from_kubeconfig(write(tmp_path, {"insecure-skip-tls-verify": said}, {}))
    assert access.tls is not None
    assert mode == access.tls.verify_mode


@pytest.mark.parametrize(
    ("cluster", "user", "said"),
    [
        ({}, {"exec": {"command": "aws"}}, "gets its credentials from a program"),
        ({}, {"auth-provider": {"name": "gcp"}}, "gets its credentials from a program"),
        ({}, {"username": "me", "password": "x"}, "has password, username, which is not"),
        ({}, {"as": "somebody"}, "has as, which is not supported"),
        ({"proxy-url": "http://proxy"}, {}, "has proxy-url, which is not supported"),
        ({"server": "api:6443"}, {}, "not an http or https URL"),
        ({"certificate-authority-data": "!"}, {}, "is not base64"),
        ({"certificate-authority-data": "aGk="}, {}, "holds no certificate"),
        ({"certificate-authority": "missing.crt"}, {}, "No such file"),
        ({}, {"client-certificate-data": "aGk="}, "only of use together"),
        ({}, {"client-certificate-data": "aGk=", "client-key-data": "aGk="}, "client-key"),
    ],
)
def test_what_cannot_be_used_is_refused_and_named(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], said: str
) -> None:
    with pytest.raises(SupervisorError) as caught:
        from_kubeconfig(write(tmp_path, cluster, user))
    assert "settings-invalid" == caught.value.code
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("a: [", "is not YAML"),
        ("hello", "holds no configuration"),
        ("{}", "no current-context"),
        ("{current-context: x}", "has no context 'x'"),
        ("{current-context: x, contexts: [{name: x, context: {cluster: c}}]}", "no cluster 'c'"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_a_broken_kubeconfig_is_refused_and_named(
    tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SupervisorError) as caught:
        from_kubeconfig(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message


def test_a_token_file_that_was_never_there_is_refused(tmp_path: Path) -> None:
    access = from_kubeconfig(write(tmp_path, {}, {"tokenFile": "token"}))
    with pytest.raises(SupervisorError, match="cannot be read"):
        access.token.current()


@pytest.mark.parametrize(
    ("host", "server"),
    [("10.96.0.1", "https://10.96.0.1:443"), ("fd00::1", "https://[fd00::1]:443")],
)
def test_a_pod_uses_its_service_account(
    tmp_path: Path, pair: tuple[Path, Path], host: str, server: str
) -> None:
    (tmp_path / "ca.crt").write_bytes(pair[0].read_bytes())
    (tmp_path / "token").write_text("of the pod\n")
    (tmp_path / "namespace").write_text("apps")
    access = in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": host})
    assert (server, "apps", "of the pod") == (
        access.server,
        access.namespace,
        access.token.current(),
    )
    assert isinstance(access, Access)


def test_outside_of_a_pod_that_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match="in no Pod"):
        in_cluster(tmp_path, {})
