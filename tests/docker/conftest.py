"""The topology of docker/compose.yml, brought up once, and a tunnel from its client to gateway A for each test."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.node import Node
from tests.docker.tunnel import Tunnel

COMPOSE_FILE = Path(__file__).parents[2] / "docker/compose.yml"


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
def nodes(docker_services: object, docker_compose_project_name: str) -> Iterator[dict[str, Node]]:  # noqa: ARG001
    """Every container of the topology by the name of its service, ready, with pfkeyx running where it is used."""
    label = "com.docker.compose"
    query = [
        "--filter",
        f"label={label}.project={docker_compose_project_name}",
        "--format",
        f'{{{{.Label "{label}.service"}}}} {{{{.ID}}}}',
    ]
    lines = subprocess.run(["docker", "ps", "--all", *query], capture_output=True, text=True, check=True).stdout
    nodes = {name: Node(container) for name, container in map(str.split, lines.splitlines())}
    for name in ("client", "gateway-a", "gateway-b"):
        nodes[name].start_agent()
    yield nodes
    for node in nodes.values():
        node.stop_agent()


@pytest.fixture
def tunnel(nodes: dict[str, Node]) -> Iterator[Tunnel]:
    """Lay a tunnel from the client, on the mobile network, to gateway A; afterwards nothing is left of it anywhere."""
    tunnel = Tunnel(nodes)
    tunnel.add()
    yield tunnel
    tunnel.delete()
