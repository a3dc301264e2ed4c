"""The Kubernetes manifests: what they rely on is what the command line, the certificates and compose have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli.main import app
from flows.cluster.certificates import create_certificates, member_files
from tests.test_readme import blocks

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra/kubernetes"
VERSIONS = ("1.29", "1.37")
IMAGE = yaml.safe_load((ROOT / "infra/compose/compose.yaml").read_text())["x-overnight"]["image"]


def manifests() -> list[dict[str, Any]]:
    """Everything that `kubectl apply -k` applies."""
    resources = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert sorted([*resources, "kustomization.yaml"]) == sorted(path.name for path in FOLDER.iterdir())
    return [found for name in resources for found in yaml.safe_load_all((FOLDER / name).read_text())]


def pods() -> dict[str, dict[str, Any]]:
    """The specification of each pod, by the name of what creates it."""
    found = {}
    for manifest in manifests():
        specification = manifest["spec"].get("jobTemplate", manifest)["spec"]
        if "template" in specification:
            found[manifest["metadata"]["name"]] = specification["template"]["spec"]
    return found


def ours() -> Iterator[tuple[str, dict[str, Any]]]:
    """The containers that run Overnight, with the pods that they are in."""
    for name, pod in pods().items():
        yield from ((name, container) for container in pod["containers"])


def commands() -> Iterator[list[str]]:
    """The `overnight` commands of the manifests and of the lines to type."""
    for _, container in ours():
        words = container.get("args") or container["command"]
        if words[0] == "overnight":
            yield words[1:]
        else:
            yield from (line.split() for line in re.findall(r"exec overnight (.*)", words[-1]))
    for block in blocks(ROOT / "infra/README.md", "text"):
        if "kubectl" in block:
            yield from (line.split() for line in re.findall(r"\bovernight (cluster .*)", block))


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_the_command_line_accepts_the_commands(command: list[str]):
    _, bound, _ = app.parse_args(command, exit_on_error=False, print_error=False)
    assert bound is not None


def test_every_part_runs_the_image_that_compose_builds_and_kustomize_renames():
    (renamed,) = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["images"]
    assert {container["image"] for _, container in ours()} == {IMAGE}
    assert renamed["name"] == IMAGE.partition(":")[0]
    assert renamed["newTag"] == IMAGE.partition(":")[2]


def test_machines_and_nights_reach_the_scheduler_s_port_by_its_service():
    (service,) = (manifest for manifest in manifests() if manifest["kind"] == "Service")
    (port,) = service["spec"]["ports"]
    scheduler = pods()["overnight-scheduler"]["containers"][0]
    address = f"tls://{service['metadata']['name']}:{port['port']}"
    assert f"tls://0.0.0.0:{port['port']}" in scheduler["args"]
    assert [found["containerPort"] for found in scheduler["ports"] if found["name"] == port["targetPort"]] == [8786]
    (labels,) = (
        found["spec"]["template"]["metadata"]["labels"]
        for found in manifests()
        if (found["kind"], found["metadata"]["name"]) == ("Deployment", "overnight-scheduler")
    )
    assert service["spec"]["selector"] == labels
    assert address in pods()["overnight-machine"]["containers"][0]["args"]
    assert {"name": "OVERNIGHT_CLUSTER", "value": address} in pods()["overnight-night"]["containers"][0]["env"]


def test_the_secret_has_the_files_of_a_member_where_the_image_looks_for_them(tmp_path: Path):
    (line,) = re.findall(r"create secret generic (\S+) (--from-file.*)", (ROOT / "infra/README.md").read_text())
    create_certificates(tmp_path / "certificates")
    for name in re.findall(r"--from-file=(certificates/\S+)", line[1]):
        assert (tmp_path / name).exists()
    (tmp_path / "certificates/ca.key").unlink()
    secret = tmp_path / "secret"
    secret.mkdir()
    for name in re.findall(r"--from-file=certificates/(\S+)", line[1]):
        (tmp_path / "certificates" / name).rename(secret / name)
    assert member_files(secret)
    dockerfile = (ROOT / "infra/compose/Dockerfile").read_text()
    (folder,) = re.findall(r"OVERNIGHT_CLUSTER_CERTIFICATES=(\S+)", dockerfile)
    for name, container in ours():
        (mount,) = (mount for mount in container["volumeMounts"] if mount["mountPath"] == folder)
        (volume,) = (found for found in pods()[name]["volumes"] if found["name"] == mount["name"])
        assert volume["secret"]["secretName"] == line[0]
        assert volume["secret"]["defaultMode"] == 0o440


def test_an_engine_starts_before_what_uses_it_and_shares_its_socket():
    for name in ("overnight-machine", "overnight-night"):
        pod = pods()[name]
        engine, container = pod["initContainers"][0], pod["containers"][0]
        assert engine["restartPolicy"] == "Always"
        (host,) = (found["value"] for found in container["env"] if found["name"] == "DOCKER_HOST")
        assert f"--host={host}" in engine["args"]
        assert f"--group={container['securityContext']['runAsGroup']}" in engine["args"]
        assert "startupProbe" in engine
        folder = str(Path(host.removeprefix("unix://")).parent)
        for each in (engine, container):
            assert folder in {mount["mountPath"] for mount in each["volumeMounts"]}


def test_mounted_volumes_exist_and_only_engines_are_privileged():
    for name, pod in pods().items():
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            is_privileged = container.get("securityContext", {}).get("privileged", False)
            assert is_privileged == (container["name"] == "engine"), name
        claimed = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["volumes"]]
        claims = [found["metadata"]["name"] for found in manifests() if found["kind"] == "PersistentVolumeClaim"]
        assert set(claimed) - {None} <= set(claims)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_schemas_accept_them(version: str):
    validator = pytest.importorskip("kubernetes_validate", reason="no schemas here: pip install kubernetes-validate")
    for manifest in manifests():
        validator.validate(manifest, version, strict=True)
