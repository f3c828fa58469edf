"""UV_ESM over real HTTP between two processes, and as many empty nested calls beside it."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.empty_pair import PAGE_INS
from bench.stage import SMALLEST, Stage, Yard, empty_pair, yard
from harness.linked import LinkedPair
from pef_lab.guest import Guest
from pef_lab.image import build_image
from pef_lab.pair import PairPlan
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_ORDER, Gpa
from pef_protocol.ultracalls import Esm

GIBIBYTE = 1 << 30
SIZES = {"1GiB": GIBIBYTE, "10GiB": 10 * GIBIBYTE, "100GiB": 100 * GIBIBYTE, "1TiB": 1024 * GIBIBYTE}


def measure(benchmark: BenchmarkFixture, stage: Stage, fixture: Yard, design: Design, rounds: int) -> None:
    """Time UV_ESM of a fresh VM, round after round."""

    def fresh() -> tuple[tuple[Guest], dict[str, object]]:
        stage.run(fixture.clear())
        return (stage.run(fixture.boot(design)),), {}

    def enter(guest: Guest) -> None:
        stage.run(fixture.enter(guest))

    benchmark.pedantic(enter, setup=fresh, rounds=rounds, warmup_rounds=2)


@pytest.mark.benchmark(group="UV_ESM, tracked")
@pytest.mark.parametrize("size", SIZES)
def test_uv_esm(benchmark: BenchmarkFixture, stage: Stage, size: str) -> None:
    with stage.entered(yard(PairPlan(2 * SIZES[size]), SIZES[size])) as fixture:
        measure(benchmark, stage, fixture, Design.TRACKED, rounds=9)


@pytest.mark.benchmark(group="UV_ESM, tracked")
def test_uv_esm_in_one_process(benchmark: BenchmarkFixture) -> None:
    size = SIZES["100GiB"]
    pair = LinkedPair(secure_pages=2 * size >> PAGE_ORDER, normal_bytes=2 * size)
    key = pair.uv.machine_key.public_bytes
    image = build_image(memory_size=size, machine_public_key=key, bootargs="bench", files={}, seed=1)

    def fresh() -> tuple[tuple[int], dict[str, object]]:
        for lpid in tuple(pair.hv.store.vms):
            pair.run(pair.hv.destroy(lpid))
        created = pair.run(pair.hv.create_vm(Design.TRACKED, secure_guest=True, radix=True))
        lpid = created.outputs["lpid"]
        pair.run(pair.hv.add_slot(lpid, 0, 0, size))
        for piece in image.layout:
            pair.run(pair.hv.host_write(lpid, piece.gpa, piece.content))
        return (lpid,), {}

    def enter(lpid: int) -> None:
        asked = Esm(Gpa(image.kernel_base), Gpa(image.fdt_address))
        assert pair.guest_call(lpid, "UV_ESM", asked).code.succeeded

    benchmark.pedantic(enter, setup=fresh, rounds=15, warmup_rounds=3)


@pytest.mark.benchmark(group="UV_ESM, tracked")
def test_empty_nested_calls(benchmark: BenchmarkFixture, stage: Stage) -> None:
    with stage.entered(empty_pair()) as empty_esm:
        benchmark.pedantic(lambda: stage.run(empty_esm()), rounds=15, warmup_rounds=3)


def test_the_empty_pair_sends_as_many_messages(stage: Stage) -> None:
    with stage.entered(yard(PairPlan(2 * SMALLEST), SMALLEST)) as fixture:
        guest = stage.run(fixture.boot(Design.TRACKED))
        stage.run(fixture.watch.answered_calls())
        stage.run(fixture.enter(guest))
        names = [event["name"] for event in stage.run(fixture.watch.answered_calls())]
    assert names.count("H_SVM_PAGE_IN") == PAGE_INS
    assert names.count("UV_PAGE_IN") == PAGE_INS
    assert len(names) == 2 * PAGE_INS + 4


@pytest.mark.benchmark(group="UV_ESM, eager")
def test_one_gfn_a_message(benchmark: BenchmarkFixture, stage: Stage) -> None:
    with stage.entered(yard(PairPlan(2 * SMALLEST, gfns_a_message=1), SMALLEST)) as fixture:
        measure(benchmark, stage, fixture, Design.EAGER, rounds=2)


@pytest.mark.benchmark(group="UV_ESM, eager")
@pytest.mark.parametrize("size", ["1GiB", "100GiB"])
def test_uv_esm_eager(benchmark: BenchmarkFixture, stage: Stage, size: str) -> None:
    with stage.entered(yard(PairPlan(2 * SIZES[size]), SIZES[size])) as fixture:
        measure(benchmark, stage, fixture, Design.EAGER, rounds=5)
