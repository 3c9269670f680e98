"""How to reach and to satisfy an API server: a kubeconfig's context, or a Pod's own account."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import yaml  # type: ignore[import-untyped]

from supervisor import SupervisorError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

# What is not listed changes who we are or where we go, so it is refused, never ignored.
_CLUSTER_KEYS = {
    "server",
    "certificate-authority",
    "certificate-authority-data",
    "insecure-skip-tls-verify",
    "tls-server-name",
    "disable-compression",
    "extensions",
}
_USER_KEYS = {
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "token",
    "tokenFile",
    "extensions",
}


def refuse(message: str, hint: str = "") -> SupervisorError:
    """The error for a configuration that cannot be used."""
    return SupervisorError("settings-invalid", message, hint=hint)


@attrs.define(kw_only=True)
class Token:
    """A bearer token: fixed, or in a file that somebody renews."""

    value: str = attrs.field(default="", repr=False)
    path: Path | None = None
    _seen: tuple[int, ...] = ()

    def current(self) -> str:
        """The token of this moment, or "". Reads the file when it has changed.

        SupervisorError when the file was never readable; once read, the last token serves.
        """
        if self.path is None:
            return self.value
        try:
            now = os.stat(self.path)
            seen = (now.st_ino, now.st_size, now.st_mtime_ns)
            if seen != self._seen:
                self.value = self.path.read_text().strip()
                self._seen = seen
        except OSError as error:
            if not self.value:
                raise refuse(f"the token file {self.path} cannot be read: {error}") from error
        return self.value


@attrs.frozen(kw_only=True)
class Access:
    """Where the API server is, how it proves itself, and how we do.

    server: its URL; tls: None for http://; server_name: the name in its certificate where the URL
    has another, or ""; namespace: the context's, "default" where it names none.
    """

    server: str
    tls: ssl.SSLContext | None
    token: Token
    server_name: str = ""
    namespace: str = "default"


def from_kubeconfig(path: Path, context: str = "") -> Access:
    """Read one context of a kubeconfig, the current one if none is named.

    Paths inside it are relative to its directory. Programs that print credentials (exec,
    auth-provider) and anything else that is not understood are refused with a SupervisorError.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise refuse(f"the kubeconfig {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise refuse(f"the kubeconfig {path} is not YAML: {error}") from error
    where = f"the kubeconfig {path}"
    if not isinstance(config, dict):
        raise refuse(f"{where} holds no configuration")
    context = context or str(config.get("current-context") or "")
    if not context:
        raise refuse(f"{where} has no current-context", "Name one, or set current-context.")
    chosen = _named(config, "contexts", "context", context, where)
    cluster = _named(config, "clusters", "cluster", str(chosen.get("cluster")), where)
    user: Mapping[str, Any] = {}
    if chosen.get("user"):
        user = _named(config, "users", "user", str(chosen["user"]), where)
    _check_keys(cluster, _CLUSTER_KEYS, where, f"cluster {chosen.get('cluster')!r}")
    _check_keys(user, _USER_KEYS, where, f"user {chosen.get('user')!r}")

    token_file = user.get("tokenFile")
    return Access(
        server=_checked_server(cluster.get("server"), where),
        tls=_tls(cluster, user, path.parent, where),
        token=Token(
            value=str(user.get("token") or ""),
            path=path.parent / str(token_file) if token_file else None,
        ),
        server_name=str(cluster.get("tls-server-name") or ""),
        namespace=str(chosen.get("namespace") or "default"),
    )


def in_cluster(account: Path = ACCOUNT, environ: Mapping[str, str] = os.environ) -> Access:
    """The access that Kubernetes gives to a Pod with a service account.

    SupervisorError outside of a Pod.
    """
    host = environ.get("KUBERNETES_SERVICE_HOST")
    port = environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").exists():
        raise refuse(
            "this process is in no Pod with a service account",
            "Name a kubeconfig, or set automountServiceAccountToken in the server's Pod.",
        )
    if ":" in host:
        host = f"[{host}]"
    namespace = account / "namespace"
    cluster = {"server": f"https://{host}:{port}", "certificate-authority": "ca.crt"}
    return Access(
        server=cluster["server"],
        tls=_tls(cluster, {}, account, f"the service account in {account}"),
        token=Token(path=account / "token"),
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
    )


def _named(
    config: Mapping[str, Any], plural: str, singular: str, name: str, where: str
) -> Mapping[str, Any]:
    for entry in config.get(plural) or ():
        if isinstance(entry, dict) and entry.get("name") == name:
            found = entry.get(singular) or {}
            if isinstance(found, dict):
                return found
    raise refuse(f"{where} has no {singular} {name!r}")


def _check_keys(found: Mapping[str, Any], known: set[str], where: str, what: str) -> None:
    unknown = sorted(set(found) - known)
    if {"exec", "auth-provider"} & set(unknown):
        raise refuse(
            f"{where}: {what} gets its credentials from a program, which a service cannot run",
            "Make a service account for the server and put its token into tokenFile.",
        )
    if unknown:
        raise refuse(f"{where}: {what} has {', '.join(unknown)}, which is not supported")


def _checked_server(server: object, where: str) -> str:
    if not isinstance(server, str) or not server.startswith(("https://", "http://")):
        raise refuse(f"{where}: server is {server!r}, not an http or https URL")
    return server.rstrip("/")


def _tls(
    cluster: Mapping[str, Any], user: Mapping[str, Any], base: Path, where: str
) -> ssl.SSLContext | None:
    if str(cluster.get("server")).startswith("http://"):
        return None
    authority = _pem(cluster, "certificate-authority", base, where)
    certificate = _pem(user, "client-certificate", base, where)
    key = _pem(user, "client-key", base, where)
    try:
        tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise refuse(f"{where}: certificate-authority holds no certificate: {error}") from error
    if cluster.get("insecure-skip-tls-verify") is True:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    if bool(certificate) != bool(key):
        raise refuse(f"{where}: client-certificate and client-key are only of use together")
    if certificate and key:
        try:
            with _in_memory(certificate) as first, _in_memory(key) as second:
                # a passphrase would be asked for on a terminal; say an empty one instead
                tls.load_cert_chain(first, second, password="")
        except (ssl.SSLError, ValueError) as error:
            raise refuse(f"{where}: client-certificate or client-key: {error}") from error
    return tls


def _pem(entry: Mapping[str, Any], name: str, base: Path, where: str) -> bytes | None:
    if data := entry.get(f"{name}-data"):
        try:
            return base64.b64decode(str(data), validate=True)
        except (ValueError, TypeError) as error:
            raise refuse(f"{where}: {name}-data is not base64") from error
    if path := entry.get(name):
        try:
            return (base / str(path)).read_bytes()
        except OSError as error:
            raise refuse(f"{where}: {name}: {error}") from error
    return None


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """A path to the data that is on no disk: OpenSSL reads certificates from files alone."""
    descriptor = os.memfd_create("kubernetes", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
