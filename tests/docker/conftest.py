"""The topology of docker/compose.yml, brought up once, and tunnels in it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.docker import wire
from tests.docker.node import Node
from tests.docker.tunnel import End, Tunnel

COMPOSE_FILE = Path(__file__).parents[2] / "docker/compose.yml"
_LABEL = "com.docker.compose"


class Lay(Protocol):
    """Lays a tunnel over one interface of the kernel."""

    def __call__(self, here: End, there: End, engine: str = "xfrm") -> Tunnel: ...


@pytest.fixture(scope="session")
def docker_compose_command() -> str:
    """Compose as it is here: Docker's plugin, or the program of its own."""
    has_plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    if not has_plugin and not shutil.which("docker-compose"):
        pytest.fail("docker compose is missing: install the package docker-compose")
    return "docker compose" if has_plugin else "docker-compose"


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    return str(COMPOSE_FILE)


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    return f"pfkeyx{os.getpid()}"


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    return ["up --detach --no-build"]


@pytest.fixture(scope="session")
def compose(docker_compose_command: str, docker_compose_project_name: str, docker_compose_file: str) -> list[str]:
    """Compose's command line for the topology."""
    words = docker_compose_command.split()
    return [*words, "--project-name", docker_compose_project_name, "--file", docker_compose_file]


@pytest.fixture(scope="session")
def nothing_left(docker_compose_project_name: str) -> Iterator[None]:
    """Afterwards Docker has nothing of the topology any more."""
    yield
    for kind in ("container", "network", "volume"):
        assert _list(kind, docker_compose_project_name, "--quiet") == []


@pytest.fixture(scope="session")
def nodes(nothing_left: None, docker_services: object, docker_compose_project_name: str) -> Iterator[dict[str, Node]]:  # noqa: ARG001
    """Every container of the topology by the name of its service, ready, with pfkeyx running where it is used."""
    names_and_ids = f'{{{{.Label "{_LABEL}.service"}}}} {{{{.ID}}}}'
    names = _list("container", docker_compose_project_name, "--format", names_and_ids)
    nodes = {name: Node(container) for name, container in map(str.split, names)}
    for node in nodes.values():
        node.wait_until_ready()
    for name in ("client", "gateway-a", "gateway-b"):
        nodes[name].start_agent()
    yield nodes
    for node in nodes.values():
        node.stop_agent()


def _list(kind: str, project: str, *words: str) -> list[str]:
    command = ["docker", kind, "ls", "--filter", f"label={_LABEL}.project={project}", *words]
    command += ["--all"] if kind == "container" else []
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture
def lay(nodes: dict[str, Node]) -> Iterator[Lay]:
    """Lay tunnels; afterwards nothing is left of them anywhere, and the router has seen nothing that it should not."""
    tunnels: list[Tunnel] = []

    def add(here: End, there: End, engine: str = "xfrm") -> Tunnel:
        tunnels.append(Tunnel(here, there, nodes["router"]))
        tunnels[-1].add(engine)
        return tunnels[-1]

    yield add
    for tunnel in tunnels:
        tunnel.delete()
    for name in ("client", "gateway-a", "gateway-b"):
        for kind in ("sa", "policy"):
            assert nodes[name].pfkeyx(kind, "count").startswith("0 "), f"{name} has something left"
    log = nodes["router"].log()
    assert wire.in_clear(log) == []
    assert wire.repeated(wire.esp(log)) == []
