"""What each method cannot do, and what it would lose: one judgement for each SA that moves. Nothing is asked here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pfkeyx.errors import UnsupportedError
from pfkeyx.features import Support
from pfkeyx.migration.plan import GRAVE, Loss, Method, PolicyMove, SAMove
from pfkeyx.migration.templates import Index
from pfkeyx.model import SA, Direction, Encap, Limit, Mode, Protocol, SAState, Template, UdpEncap, any_selector

#: How far a sequence number is put ahead: packets that are past the policy when it blocks, segments included.
MARGIN = 4096
#: RFC 3686, whatever the cipher.
_COUNTER_MODE = "rfc3686("
#: What the kernel does by itself, to a copy that it makes.
_KERNELS = (Method.MIGRATE_STATE, Method.MIGRATE, Method.SADB_X_MIGRATE)
_THROUGH_POLICIES = (Method.MIGRATE, Method.SADB_X_MIGRATE)

Supports = Mapping[Method, Support]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An SA that shall move: as it was read, as it was written, and as it shall be, and what is around it.

    `policies` are those of its step, `index` has all SAs, and `companions` are those of its step, itself too, as they
    are and as they shall be. `can_block` says whether packets can be kept from an outbound policy while its SAs move.
    """

    read: SA
    before: SA
    after: SA
    outbound: bool
    index: Index
    policies: Sequence[PolicyMove]
    companions: Sequence[tuple[SA, SA]]
    can_block: bool = True

    @property
    def is_alone(self) -> bool:
        """Whether no other SA answers to the same template."""
        reqids = {template.reqid for move in self.policies for template in move.before.templates}
        return self.index.is_alone(self.read, reqids)

    def reversed(self) -> "Candidate":
        """Return the candidate for the way back."""
        return replace(
            self,
            before=self.after,
            after=self.before,
            policies=[move.reversed() for move in self.policies],
            companions=[(after, before) for before, after in self.companions],
        )


def choose(candidate: Candidate, supports: Supports, forced: Method | None) -> SAMove:
    """Return the move by the first method that loses nothing grave, or else by the one that loses the least.

    Raises `UnsupportedError` when no method can move the SA, and undo it.
    """
    passed_over: list[tuple[Method, str]] = []
    possible: list[SAMove] = []
    for method in (forced,) if forced else Method:
        reason = _objection(method, candidate, supports)
        undo = _undo(method, candidate, supports) if reason is None else None
        if undo is None:
            passed_over.append((method, reason or "it could not be undone"))
            continue
        losses = _losses(method, candidate)
        move = SAMove(candidate.before, candidate.after, method, undo, losses, tuple(passed_over))
        if losses.isdisjoint(GRAVE):
            return move
        grave = [loss for loss in Loss if loss in losses and not loss.minor]
        possible.append(move)
        passed_over.append((method, "it would lose " + "; ".join(loss.value for loss in grave)))
    if possible:
        return min(possible, key=lambda move: sum(not loss.minor for loss in move.losses))
    reasons = "; ".join(f"{method.value}: {reason}" for method, reason in passed_over)
    raise UnsupportedError(f"moving {candidate.before} without a loss", reasons)


def _undo(method: Method, candidate: Candidate, supports: Supports) -> Method | None:
    """Return the method by which a move is undone: the same, where it can."""
    if method not in _THROUGH_POLICIES:
        return method  # it finds an SA by its identity, wherever that is
    back = candidate.reversed()
    return next((m for m in (method, *Method) if _objection(m, back, supports) is None), None)


def _losses(method: Method, candidate: Candidate) -> frozenset[Loss]:
    sa = candidate.read
    if method is Method.ADDRUPDATE:
        return frozenset({Loss.TIMER_PHASE})
    losses = {Loss.FAILURES, Loss.TIMER_PHASE}
    if sa.lifetime.soft != Limit():
        losses.add(Loss.SOFT_LIMIT)
    if method in (Method.MIGRATE, Method.REPLACE):
        losses.add(Loss.SEQUENCE_GAP if candidate.outbound else Loss.RECEIVED_MEANWHILE)
    if method is Method.SADB_X_MIGRATE:
        # Nothing is blocked, and nobody sees the sequence number.
        losses.add(Loss.SEQUENCE_REPEAT if candidate.outbound else Loss.RECEIVED_MEANWHILE)
        losses.add(Loss.UNSEEN)
    if method is Method.REPLACE:
        losses.add(Loss.LAST_USED)
    if method in _THROUGH_POLICIES and sa.offload:
        losses.add(Loss.OFFLOAD)
    if method in _THROUGH_POLICIES and sa.other:
        losses.add(Loss.UNKNOWN_ATTRIBUTES)
    return frozenset(losses)


def _objection(method: Method, candidate: Candidate, supports: Supports) -> str | None:
    """Return why a method cannot move an SA, None when it can."""
    support = supports[method]
    if not support.available:
        return support.reason
    return (
        _general_objection(candidate.read)
        or (_addrupdate_objection(candidate.before, candidate.after) if method is Method.ADDRUPDATE else None)
        or _optional_objection(candidate)
        or (_kernels_objection(candidate.read) if method in _KERNELS else None)
        or (_sequence_objection(candidate) if method in (Method.MIGRATE, Method.REPLACE) else None)
        or (_policy_objection(method, candidate) if method in _THROUGH_POLICIES else None)
        or (_keys_objection(candidate.read) if method is Method.REPLACE else None)
    )


def _general_objection(sa: SA) -> str | None:
    if sa.id.protocol not in (Protocol.ESP, Protocol.AH, Protocol.IPCOMP):
        return f"{sa} is neither ESP nor AH nor IPComp"
    # PF_KEY shows no algorithm of a combined mode, and tells the state; XFRM tells no state.
    has_algorithm = sa.encryption is not None or sa.authentication is not None or sa.compression is not None
    if sa.state not in (SAState.MATURE, SAState.DYING) and not has_algorithm:
        return f"{sa} is larval, and has no keys yet"
    if sa.mode not in (Mode.TRANSPORT, Mode.TUNNEL, Mode.BEET, Mode.IPTFS):
        return f"{sa} is in {sa.mode} mode, which is Mobile IPv6's own"
    return None


def _optional_objection(candidate: Candidate) -> str | None:
    if not candidate.can_block and candidate.outbound and any(move.has_optional for move in candidate.policies):
        return "PF_KEY cannot block a policy whose template is optional: packets would leave in clear"
    return None


def _addrupdate_objection(sa: SA, after: SA) -> str | None:
    if sa.id.mark:
        return "PF_KEY finds unmarked SAs only"
    if sa.offload:
        return "it moves no SA whose work an interface does"
    if sa.encap != after.encap and any(encap != _plain(encap) for encap in (sa.encap, after.encap)):
        return "PF_KEY says of an encapsulation that it is in UDP, and between which ports"
    return None


def _plain(encap: Encap | None) -> UdpEncap | None:
    return UdpEncap(encap.source_port, encap.destination_port) if encap else None


def _kernels_objection(sa: SA) -> str | None:
    if sa.encryption is not None and sa.encryption.algorithm.xfrm_name.startswith(_COUNTER_MODE):
        return f"every kernel migration forgets the IV generator of {sa.encryption.algorithm}: the SA would be dead"
    return None


def _sequence_objection(candidate: Candidate) -> str | None:
    replay = candidate.read.replay
    if candidate.outbound and replay is not None and not has_room(candidate.read, replay.outbound):
        return "its sequence numbers are used up: rekey it"
    return None


def has_room(sa: SA, outbound: int) -> bool:
    """Return whether the sequence number of an outbound SA can be put ahead, and back again if it has to be undone."""
    return outbound + 2 * MARGIN < 1 << (64 if sa.esn else 32)


def hides_keys(sa: SA) -> bool:
    """Return whether the kernel shows zeros for a key, as it does under lockdown; nobody's key is all zeros."""
    return any(part is not None and part.key.is_hidden for part in (sa.encryption, sa.authentication))


def _keys_objection(sa: SA) -> str | None:
    if hides_keys(sa):
        return "the kernel hides its keys, as under lockdown, so that it cannot be added again"
    return None


def _policy_objection(method: Method, candidate: Candidate) -> str | None:
    """Return why the kernel would not find this SA through a policy, or not leave it as it is."""
    sa, after = candidate.before, candidate.after
    if sa.mode is not Mode.TUNNEL:
        return f"it finds no SA in {sa.mode} mode by addresses that a policy names"
    if sa.id.protocol is Protocol.IPCOMP:
        # Linux 6.1, seen: the tunnel that it makes for small packets (RFC 3173 §2.2) stays at the old addresses.
        return "it leaves behind the tunnel that the kernel made for what cannot be compressed"
    if sa.id.mark or any(move.before.mark for move in candidate.policies):
        return "it does not find marked policies on every kernel"
    if any(move.before.if_id != sa.if_id for move in candidate.policies):
        return "it does not find an SA whose interface id is not its policy's"
    if not candidate.is_alone:
        return "it moves only the newest of several SAs that one template finds"
    if sa.encap and not after.encap:
        return "it cannot remove an encapsulation on every kernel"
    if method is Method.SADB_X_MIGRATE and (sa.encap or after.encap):
        return "PF_KEY cannot say the encapsulation, and some kernels drop it"
    goes_elsewhere = method is Method.SADB_X_MIGRATE and sa.source.version != after.source.version
    if goes_elsewhere and sa.effective_selector not in (any_selector(4), any_selector(6)):
        return "PF_KEY does not show the selector of an SA between addresses of another family"
    if len({new.encap for _, new in candidate.companions}) > 1:
        return "it gives all SAs of a policy the same encapsulation"
    named = [old for old, _ in leading_pairs(candidate.policies, [(sa, after)])]
    if len(named) != 1:
        return "it finds SAs only through a policy that names each of them at the old addresses"
    return None


def leading_policy(policies: Sequence[PolicyMove]) -> PolicyMove | None:
    """Return the policy through which MIGRATE is asked: `in` before `fwd`, which is only looked up for what goes on."""
    changing = [move for move in policies if move.changes_templates]
    return min(changing, key=lambda move: move.before.direction is Direction.FORWARD, default=None)


def leading_pairs(
    policies: Sequence[PolicyMove], sas: Sequence[tuple[SA, SA]]
) -> tuple[tuple[Template, Template], ...]:
    """Return the old and new templates of the leading policy that find these SAs, as they are and as they shall be."""
    leading = leading_policy(policies)
    if leading is None:
        return ()
    pairs = zip(leading.before.templates, leading.after.templates, strict=True)
    return tuple((old, new) for old, new in pairs if any(_is_named(old, new, *sa) for sa in sas))


def _is_named(old: Template, new: Template, before: SA, after: SA) -> bool:
    return (
        (old.protocol, old.mode, old.source, old.destination)
        == (before.id.protocol, before.mode, before.source, before.destination)
        and old.reqid in (0, before.reqid)
        and (new.source, new.destination) == (after.source, after.destination)
    )
