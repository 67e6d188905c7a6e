"""A container of the topology, and what is done inside it."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

AGENT = Path(__file__).with_name("agent.py")
PYTHON = "/opt/pfkeyx/bin/python"


class Node:
    """A running container; commands run in it as its own user does, with CAP_NET_ADMIN."""

    def __init__(self, container: str) -> None:
        self._exec = ["docker", "exec", "--interactive", container, "net-admin"]
        self._container = container
        self._agent: subprocess.Popen[str] | None = None

    def wait_until_ready(self) -> None:
        """Wait for its addresses and routes."""
        self.run("sh", "-c", "until test -e /tmp/ready; do sleep 0.2; done")

    def start_agent(self) -> None:
        """Start the process in which pfkeyx will run; it is not waited for."""
        self._agent = subprocess.Popen(
            [*self._exec, PYTHON, "-u", "-c", AGENT.read_text()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def stop_agent(self) -> None:
        """End it."""
        if self._agent:
            with self._agent as agent:
                assert agent.stdin
                agent.stdin.close()

    def pfkeyx(self, *words: str, text: str = "") -> str:
        """Run a command of pfkeyx with `text` on its standard input; return what it printed."""
        assert self._agent
        assert self._agent.stdin
        assert self._agent.stdout
        self._agent.stdin.write(json.dumps([words, text]) + "\n")
        self._agent.stdin.flush()
        status, out, error = json.loads(self._agent.stdout.readline())
        assert status == 0, f"pfkeyx {' '.join(words)}: {error}"
        return str(out)

    def run(self, *words: str) -> str:
        """Run a command; return what it printed."""
        done = subprocess.run(
            [*self._exec, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def ping(self, address: str) -> None:
        """Have an answer from an address."""
        self.run("ping", "-n", "-q", "-c", "2", "-i", "0.2", "-w", "60", address)

    @contextmanager
    def pinging(self, address: str) -> Iterator[None]:
        """Ping an address without end until the block is left, whatever becomes of it."""
        script = 'ping -n -q -i 0.3 "$0" >/dev/null 2>&1 & read -r _; kill $!'
        pinging = subprocess.Popen([*self._exec, "sh", "-c", script, address], stdin=subprocess.PIPE)
        try:
            yield
        finally:
            with suppress(BrokenPipeError):
                pinging.communicate(b"\n")

    def log(self) -> list[str]:
        """Return the lines that the container's own process has printed."""
        done = subprocess.run(["docker", "logs", self._container], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    def device_of(self, address: str) -> str:
        """Return the name of the device that has an address."""
        return self.run("ip", "-oneline", "address", "show", "to", address).split()[1]
