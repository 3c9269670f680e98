"""Certificates, tokens and kubeconfigs of a cluster, new at each start."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
from pathlib import Path
from typing import Any

from tests.kube.place import ADDRESS, API_SERVICE, PORT, Place

NAMES = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def write(place: Place) -> None:
    """Write the authority, one certificate each for who needs one, and the kubeconfigs."""
    pki = place.pki
    pki.mkdir(mode=0o700)
    _openssl(
        *("req", "-x509", *_KEY, "-days", "30", "-subj", "/CN=tests"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"),
        *("-keyout", pki / "ca.key", "-out", pki / "ca.crt"),
    )
    addresses = [f"IP:{address}" for address in ("127.0.0.1", API_SERVICE, ADDRESS)]
    hosts = [f"DNS:{name}" for name in NAMES]
    _certificate(pki, "apiserver", "/CN=kube-apiserver", [*addresses, *hosts])
    _certificate(pki, "admin", "/O=system:masters/CN=admin")
    _certificate(
        pki, "kubelet", "/O=system:nodes/CN=system:node:node1", [f"IP:{ADDRESS}", "DNS:node1"]
    )
    _openssl("genrsa", "-out", pki / "accounts.key", "2048")
    token = secrets.token_hex(16)
    (pki / "tokens.csv").write_text(f"{token},limited,limited\n")
    _kubeconfig(place, place.kubeconfig, _certified(pki, "admin"))
    _kubeconfig(place, place.root / "kubelet.kubeconfig", _certified(pki, "kubelet"))
    _kubeconfig(place, place.limited, {"token": token})


def _certificate(pki: Path, name: str, subject: str, names: list[str] | None = None) -> None:
    request, extensions = pki / f"{name}.csr", pki / f"{name}.ext"
    lines = ["extendedKeyUsage=serverAuth,clientAuth", "keyUsage=critical,digitalSignature"]
    if names:
        lines.append(f"subjectAltName={','.join(names)}")
    extensions.write_text("\n".join(lines))
    _openssl("req", *_KEY, "-subj", subject, "-keyout", pki / f"{name}.key", "-out", request)
    _openssl(
        *("x509", "-req", "-in", request, "-CA", pki / "ca.crt", "-CAkey", pki / "ca.key"),
        *("-CAcreateserial", "-days", "30", "-extfile", extensions, "-out", pki / f"{name}.crt"),
    )


def _kubeconfig(place: Place, path: Path, user: dict[str, Any]) -> None:
    cluster = {
        "server": f"https://127.0.0.1:{PORT}",
        "certificate-authority-data": _base64(place.pki / "ca.crt"),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "tests", "user": user}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "current-context": "tests",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))  # which is YAML too


def _certified(pki: Path, name: str) -> dict[str, str]:
    return {
        "client-certificate-data": _base64(pki / f"{name}.crt"),
        "client-key-data": _base64(pki / f"{name}.key"),
    }


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _openssl(*arguments: str | os.PathLike[str]) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
