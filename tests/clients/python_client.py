"""What programs on Kubernetes' Python client do, at two peers of a cluster.

Called with two kubeconfigs. Prints a line for each step that held, and ends with an exception at the first that did not.
"""

import base64
import sys
import threading
import time

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

NAMESPACE = "python"
IMAGE = "bb:1"
PATIENCE_S = 60


def step(name, started):
    print(f"   {name}, {time.monotonic() - started:.1f} s", flush=True)


def until(what, condition, within_s=PATIENCE_S):
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {within_s} s")


def refused(status, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ApiException as error:
        assert error.status == status, f"{error.status} and not {status}: {error.body}"
        return error
    raise AssertionError(f"it was taken, where {status} was expected")


def config_map(name, data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


def objects(core, other):
    """Create, read, replace, patch, list, delete; and a write at one peer that another peer's read is the base of."""
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    core.create_namespaced_config_map(NAMESPACE, config_map("settings", {"a": "1"}))
    refused(409, core.create_namespaced_config_map, NAMESPACE, config_map("settings", {}))
    seen = until("the map at the other peer", lambda: found(other.read_namespaced_config_map, "settings"))
    seen.data["a"] = "2"
    core.replace_namespaced_config_map("settings", NAMESPACE, seen)
    refused(409, core.replace_namespaced_config_map, "settings", NAMESPACE, seen)
    patched = core.patch_namespaced_config_map("settings", NAMESPACE, {"data": {"b": "3"}})
    assert patched.data == {"a": "2", "b": "3"}, patched.data
    names = [item.metadata.name for item in core.list_namespaced_config_map(NAMESPACE, field_selector="metadata.name=settings").items]
    assert names == ["settings"], names
    refused(422, core.create_namespaced_config_map, NAMESPACE, config_map("No Name", {}))
    core.delete_namespaced_config_map("settings", NAMESPACE)
    refused(404, core.read_namespaced_config_map, "settings", NAMESPACE)


def found(read, name):
    try:
        return read(name, NAMESPACE)
    except ApiException as error:
        assert error.status == 404, error
        return None


def deployment(replicas):
    command = ["sh", "-c", "trap 'exit 0' TERM; echo here; httpd -f -p 8080 -h /www & while :; do sleep 1 & wait $!; done"]
    container = client.V1Container(name="main", image=IMAGE, image_pull_policy="IfNotPresent", command=command)
    labels = {"app": "web"}
    spec = client.V1PodSpec(containers=[container], termination_grace_period_seconds=1, node_selector={"kubernetes.io/hostname": "h3"})
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=spec)
    wanted = client.V1DeploymentSpec(replicas=replicas, selector=client.V1LabelSelector(match_labels=labels), template=template)
    return client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=wanted)


def workload(core, apps):
    """A Deployment that becomes available, as a watch tells, is scaled, and whose log is read."""
    apps.create_namespaced_deployment(NAMESPACE, deployment(1))
    stream_of = watch.Watch()
    for event in stream_of.stream(apps.list_namespaced_deployment, NAMESPACE, timeout_seconds=PATIENCE_S):
        if (event["object"].status.available_replicas or 0) >= 1:
            stream_of.stop()
    apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 2}})
    until("two pods", lambda: apps.read_namespaced_deployment("web", NAMESPACE).status.ready_replicas == 2)
    pod = core.list_namespaced_pod(NAMESPACE, label_selector="app=web").items[0]
    assert "here" in core.read_namespaced_pod_log(pod.metadata.name, NAMESPACE)
    return pod.metadata.name


def executes(core, pod):
    said = stream(core.connect_get_namespaced_pod_exec, pod, NAMESPACE, command=["echo", "hello"], stdout=True, stderr=True, stdin=False, tty=False)
    assert said == "hello\n", repr(said)
    session = stream(core.connect_get_namespaced_pod_exec, pod, NAMESPACE, command=["sh"], stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False)
    session.write_stdin("echo $((6 * 7)); exit 5\n")
    session.run_forever(timeout=10)
    assert session.read_stdout().strip() == "42"
    assert session.returncode == 5, session.returncode


def forwards(core, pod):
    forward = portforward(core.connect_get_namespaced_pod_portforward, pod, NAMESPACE, ports="8080")
    socket = forward.socket(8080)
    socket.setblocking(True)
    socket.settimeout(10)
    socket.sendall(b"GET /index.html HTTP/1.0\r\nHost: web\r\n\r\n")
    answer = b""
    while chunk := socket.recv(4096):
        answer += chunk
    assert b"200 OK" in answer and answer.endswith(b"ok\n"), answer
    assert forward.error(8080) is None, forward.error(8080)


def peer_change(core, other):
    """A watch that goes on at another peer: it is told that its place is unknown there, lists again, and misses nothing."""
    listed = core.list_namespaced_config_map(NAMESPACE)
    version = listed.metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, config_map("between", {"a": "1"}))
    try:
        for event in watch.Watch().stream(other.list_namespaced_config_map, NAMESPACE, resource_version=version, timeout_seconds=5):
            raise AssertionError(f"another peer took its place for one of its own: {event['type']}")
        raise AssertionError("another peer said nothing of an unknown place")
    except ApiException as error:
        assert error.status == 410, error
    until("the map at the other peer", lambda: found(other.read_namespaced_config_map, "between"))
    listed = other.list_namespaced_config_map(NAMESPACE)
    assert "between" in [item.metadata.name for item in listed.items]
    seen = threading.Event()

    def follow():
        version = listed.metadata.resource_version
        for event in watch.Watch().stream(other.list_namespaced_config_map, NAMESPACE, resource_version=version, timeout_seconds=20):
            if event["object"].metadata.name == "after":
                seen.set()
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    core.create_namespaced_config_map(NAMESPACE, config_map("after", {}))
    assert seen.wait(20), "the watch at the other peer did not go on"


def releases(core):
    """What Helm keeps of a release: a Secret for each revision, found by its labels."""
    blob = base64.b64encode(bytes(range(256)) * 1200).decode()
    for revision in (1, 2):
        name = f"sh.helm.release.v1.shop.v{revision}"
        labels = {"owner": "helm", "name": "shop", "version": str(revision), "status": "deployed"}
        core.create_namespaced_secret(NAMESPACE, client.V1Secret(metadata=client.V1ObjectMeta(name=name, labels=labels), type="helm.sh/release.v1", data={"release": blob}))
    core.patch_namespaced_secret("sh.helm.release.v1.shop.v1", NAMESPACE, {"metadata": {"labels": {"status": "superseded"}}})
    deployed = core.list_namespaced_secret(NAMESPACE, label_selector="owner=helm,name=shop,status=deployed").items
    assert [secret.metadata.labels["version"] for secret in deployed] == ["2"]
    assert deployed[0].data["release"] == blob
    refused(422, core.patch_namespaced_secret, "sh.helm.release.v1.shop.v1", NAMESPACE, {"type": "other"})
    for revision in (1, 2):
        core.delete_namespaced_secret(f"sh.helm.release.v1.shop.v{revision}", NAMESPACE)


def dynamic_client(api):
    kinds = dynamic.DynamicClient(api)
    maps = kinds.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": "1"}}
    maps.server_side_apply(namespace=NAMESPACE, name="applied", body=body, field_manager="python")
    body["data"] = {"b": "2"}
    applied = maps.server_side_apply(namespace=NAMESPACE, name="applied", body=body, field_manager="python")
    assert dict(applied.data) == {"b": "2"}, applied.data
    body["data"] = {"b": "3"}
    error = refused(409, maps.server_side_apply, namespace=NAMESPACE, name="applied", body=body, field_manager="other")
    assert "python" in str(error.body), error.body
    maps.server_side_apply(namespace=NAMESPACE, name="applied", body=body, field_manager="other", force_conflicts=True)


def leases(coordination):
    """What leader election does with its Lease: take it, renew it, and be refused when somebody else was faster."""
    spec = client.V1LeaseSpec(holder_identity="one", lease_duration_seconds=15, lease_transitions=0)
    lease = client.V1Lease(metadata=client.V1ObjectMeta(name="leader"), spec=spec)
    held = coordination.create_namespaced_lease(NAMESPACE, lease)
    refused(409, coordination.create_namespaced_lease, NAMESPACE, lease)
    stale = coordination.read_namespaced_lease("leader", NAMESPACE)
    held.spec.holder_identity = "one again"
    coordination.replace_namespaced_lease("leader", NAMESPACE, held)
    stale.spec.holder_identity = "two"
    refused(409, coordination.replace_namespaced_lease, "leader", NAMESPACE, stale)


def main():
    one, other = (config.new_client_from_config(path) for path in sys.argv[1:3])
    core, apps = client.CoreV1Api(one), client.AppsV1Api(one)
    begun = time.monotonic()
    objects(core, client.CoreV1Api(other))
    step("objects at two peers", begun)
    begun = time.monotonic()
    pod = workload(core, apps)
    step("a Deployment, watched, scaled, its log", begun)
    for name, work, arguments in [
        ("exec", executes, (core, pod)),
        ("port-forward", forwards, (core, pod)),
        ("a watch across a change of peers", peer_change, (core, client.CoreV1Api(other))),
        ("releases as Helm keeps them", releases, (core,)),
        ("discovery and server-side apply", dynamic_client, (one,)),
        ("leases", leases, (client.CoordinationV1Api(one),)),
    ]:
        begun = time.monotonic()
        work(*arguments)
        step(name, begun)
    core.delete_namespace(NAMESPACE)
    until("the end of the namespace", lambda: NAMESPACE not in [item.metadata.name for item in core.list_namespace().items])


main()
