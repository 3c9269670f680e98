"""The cluster's programs: their arguments and the files that they read, as data."""

from __future__ import annotations

import json
from typing import Any

from tests.kube.place import ADDRESS, PODS, PORT, SERVICES, Place

NODE = "node1"
CNI = "/usr/lib/cni"  # where Debian's containernetworking-plugins are
CONTAINERD = "unix:///run/containerd/containerd.sock"
ETCD = "http://127.0.0.1:2379"
GATES = "--feature-gates=TTLAfterFinished=true,EphemeralContainers=true"


def etcd(place: Place) -> list[str]:
    """The database; what it keeps is of no use after a crash, so it need not wait for the disk."""
    peers = "http://127.0.0.1:2380"
    return [
        "etcd",
        f"--data-dir={place.root / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    ]


def apiserver(place: Place) -> list[str]:
    """The API server, on every address of the private network."""
    pki = place.pki
    return [
        str(place.bin / "kube-apiserver"),
        f"--etcd-servers={ETCD}",
        f"--secure-port={PORT}",
        "--insecure-port=0",
        f"--advertise-address={ADDRESS}",
        f"--cert-dir={place.root / 'apiserver'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--token-auth-file={pki / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={pki / 'accounts.key'}",
        f"--service-account-key-file={pki / 'accounts.key'}",
        f"--service-cluster-ip-range={SERVICES}",
        f"--kubelet-client-certificate={pki / 'admin.crt'}",
        f"--kubelet-client-key={pki / 'admin.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
        GATES,
    ]


def controllers(place: Place) -> list[str]:
    """The controllers, quick to see a lost node; networks of nodes are given by hand."""
    return [
        str(place.bin / "kube-controller-manager"),
        f"--kubeconfig={place.kubeconfig}",
        f"--service-account-private-key-file={place.pki / 'accounts.key'}",
        f"--root-ca-file={place.pki / 'ca.crt'}",
        "--leader-elect=false",
        "--port=0",
        "--secure-port=0",
        "--controllers=*,-nodeipam,-cloud-node-lifecycle",
        "--node-monitor-grace-period=20s",
        "--pod-eviction-timeout=20s",
        GATES,
    ]


def scheduler(place: Place) -> list[str]:
    """The scheduler."""
    return [
        str(place.bin / "kube-scheduler"),
        f"--kubeconfig={place.kubeconfig}",
        "--leader-elect=false",
        "--port=0",
        "--secure-port=0",
    ]


def containerd(place: Place) -> list[str]:
    """The container runtime."""
    return ["containerd", f"--config={place.root / 'containerd.toml'}"]


def kubelet(place: Place) -> list[str]:
    """The node."""
    return [
        str(place.bin / "kubelet"),
        f"--kubeconfig={place.root / 'kubelet.kubeconfig'}",
        f"--config={place.root / 'kubelet.json'}",
        "--container-runtime=remote",
        f"--container-runtime-endpoint={CONTAINERD}",
        "--pod-infra-container-image=localhost/pause:1",
        f"--hostname-override={NODE}",
        f"--node-ip={ADDRESS}",
    ]


def proxy(place: Place) -> list[str]:
    """Addresses of Services; the zeros leave machine-wide limits of connection tracking alone."""
    return [
        str(place.bin / "kube-proxy"),
        f"--kubeconfig={place.kubeconfig}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={PODS}",
        f"--hostname-override={NODE}",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    ]


def write_files(place: Place) -> None:
    """Write what containerd, its network plugins and the kubelet read."""
    (place.root / "cni").mkdir(exist_ok=True)
    (place.root / "cni" / "10-bridge.conflist").write_text(json.dumps(_network()))
    (place.root / "containerd.toml").write_text(_containerd(place))
    (place.root / "kubelet.json").write_text(json.dumps(_kubelet(place)))
    # nothing listens there: look-ups in Pods fail at once
    (place.root / "resolv.conf").write_text(f"nameserver {ADDRESS}\n")


def _network() -> dict[str, Any]:
    ranges = [[{"subnet": PODS}]]
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]},
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}


def _containerd(place: Place) -> str:
    # restrict_oom_score_adj: root without CAP_SYS_RESOURCE cannot lower a score, and without
    # this no Pod starts ("can't get final child's PID from pipe: EOF").
    return f"""\
version = 2
root = "{place.root / "containerd"}"
state = "/run/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "localhost/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI}"
    conf_dir = "{place.root / "cni"}"
"""


def _kubelet(place: Place) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(place.pki / "ca.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": str(place.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(place.pki / "kubelet.key"),
        "failSwapOn": False,
        "resolvConf": str(place.root / "resolv.conf"),
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        # an image that is deleted can be pulled from nowhere
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "1s",
        "nodeStatusReportFrequency": "10s",
    }
