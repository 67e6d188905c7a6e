"""`pfkeyx monitor` on a real kernel, as a process of its own; and the command as its users start it."""

import json
import os
import subprocess
import sys

from pfkeyx import Engine
from pfkeyx.opening import EngineName
from tests.kernel.command import pfkeyx_does, running
from tests.kernel.values import make_policies, make_sa
from tests.output_schema import check_output


def test_events_come_as_lines(engine: Engine, engine_name: EngineName) -> None:
    with running("monitor", "sa", "policy", "--engine", engine_name) as lines:
        engine.add_sa(make_sa(4))
        engine.add_policies(make_policies(4)[:1])
        engine.flush_sas()
        added, policy, flushed = (lines.readline() for _ in range(3))
    assert "sa  added  esp 0x00001000 192.0.2.2 -> 192.0.2.1  reqid 7" in added
    assert "policy  added  out 10.1.0.1/32 -> 10.2.0.1/32" in policy
    assert "sa  flushed  all" in flushed


def test_events_come_as_json_without_keys(engine: Engine, engine_name: EngineName) -> None:
    with running("monitor", "sa", "--json", "--engine", engine_name) as lines:
        engine.add_sa(make_sa(6))
        plain = json.loads(lines.readline())
    check_output(["monitor", "--json"], plain)
    assert (plain["version"], plain["event"]) == (1, "sa_change")
    assert plain["sa"]["encryption"]["key"] == "hidden"
    assert plain["time"] > 0


def test_every_message_of_both_interfaces_is_shown_by_name_and_no_key(engine: Engine) -> None:
    sa = make_sa(4)
    assert sa.encryption is not None
    wanted = {"xfrm  XFRM_MSG_NEWSA: length", "pfkey  SADB_ADD: version 2"}
    text = ""
    with Engine.open("pfkey"), running("monitor", "--raw") as lines:
        engine.add_sa(sa)
        while not all(name in text for name in wanted):
            text += lines.readline()
        text += "".join(lines.readline() for _ in range(5))
    assert sa.encryption.key.reveal().hex() not in text.replace(" ", "")


def test_what_an_interface_does_not_tell_is_refused(own_network_namespace: None) -> None:  # noqa: ARG001
    done = pfkeyx_does("--engine", "pfkey", "monitor", "progress")
    assert done.status == 3
    assert "pfkey does not tell of it" in done.err
    assert pfkeyx_does("monitor", "sa", "--raw").status == 2


def test_it_is_a_program(own_network_namespace: None) -> None:  # noqa: ARG001
    with Engine.open("xfrm") as engine:
        engine.add_sa(make_sa(4))
        command = [sys.executable, "-m", "pfkeyx", "--netns", str(os.getpid()), "sa", "list"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "0x00001000" in done.stdout
