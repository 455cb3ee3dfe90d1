"""Helm itself (its library, as a Python package) on a cluster of three peers: each of its commands is given to another peer.

Called with a directory to work in and the kubeconfigs of three peers. Exits with 1 at the first thing that is not as expected.

The chart is the one that Helm makes for beginners, five times below one of its kind: what it renders are more than twenty objects.
"""

import os
import sys
import time

import helm_python as helm
from kubernetes import client, config

NAMESPACE = "shop"
RELEASE = "store"
PARTS = ["front", "cart", "prices", "search", "mail"]
# Answers on this port by HTTP and by gRPC's health protocol, and ends when it is asked to.
IMAGE = "stand-in/helm"
PORT = 8080
WITHIN_S = 60


def expect(holds, what):
    if not holds:
        print(f"not as expected: {what}")
        sys.exit(1)


def eventually(what, look, within=10):
    begun = time.monotonic()
    while True:
        found = look()
        if found is True:
            return
        if time.monotonic() - begun > within:
            expect(False, f"{what}: {found}")
        time.sleep(0.1)


def chart(directory):
    helm.Chart.create(RELEASE, directory).close()
    top = os.path.join(directory, RELEASE)
    for part in PARTS:
        helm.Chart.create(part, os.path.join(top, "charts")).close()
    return top


def values(front=1, tag="1"):
    def part(**more):
        served = {"image": {"repository": IMAGE, "tag": "1"}, "service": {"port": PORT}, "ingress": {"enabled": True}}
        return {**served, **more}

    return {
        **part(),
        "front": part(replicaCount=front, image={"repository": IMAGE, "tag": tag}),
        "cart": part(livenessProbe={"httpGet": None, "exec": {"command": ["wget", "-qO-", f"http://127.0.0.1:{PORT}/"]}}),
        "prices": part(
            livenessProbe={"httpGet": None, "grpc": {"port": PORT}},
            readinessProbe={"httpGet": None, "grpc": {"port": PORT, "service": "prices"}},
        ),
        "search": part(volumes=[{"name": "index", "emptyDir": {}}], volumeMounts=[{"name": "index", "mountPath": "/index"}]),
        "mail": part(autoscaling={"enabled": True}),
    }


class Peer:
    """One peer: Helm there, and what is asked of the objects without it."""

    def __init__(self, kubeconfig):
        self.helm = helm.Config(kubeconfig_path=kubeconfig, namespace=NAMESPACE)
        own = config.new_client_from_config(kubeconfig)
        self.core, self.apps = client.CoreV1Api(own), client.AppsV1Api(own)

    def secrets(self):
        """Helm's memory: the version and the status of each revision."""
        found = self.core.list_namespaced_secret(NAMESPACE, label_selector=f"owner=helm,name={RELEASE}").items
        expect(all(secret.type == "helm.sh/release.v1" for secret in found), [secret.type for secret in found])
        return {secret.metadata.name: secret.metadata.labels["status"] for secret in found}

    def front(self):
        """The image, and how many replicas are asked for and ready."""
        found = self.apps.read_namespaced_deployment(f"{RELEASE}-front", NAMESPACE)
        return found.spec.template.spec.containers[0].image, found.spec.replicas, found.status.ready_replicas


def secret(version):
    return f"sh.helm.release.v1.{RELEASE}.v{version}"


def step(what, begun):
    print(f"   {what}: {time.monotonic() - begun:.1f} s")


def installed(peers, top):
    begun = time.monotonic()
    options = {"wait": "watcher", "timeout": WITHIN_S, "create_namespace": True}
    release = peers[0].helm.install(top, RELEASE, values(), **options)
    expect(release["status"] == "deployed" and release["revision"] == 1, release)
    objects = release["manifest"].count("\nkind: ")
    expect(objects > 20, f"{objects} objects are rendered")
    image, wanted, ready = peers[0].front()
    expect((image, wanted, ready) == (f"{IMAGE}:1", 1, 1), f"install came back when {ready} of {wanted} were ready of {image}")
    eventually("the release at another peer", lambda: peers[1].secrets() == {secret(1): "deployed"} or peers[1].secrets())
    listed = peers[1].helm.list()
    expect([(r["name"], r["revision"], r["status"]) for r in listed] == [(RELEASE, 1, "deployed")], listed)
    step(f"install and wait for {objects} objects", begun)


def upgraded(peers, top):
    begun = time.monotonic()
    release = peers[1].helm.upgrade(top, RELEASE, values(front=2, tag="2"), wait="watcher", timeout=WITHIN_S)
    expect(release["status"] == "deployed" and release["revision"] == 2, release)
    expect(peers[1].front() == (f"{IMAGE}:2", 2, 2), peers[1].front())
    wanted = {secret(1): "superseded", secret(2): "deployed"}
    eventually("both revisions", lambda: peers[2].secrets() == wanted or peers[2].secrets())
    history = [(r["revision"], r["status"]) for r in peers[2].helm.history(RELEASE)]
    expect(history == [(1, "superseded"), (2, "deployed")], history)
    step("upgrade", begun)


def rolled_back(peers):
    begun = time.monotonic()
    peers[2].helm.rollback(RELEASE, version=1, wait="watcher", timeout=WITHIN_S)
    expect(peers[2].front() == (f"{IMAGE}:1", 1, 1), peers[2].front())
    wanted = {secret(1): "superseded", secret(2): "superseded", secret(3): "deployed"}
    eventually("three revisions", lambda: peers[0].secrets() == wanted or peers[0].secrets())
    step("rollback", begun)


def failed(peers, top):
    """An upgrade to an image that is nowhere is undone by Helm itself."""
    begun = time.monotonic()
    try:
        options = {"wait": "watcher", "timeout": 6, "rollback_on_failure": True}
        peers[0].helm.upgrade(top, RELEASE, values(tag="nowhere"), **options)
        expect(False, "an upgrade to an image that is nowhere succeeded")
    except helm.HelmError as error:
        expect("front" in str(error) or "deadline" in str(error), error)
    eventually("the image before", lambda: peers[1].front() == (f"{IMAGE}:1", 1, 1) or peers[1].front())
    listed = peers[1].helm.list()
    expect([(r["revision"], r["status"]) for r in listed] == [(5, "deployed")], listed)
    step("an upgrade that fails, and its way back", begun)


def uninstalled(peers):
    begun = time.monotonic()
    peers[1].helm.uninstall(RELEASE, wait="watcher", timeout=WITHIN_S)
    for peer in peers:
        expect_nothing(peer)
    step("uninstall", begun)


def expect_nothing(peer):
    def left():
        found = [d.metadata.name for d in peer.apps.list_namespaced_deployment(NAMESPACE).items]
        found += [s.metadata.name for s in peer.core.list_namespaced_service(NAMESPACE).items]
        found += [p.metadata.name for p in peer.core.list_namespaced_pod(NAMESPACE).items]
        return found + list(peer.secrets())

    eventually("nothing of the release", lambda: left() == [] or left())


def main():
    directory, *kubeconfigs = sys.argv[1:]
    peers = [Peer(kubeconfig) for kubeconfig in kubeconfigs]
    top = chart(directory)
    print(f"   Helm {helm.helm_sdk_version()}")
    installed(peers, top)
    upgraded(peers, top)
    rolled_back(peers)
    failed(peers, top)
    uninstalled(peers)


main()
