"""What others test with: a kernel that is a script; network namespaces, gateways in them, traffic, and the wire.

The fixtures of pytest that are made of it are in `pytest_pfkeyx`, which pytest finds by itself. Nothing here needs
pytest.
"""

from pfkeyx.testing.namespace import Namespace, fresh_namespace
from pfkeyx.testing.network import Network, Site
from pfkeyx.testing.scripted import Refusal, ScriptedKernel
from pfkeyx.testing.traffic import Stream, Traffic
from pfkeyx.testing.wire import Frame, Wire

__all__ = [
    "Frame",
    "Namespace",
    "Network",
    "Refusal",
    "ScriptedKernel",
    "Site",
    "Stream",
    "Traffic",
    "Wire",
    "fresh_namespace",
]
