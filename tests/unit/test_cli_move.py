"""What `pfkeyx tunnel move` says of a plan and a report, and of its progress."""

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from pfkeyx import Engine, Loss, MigrationPlan, Tunnel, UnsupportedError
from pfkeyx.cli import move
from pfkeyx.cli.move import print_wrapped, progress_bar
from pfkeyx.cli.parser import make_parser
from pfkeyx.migration.planning import make_plan
from tests.unit.samples import EVERY_METHOD, GCM, LOCAL, NEW_LOCAL, POLICIES, REMOTE, SAS, UPDATE

PLAN = make_plan(UPDATE, SAS, POLICIES, EVERY_METHOD)


def test_a_plan_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_wrapped(PLAN)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert said.split() == str(PLAN).split()


def test_of_a_large_move_the_first_steps_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    tunnels = [replace_reqid(reqid) for reqid in range(1, 21)]
    sas = [sa for t in tunnels for sa in (t.outbound(t.reqid, GCM), t.inbound(t.reqid + 100, GCM))]
    plan = make_plan(UPDATE, sas, [policy for t in tunnels for policy in t.policies()], EVERY_METHOD)
    assert len(plan.steps) == 40
    print_wrapped(move._shortened(str(plan), r"\d+\. ", "steps; --dry-run shows all"))
    said = capsys.readouterr().out
    assert "8. " in said
    assert "9. " not in said
    assert "\n... and 32 more steps; --dry-run shows all\n" in said
    assert "\nmay be lost: the counts of failures\n" in said
    assert move._shortened(str(PLAN), r"\d+\. ", "steps") == str(PLAN)


def replace_reqid(reqid: int) -> Tunnel:
    from ipaddress import ip_network

    return Tunnel(LOCAL, REMOTE, ip_network(f"10.1.{reqid}.0/24"), ip_network(f"10.2.{reqid}.0/24"), reqid=reqid)


def test_a_bar_is_for_terminals_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as progress:
        assert progress is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar() as progress:
        assert progress is not None
        progress(3, 7)
    assert capsys.readouterr().out == ""


def losing() -> MigrationPlan:
    (first, *rest) = PLAN.steps
    sas = tuple(replace(it, losses=it.losses | {Loss.SEQUENCE_REPEAT}) for it in first.sas)
    return replace(PLAN, steps=(replace(first, sas=sas), *rest))


@pytest.mark.parametrize(("answer", "is_accepted"), [(None, False), ("n\n", False), ("y\n", True)])
def test_what_may_be_lost_is_accepted_by_a_person_or_by_its_name(
    answer: str | None, is_accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: answer is not None)
    monkeypatch.setattr(move, "ask", lambda _question: answer == "y\n")
    unsaid = make_parser().parse_args(["tunnel", "move", "--local", str(NEW_LOCAL)])
    said = make_parser().parse_args(["tunnel", "move", "--accept", "SEQUENCE_REPEAT"])
    assert list(move._accepted(said, losing())) == [Loss.SEQUENCE_REPEAT]
    assert list(move._accepted(unsaid, PLAN)) == []
    if is_accepted:
        assert list(move._accepted(unsaid, losing())) == [Loss.SEQUENCE_REPEAT]
    else:
        with pytest.raises(UnsupportedError, match="--accept sequence-repeat: a packet"):
            move._accepted(unsaid, losing())


def test_an_interrupted_move_says_how_it_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_self: Engine, _plan: MigrationPlan, **_more: Iterable[Any]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "migrate", interrupt)
    with pytest.raises(KeyboardInterrupt, match="the same command finishes the move"):
        move._migrate(Engine.__new__(Engine), PLAN, ())
