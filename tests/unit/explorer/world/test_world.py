"""The small world: still states to be put back anywhere, what may be done in each, what the pages hold."""

import pickle
from dataclasses import replace

import pytest

from pef_explorer.actions.move import GO_ON, GUESTS, MEMORY, VM, VMM, Move
from pef_explorer.actions.oracle import OPEN, SECRET, ZERO
from pef_explorer.actions.table import ESM_FAILS, UV_ESM
from pef_explorer.machines.faults import OF_A_PEER, Fault
from pef_explorer.machines.small_memory import TOKEN_BYTES
from pef_explorer.plan import Delivery, Part, Plan
from pef_explorer.world.possible_moves import possible_moves
from pef_explorer.world.quiescence import rest
from pef_explorer.world.records import Ending
from pef_explorer.world.world import World
from pef_protocol.designs import Design
from pef_protocol.states import UvGfnState as S

PLAN = Plan(Design.TRACKED, (Part.BROUGHT, Part.UNMIGRATED), plug=1)
WALK = (
    (GUESTS[0], UV_ESM, VM),
    (GUESTS[0], "share", 0),
    (MEMORY, "page out", 1),
    (VMM, "hot-add", VM),
    (MEMORY, "unmap", 0),
    (GUESTS[0], "store", 2),
    (VMM, "host write", 1),
    (GUESTS[0], "unshare", 0),
    (VMM, "reset", VM),
    (GUESTS[0], "store", 1),
)


def done(world: World, actor: str, action: str, gfn: int = VM) -> Ending:
    """Make an action alone to its end."""
    start = Move(actor, action, gfn)
    ended = world.do(start)
    while ended is None:
        ended = world.do(start if world.suspended else Move(actor, GO_ON))
    return ended


def secure_world(plan: Plan = PLAN) -> World:
    world = World(plan)
    assert done(world, GUESTS[0], UV_ESM).word == "U_SUCCESS"
    rest(world)
    world.put_back(world.saved())
    return world


def offered(world: World) -> set[tuple[str, str, int]]:
    return {(move.actor, move.action, move.gfn) for move, _ in possible_moves(world)}


def test_a_still_state_is_a_plain_value_that_another_world_goes_on_from() -> None:
    world, other = World(PLAN), World(PLAN)
    for actor, action, gfn in WALK:
        settled = pickle.loads(pickle.dumps(world.saved()))  # noqa: S301 - our own
        for each in (world, other):
            each.put_back(settled)
        assert (other.key(), other.now, offered(other)) == (world.key(), world.now, offered(world))
        assert done(other, actor, action, gfn) == done(world, actor, action, gfn)
    assert other.key() == world.key()


def test_whatever_is_open_is_given_up_and_leaves_nothing() -> None:
    world = secure_world()
    settled, key = world.saved(), world.key()
    for move in (Move(GUESTS[0], "share", 0), Move(GUESTS[0], GO_ON), Move(MEMORY, "page out", 0)):
        world.do(move)
    assert set(world.open) == {GUESTS[0], MEMORY}
    assert world.key() != key
    world.put_back(settled)
    assert (world.open, world.key(), world.begun) == ({}, key, 0)


@pytest.mark.parametrize(
    ("secure", "plugged", "there", "missing"),
    [
        (False, False, {UV_ESM, "load", "reboot", "hot-add", "host write"}, {"share", "hot-remove"}),
        (True, False, {"share", "unshare", "unshare all", "page out", "unmap", "hot-add"}, {UV_ESM}),
        (True, True, {"hot-remove"}, {"hot-add"}),
    ],
)
def test_what_may_be_done(*, secure: bool, plugged: bool, there: set[str], missing: set[str]) -> None:
    world = secure_world() if secure else World(PLAN)
    if plugged:
        done(world, VMM, "hot-add")
    names = {action for _, action, _ in offered(world)}
    assert names >= there
    assert not names & missing
    assert ((GUESTS[0], "load", 2) in offered(world)) == plugged


def test_beside_an_open_call_only_what_meets_it_may_begin() -> None:
    world = secure_world()
    world.do(Move(GUESTS[0], "share", 0))
    begun = {(action, gfn) for _, action, gfn in offered(world)}
    assert (GO_ON, VM) in begun
    assert {("host read", 0), ("unmap", 0), ("reset", VM)} <= begun
    assert not {gfn for _, gfn in begun} - {0, VM}
    world.do(Move(MEMORY, "page out", 0))
    assert {action for _, action, _ in offered(world)} == {GO_ON}


def test_a_second_vcpu_may_do_what_the_first_may() -> None:
    one, two = (offered(World(replace(PLAN, vcpus=vcpus))) for vcpus in (1, 2))
    assert two - one == {(GUESTS[1], action, gfn) for actor, action, gfn in one if actor == GUESTS[0]}


def test_an_entry_stands_between_its_phases_and_may_fail_where_it_is_measured() -> None:
    world, offered_moves = World(PLAN), []
    ended = world.do(Move(GUESTS[0], UV_ESM, VM))
    while ended is None:
        if world.suspended:
            offered_moves.append({action for actor, action, _ in offered(world) if actor in GUESTS})
            host = {action for actor, action, _ in offered(world) if actor not in GUESTS}
            assert host == {"host read", "host write", "page out", "unmap"}
            settled = pickle.loads(pickle.dumps(world.saved()))  # noqa: S301 - our own
            world.put_back(settled)
        ended = world.do(Move(GUESTS[0], UV_ESM if world.suspended else GO_ON))
    assert ended.word == "U_SUCCESS"
    assert offered_moves.count({UV_ESM, ESM_FAILS}) == 1
    assert len(offered_moves) > 2
    assert all(UV_ESM in each for each in offered_moves)


def test_a_bad_image_goes_back_to_a_normal_vm() -> None:
    world = World(PLAN)
    ended = world.do(Move(GUESTS[0], UV_ESM, VM))
    while ended is None:
        fails = (GUESTS[0], ESM_FAILS, VM) in offered(world)
        ended = world.do(Move(GUESTS[0], (ESM_FAILS if fails else UV_ESM) if world.suspended else GO_ON))
    assert ended.word == "U_PERMISSION"
    assert (world.oracle.secure, world.system.svm) == (False, None)


def test_a_page_that_is_not_given_back_may_be_zero_as_soon_as_the_svm_is_no_more() -> None:
    world = World(replace(PLAN, vcpus=2, faults=1))
    assert done(world, GUESTS[1], "store", 0).word == "resolved"
    ended = world.do(Move(GUESTS[0], UV_ESM, VM))
    seen = []
    while ended is None:
        fails = (GUESTS[0], ESM_FAILS, VM) in offered(world)
        asked = world.open[GUESTS[0]].call.asked if GUESTS[0] in world.open else None
        lost = Fault.REFUSED if asked is not None and asked.name == "UV_PAGE_OUT" else None
        move = Move(GUESTS[0], GO_ON, VM, lost)
        ended = world.do(Move(GUESTS[0], ESM_FAILS if fails else UV_ESM, VM) if world.suspended else move)
        seen.append((world.system.svm is not None, ended is None, ZERO in world.oracle.may[0]))
    assert world.faults == 0
    assert (True, True, False) in seen
    assert {zero for svm, still_open, zero in seen if not svm and still_open} == {True}


@pytest.mark.parametrize("delivery", Delivery)
def test_faults_befall_requests_as_often_as_the_plan_says(delivery: Delivery) -> None:
    world = secure_world(replace(PLAN, faults=1, delivery=delivery))
    world.do(Move(GUESTS[0], "share", 0))
    reported = {move.fault for move, _ in possible_moves(world) if move.action == GO_ON}
    assert reported == {None, *OF_A_PEER[delivery]}
    world.do(Move(GUESTS[0], GO_ON, VM, Fault.REFUSED))
    assert (world.faults, world.faulty) == (0, True)
    assert {move.fault for move, _ in possible_moves(world)} == {None}


@pytest.mark.parametrize(("shared", "kind"), [(False, SECRET), (True, OPEN)])
def test_a_store_leaves_bytes_that_say_whose_they_are(shared: bool, kind: bytes) -> None:
    world = secure_world()
    if shared:
        done(world, GUESTS[0], "share", 0)
    assert done(world, GUESTS[0], "store", 0).word == "resolved"
    (token,) = world.oracle.may[0]
    assert token[:2] == kind + b"\x01"
    page = world.system.normal_page(0)
    assert page is not None
    held = world.now.normal[page] if shared else world.now.frames[0]
    assert held[:TOKEN_BYTES] == token
    assert done(world, GUESTS[0], "load", 0).word == "as written"


def test_a_share_and_an_unshare_leave_zero() -> None:
    world = secure_world()
    for action in ("share", "unshare"):
        done(world, GUESTS[0], "store", 0)
        assert done(world, GUESTS[0], action, 0).word == "U_SUCCESS"
        assert world.oracle.may[0] == {ZERO}
        assert done(world, GUESTS[0], "load", 0).word == "zero"


def test_a_page_that_went_out_is_known_as_what_went_out_until_somebody_writes_over_it() -> None:
    world = secure_world()
    page = world.system.normal_page(1)
    assert page is not None
    for _ in range(2):
        done(world, MEMORY, "page out", 1)
        assert world.at_uv(1) is S.PAGEDOUT
        assert world.oracle.origin(1, world.now.normal[page]) == b"C"
        assert done(world, GUESTS[0], "load", 1).word == "as written"
    done(world, MEMORY, "page out", 1)
    done(world, VMM, "host write", 1)
    assert world.oracle.tainted == [False, True, False]
    assert world.oracle.origin(1, world.now.normal[page]) == b"?"
    assert done(world, GUESTS[0], "load", 1).word == "refused"


def test_a_page_of_the_next_svm_is_known_as_what_went_out_of_that_one() -> None:
    """Each SVM counts its sealed pages from 1."""
    world = secure_world()
    for _ in range(2):
        done(world, MEMORY, "page out", 1)
        page = world.system.normal_page(1)
        assert page is not None
        assert world.oracle.origin(1, world.now.normal[page]) == b"C"
        done(world, VMM, "reset")
        assert done(world, GUESTS[0], UV_ESM).word == "U_SUCCESS"
        rest(world)


def test_no_page_in_use_is_left_blank() -> None:
    world = World(PLAN)
    done(world, GUESTS[0], UV_ESM)
    assert world.oracle.may[:2] == [frozenset({ZERO})] * 2
    stores = rest(world)
    assert {move.gfn for move in stores if move.action == "store"} == {0, 1}
    assert ZERO not in world.oracle.may[0] | world.oracle.may[1]
    assert rest(world) == ()


def stored_token(world: World, vcpu: str, gfn: int) -> bytes:
    """Begin a store and return its token."""
    world.do(Move(vcpu, "store", gfn))
    return world.open[vcpu].token


TWO_VCPUS = replace(PLAN, vcpus=2)


def test_a_store_to_a_page_that_is_paged_out_stays_a_secret() -> None:
    world = secure_world(TWO_VCPUS)
    done(world, MEMORY, "page out", 0)
    assert world.oracle.is_secret(stored_token(world, GUESTS[1], 0))


def test_a_store_that_meets_a_share_of_its_page_is_no_secret() -> None:
    """Given a page that is out, when one vCPU shares it and another stores to it, in either order."""
    for first, second in (("store", "share"), ("share", "store")):
        world = secure_world(TWO_VCPUS)
        done(world, MEMORY, "page out", 0)
        vcpu_of = {first: GUESTS[0], second: GUESTS[1]}
        world.do(Move(GUESTS[0], first, 0))
        world.do(Move(GUESTS[1], second, 0))
        assert not world.oracle.is_secret(world.open[vcpu_of["store"]].token)


def test_a_share_of_another_page_discloses_nothing() -> None:
    world = secure_world(TWO_VCPUS)
    done(world, MEMORY, "page out", 0)
    token = stored_token(world, GUESTS[0], 0)
    world.do(Move(GUESTS[1], "share", 1))
    assert world.oracle.is_secret(token)


def test_every_private_page_at_rest_holds_a_secret() -> None:
    world = secure_world()
    private = [gfn for gfn in range(PLAN.pages) if world.at_uv(gfn) is S.SECURE]
    assert private
    assert all(world.oracle.is_secret(world.now.frames[gfn][:TOKEN_BYTES]) for gfn in private)


@pytest.mark.parametrize("waits", [False, True])
def test_a_guest_that_waits_uses_a_slot_only_while_nobody_plugs_it(*, waits: bool) -> None:
    world = secure_world(replace(PLAN, guest_waits=waits))
    of_slot_1 = (GUESTS[0], "store", 2)
    assert world.do(Move(VMM, "hot-add", VM)) is None
    assert (of_slot_1 in offered(world)) is not waits
    while world.do(Move(VMM, GO_ON)) is None:
        pass
    assert of_slot_1 in offered(world)


@pytest.mark.parametrize("waits", [False, True])
def test_a_slot_is_taken_out_under_a_guest_that_does_not_wait(*, waits: bool) -> None:
    world = secure_world(replace(PLAN, guest_waits=waits))
    done(world, VMM, "hot-add")
    world.put_back(world.saved())
    assert world.do(Move(GUESTS[0], "share", 2)) is None
    assert ((VMM, "hot-remove", VM) in offered(world)) is not waits


def test_a_vcpu_whose_call_stands_between_two_phases_begins_nothing_else() -> None:
    world, enter = World(replace(PLAN, vcpus=2)), Move(GUESTS[0], UV_ESM, VM)
    move = enter
    while world.suspended is None or world.at_uv(0) is None or not world.now.hv[0]:  # GFN 0 is imported
        world.do(move)
        move = Move(GUESTS[0], GO_ON) if world.open else enter
    world.put_back(world.saved())
    assert world.do(Move(VMM, "host read", 0)) is None
    begin = {(actor, action) for actor, action, gfn in offered(world) if gfn == 0}
    assert (GUESTS[1], "load") in begin
    assert (GUESTS[0], "load") not in begin
