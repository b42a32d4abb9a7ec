"""The files that deploy Vaultak: valid by the published schemas, and true to the program that they start."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import typer
import yaml
from dockerfile_parse import DockerfileParser

from vaultak.wire import Topics
from vaultak_devstack.broker import Broker
from vaultak_streams.cli.app import app

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
KUBERNETES = INFRA / "kubernetes"
MANIFESTS = sorted(path for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")
COMPOSE: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text())


def documents() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text())


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for document in documents():
        if document["kind"] in ("Deployment", "Job"):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def test_compose_is_what_its_specification_says() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(INFRA / "compose.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_are_what_kubernetes_takes(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(document, "1.37", strict=True)


def test_a_wrong_manifest_would_show() -> None:
    wrong = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "dta": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_the_base_names_every_manifest() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in MANIFESTS]


def commands() -> list[list[str]]:
    composed = [s["command"] for s in COMPOSE["services"].values() if s.get("image") == "vaultak"]
    return composed + [pod["containers"][0]["args"] for _, pod in pods()]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_every_command_is_one_of_ours(arguments: list[str]) -> None:
    command: click.Command = typer.main.get_command(app)
    left = list(arguments)
    while isinstance(command, click.Group):
        command = command.commands[left.pop(0)]
    command.make_context(arguments[0], left)  # raises for an option or a value that it does not take


def test_every_variable_is_one_that_the_program_reads() -> None:
    text = "\n".join(path.read_text() for path in [*MANIFESTS, INFRA / "compose.yaml", INFRA / "docker" / "Dockerfile"])
    source = "\n".join(
        path.read_text()
        for top in ("producers", "stream_jobs", "infra/vaultak_devstack", "infra/grafana")
        for path in (ROOT / top).rglob("*")
        if path.suffix in (".py", ".yaml", ".yml")
    )
    for name in set(re.findall(r"VAULTAK_[A-Z_]+", text)):
        stem = re.sub(r"^VAULTAK_(CONSOLE|GATEWAY)_", "", name)
        assert name in source or f'"{stem}"' in source or stem.lower() in source, name


def test_nothing_runs_as_root_or_may_write_where_it_should_not() -> None:
    for name, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"], name
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"], name
            assert not context["allowPrivilegeEscalation"], name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name


def test_nothing_has_a_password_of_its_own() -> None:
    for document in documents():
        assert document["kind"] != "Secret"
    environment = [s.get("environment", {}) for s in COMPOSE["services"].values()]
    for name, value in [pair for given in environment for pair in given.items()]:
        if re.search("PASSWORD|TOKEN|DSN", name):
            assert "${" in value, name


def test_what_has_to_go_on_is_looked_at() -> None:
    for name, pod in pods():
        if name != "migrate":
            assert {"readinessProbe", "livenessProbe"} <= set(pod["containers"][0]), name
    for name, service in COMPOSE["services"].items():
        if service.get("image") != "vaultak":
            assert name == "grafana" or service["healthcheck"]["test"], name


def test_the_image_is_pinned_by_hash_and_runs_as_somebody() -> None:
    steps = DockerfileParser(fileobj=(INFRA / "docker" / "Dockerfile").open("rb")).structure
    final = [step for step in steps if step["instruction"] != "COMMENT"]
    last_stage = final[max(i for i, step in enumerate(final) if step["instruction"] == "FROM") :]
    assert "slim" in last_stage[0]["value"]
    assert [step["value"] for step in last_stage if step["instruction"] == "USER"] == ["10001"]
    assert any(step["instruction"] == "HEALTHCHECK" for step in last_stage)
    for step in final:
        for line in re.split(r"&&", step["value"]) if step["instruction"] == "RUN" else []:
            if "pip install" in line:
                assert "--require-hashes" in line or "--no-deps" in line, line


def test_the_image_gets_what_was_tested() -> None:
    def pinned(name: str) -> set[str]:
        return set(re.findall(r"^(\S+==\S+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE))

    assert pinned("runtime.txt") - pinned("lock.txt") == set()


@pytest.mark.stack
def test_migrate_makes_what_is_missing_and_can_be_repeated(
    broker: Broker, topics: Topics, clickhouse_database: Callable[..., str], tmp_path: Path
) -> None:
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "VAULTAK_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "VAULTAK_TOPIC_PREFIX": f"{topics.prefix}x",
        "VAULTAK_CLICKHOUSE_DSN": clickhouse_database("admin"),
    }
    command = [sys.executable, "-m", "vaultak", "migrate", "--wait", "30"]
    first, again = (subprocess.run(command, env=env, capture_output=True, text=True, timeout=90) for _ in range(2))
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert "0001_events" in first.stdout
    assert "0 made" in again.stdout
    assert "schema: up to date" in again.stdout
    del env["VAULTAK_CLICKHOUSE_DSN"]
    without = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert without.returncode == 2
    assert "VAULTAK_CLICKHOUSE_DSN" in without.stderr
