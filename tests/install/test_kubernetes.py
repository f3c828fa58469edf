"""The Kubernetes manifests: who may reach whom is what the compose networks allow, and each has its schema.

No cluster is asked. What a policy allows is computed here, by those rules of NetworkPolicy that are used.
"""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from pef_protocol.version import VERSION

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs/deploy/kubernetes"
KUBERNETES: Final = "1.37"
PORTS: Final = {"ultravisor": 8001, "hypervisor": 8002}
INTERNAL: Final = frozenset({"visors", "guests", "vmm"})
"""On `outside` nobody reaches another: it is for the published ports alone."""
Labels = Mapping[str, str]
Allowed = set[tuple[str, str, int]]

MANIFESTS: Final = [
    (f"{file.relative_to(FOLDER)} {each['kind']} {each['metadata']['name']}", each)
    for file in sorted(FOLDER.rglob("*.yaml"))
    if file.name != "kustomization.yaml"
    for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))
]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """Return the manifests of one kind by their name."""
    return {each["metadata"]["name"]: each for _, each in MANIFESTS if each["kind"] == kind}


def compose() -> dict[str, Any]:
    """Return docker-compose.yml, with its anchors resolved."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return found


def policies(*left_out: str) -> list[dict[str, Any]]:
    """Return what the policies say, but for those that are left out."""
    return [each["spec"] for name, each in of_kind("NetworkPolicy").items() if name not in left_out]


def clients() -> dict[str, frozenset[str]]:
    """Return who may call: each container of the compose file, one on each single network, one on none."""
    found = {name: frozenset(each["networks"]) for name, each in compose()["services"].items()}
    return (
        found
        | {f"only on {name}": frozenset({name}) for name in compose()["networks"]}
        | {"stranger": frozenset()}
    )


def labels_of(client: str, networks: frozenset[str]) -> Labels:
    """Return the labels of a client's pod; a side has those of its manifest."""
    deployments = of_kind("Deployment")
    if client in deployments:
        found: Labels = deployments[client]["spec"]["template"]["metadata"]["labels"]
        return found
    return {f"pef-network-{name}": "true" for name in networks & INTERNAL}


def by_networks() -> Allowed:
    """Return (client, server, port) as the networks of the compose file allow."""
    on = clients()
    return {
        (client, server, port)
        for client, networks in on.items()
        for server, port in PORTS.items()
        if client != server and networks & on[server] & INTERNAL
    }


def selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Tell whether a podSelector selects a pod of its own namespace; matchLabels is all that it may have."""
    assert set(selector) <= {"matchLabels"}
    return dict(selector.get("matchLabels", {})).items() <= dict(labels).items()


def reaches(direction: str, of: Labels, other: Labels, port: int, all_policies: list[dict[str, Any]]) -> bool:
    """Tell whether the policies of one pod allow a direction to or from the other pod of its namespace."""
    peers = "to" if direction == "Egress" else "from"
    chosen = [
        each for each in all_policies if direction in each["policyTypes"] and selects(each["podSelector"], of)
    ]
    return not chosen or any(
        {"protocol": "TCP", "port": port} in rule["ports"]
        and any(
            "namespaceSelector" not in peer and selects(peer["podSelector"], other) for peer in rule[peers]
        )
        for each in chosen
        for rule in each.get(direction.lower(), [])
    )


def by_policies(all_policies: list[dict[str, Any]]) -> Allowed:
    """Return (client, server, port) as the policies allow: out of the client, and into the server."""
    pods = {name: labels_of(name, networks) for name, networks in clients().items()}
    return {
        (client, server, port)
        for client, labels in pods.items()
        for server in PORTS
        for port in (*PORTS.values(), 22)
        if client != server
        and reaches("Egress", labels, pods[server], port, all_policies)
        and reaches("Ingress", pods[server], labels, port, all_policies)
    }


def test_the_policies_allow_exactly_what_the_compose_networks_allow() -> None:
    assert by_policies(policies()) == by_networks()


@pytest.mark.parametrize("left_out", sorted(of_kind("NetworkPolicy").keys() - {"names"}))
def test_a_policy_that_is_left_out_is_noticed(left_out: str) -> None:
    """Given all policies but one, who reaches whom is not what the compose networks allow.

    The default is noticed by a pod that is on no network: without it, that pod may call out to anyone.
    """
    if left_out == "nothing-by-default":
        assert reaches("Egress", {}, {}, 443, policies(left_out, "names"))
    else:
        assert by_policies(policies(left_out)) != by_networks()


def test_no_other_namespace_is_let_in_and_only_names_are_asked_outside() -> None:
    """Given the policies, no rule names another namespace, but the one for names at port 53."""
    named = set()
    for name, policy in of_kind("NetworkPolicy").items():
        for rule in (*policy["spec"].get("ingress", ()), *policy["spec"].get("egress", ())):
            peers = (*rule.get("from", ()), *rule.get("to", ()))
            assert peers, "a rule without peers lets everyone through"
            if any("namespaceSelector" in peer or "ipBlock" in peer for peer in peers):
                named.add((name, *sorted({each["port"] for each in rule["ports"]})))
    assert named == {("names", 53)}


def contained(side: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the pod of a side, and its only container."""
    pod = of_kind("Deployment")[side]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


@pytest.mark.parametrize("side", PORTS)
def test_a_side_runs_as_its_container_does_in_compose(side: str) -> None:
    pod, container = contained(side)
    user = "{runAsUser}:{runAsGroup}".format(**pod["securityContext"])
    assert user == compose()["services"][side]["user"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["image"] == f"pef-{side}:{VERSION}"


@pytest.mark.parametrize("side", PORTS)
def test_a_side_is_one_and_shares_no_volume(side: str) -> None:
    spec = of_kind("Deployment")[side]["spec"]
    pod, container = contained(side)
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert {"name": "PEF_NORMAL_MEMORY", "value": ""} in container["env"]
    assert [set(each) - {"name"} for each in pod["volumes"]] == [{"projected"}, {"emptyDir"}]


@pytest.mark.parametrize("side", PORTS)
def test_a_side_has_the_tokens_that_it_has_in_compose(side: str) -> None:
    """Given the secrets of a side in compose and in its manifest, keys and files are the same."""
    wanted = {
        (each, each) if isinstance(each, str) else (each["source"], each["target"])
        for each in compose()["services"][side]["secrets"]
    }
    pod, _ = contained(side)
    (source,) = pod["volumes"][0]["projected"]["sources"]
    assert {(item["key"], item["path"]) for item in source["secret"]["items"]} == wanted
    assert not of_kind("Secret")


@pytest.mark.parametrize("side", PORTS)
def test_a_service_leads_to_its_side(side: str) -> None:
    spec = of_kind("Service")[side]["spec"]
    assert selects({"matchLabels": spec["selector"]}, labels_of(side, frozenset()))
    assert [each["port"] for each in spec["ports"]] == [PORTS[side]]
    (other,) = PORTS.keys() - {side}
    _, container = contained(side)
    assert {"name": "PEF_PEER_URL", "value": f"http://{other}:{PORTS[other]}"} in container["env"]


def kustomizations() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each kustomization.yaml with its folder."""
    for file in sorted(FOLDER.rglob("kustomization.yaml")):
        yield file.parent, yaml.safe_load(file.read_text(encoding="utf-8"))


def test_every_manifest_is_in_a_kustomization_with_this_version() -> None:
    named = [(folder / each).resolve() for folder, found in kustomizations() for each in found["resources"]]
    files = {file for file in FOLDER.rglob("*.yaml") if file.name != "kustomization.yaml"}
    assert {each for each in named if each.is_file()} == files
    assert all(each.exists() for each in named)
    assert {each["newTag"] for _, found in kustomizations() for each in found.get("images", ())} == {VERSION}


@pytest.mark.verify
@pytest.mark.parametrize(("name", "manifest"), MANIFESTS, ids=[name for name, _ in MANIFESTS])
def test_a_manifest_has_its_schema(name: str, manifest: dict[str, Any]) -> None:
    """Given a manifest, the published schema of its kind accepts it, and refuses a field of no name."""
    schemas = importlib.import_module("kubernetes_validate")  # requirements-verify.txt
    schemas.validate(manifest, KUBERNETES, strict=True)
    with pytest.raises(schemas.ValidationError):
        schemas.validate({**manifest, "no-such-field": 1}, KUBERNETES, strict=True)
