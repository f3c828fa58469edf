"""`pef rows` as a person runs it: against what it starts, against a pair by URL, and one side alone."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from pef_lab.endpoints import Endpoints
from pef_lab.pair import Pair, PairPlan, started
from pef_lab.ports import free_ports
from pef_lab.rows.passes import SECURE_MEMORY
from pef_lab.service_process import LIVE, ServiceProcess
from pef_lab.starting import fresh_endpoints, hypervisor_environment, ultravisor_environment
from pef_protocol.calls import CALLS
from pef_protocol.http import Role
from scenarios.pef_command import PEF, environment, pef

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

TIMEOUT = 120.0
"""Seconds that a run may take before it counts as hanging."""


def different(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows of all passes by id, as the last pass that played them found them."""
    rows = [row for each in report["passes"] for row in each["rows"]]
    return {row["id"]: row for row in sorted(rows, key=lambda row: row["verdict"] != "skipped")}


@pytest.mark.verify
def test_all_rows_pass_on_what_is_started_for_them_and_no_family_is_missing(tmp_path: Path) -> None:
    """Given nothing that runs.

    When `pef rows` is run,
    then each MUST row passes on each subject, and no family of rows is missing.
    """
    file = tmp_path / "rows.json"
    # Sound sides answer in the end, however busy the machine is.
    done = pef("rows", "--json", file, "--patience", "300", runtime=tmp_path, time_limit=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text())
    assert report["holds"]
    assert [each["subject"] for each in report["passes"]] == [
        "pair",
        "ultravisor",
        "hypervisor",
        "hypervisor without secure memory",
    ]
    rows = different(report)
    assert {row["verdict"] for row in rows.values() if row["level"] == "must"} == {"pass"}
    assert sum(row["level"] != "must" for row in rows.values()) < 20
    kinds = Counter(row["kind"] for row in rows.values())
    assert kinds["rung"] >= sum(len(call.check_order) for call in CALLS.values())
    families = Counter(name.partition("/")[0] for name in rows)
    assert (families["vm"], families["life"], families["gfn"]) == (15, 12, 84)
    pairs = sum(len(list(combinations(call.check_order, 2))) for call in CALLS.values())
    assert kinds["pair of rungs"] + len(report["unmade"]) == pairs
    for kind in ("success", "rung", "pair of rungs"):
        assert {row["call"] for row in rows.values() if row["kind"] == kind} >= set(CALLS)
    refusals = [row for row in rows.values() if row["kind"] in {"rung", "pair of rungs"}]
    unseen = [row["id"] for row in refusals if row["evidence"] != "digest"]
    assert all("/runs/" in name for name in unseen), "only beside runs that are done has a side to change"


def reported(endpoints: Endpoints, runtime: Path) -> dict[str, str]:
    """Return the environment of a command that tests what `endpoints` name."""
    return environment(runtime) | endpoints.environment


async def rows(variables: dict[str, str], *words: str | Path) -> tuple[int, str, str]:
    """Run `pef rows`; return its status, what it said, and what it complained of."""
    process = await asyncio.create_subprocess_exec(
        PEF,
        "rows",
        *words,
        env=variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, out.decode(), err.decode()


def everything_of(pair: Pair) -> Endpoints:
    """Return the endpoints of a pair with the tokens by which its sides know each other."""
    tokens = {role: pair.visor_tokens[role] for role in (Role.ULTRAVISOR, Role.HYPERVISOR)}
    return replace(
        pair.endpoints,
        ultravisor_token=tokens[Role.ULTRAVISOR],
        hypervisor_token=tokens[Role.HYPERVISOR],
    )


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with started(PairPlan(SECURE_MEMORY)) as pair:
        yield pair


@pytest.mark.verify
async def test_a_pair_is_tested_by_its_urls_alone_and_twice(pair: Pair, tmp_path: Path) -> None:
    """Given a pair that runs.

    When `pef rows` is given its URLs, twice,
    then its rows pass both times, and no token is told.
    """
    file = tmp_path / "rows.json"
    variables = reported(everything_of(pair), tmp_path)
    said = ""
    for _ in range(2):
        status, out, err = await rows(variables, "--id", "[uh]v/*page-in/*", "--json", file)
        assert status == 0, out + err
        said += out + err + file.read_text()
        (only,) = json.loads(file.read_text())["passes"]
        assert only["subject"] == "pair"
        assert {row["verdict"] for row in only["rows"]} == {"pass", "skipped"}
        assert only["counts"]["pass"] > 80
    tokens = set(everything_of(pair).environment.values())
    assert not any(token in said for token in tokens)


@pytest.mark.parametrize("side", [Role.ULTRAVISOR, Role.HYPERVISOR])
async def test_one_side_alone_is_tested_where_it_was_told_to_call_us(side: Role, tmp_path: Path) -> None:
    """Given one side that runs, told to call us as its peer, when `pef rows` tests it, then its rows pass."""
    endpoints, (port,) = fresh_endpoints(), free_ports(1)
    tell = ultravisor_environment if side is Role.ULTRAVISOR else hypervisor_environment
    peer = f"http://127.0.0.1:{port}"
    variables = tell(endpoints, peer_url=peer, normal_memory="", secure_memory=SECURE_MEMORY)
    url = endpoints.ultravisor_url if side is Role.ULTRAVISOR else endpoints.hypervisor_url
    nowhere = replace(endpoints, ultravisor_url="", hypervisor_url="")
    file = tmp_path / "rows.json"
    process = ServiceProcess(f"pef-{side}", variables, tmp_path / "service.log")
    try:
        await process.until_ready(url, LIVE)
        words = (f"--{side}-url", url, "--peer-port", str(port), "--id", "[uh]v/page-out/*", "--json", file)
        status, out, err = await rows(reported(nowhere, tmp_path), *words)
    finally:
        process.stop()
    assert status == 0, out + err
    (only,) = json.loads(file.read_text())["passes"]
    assert only["subject"] == str(side)
    assert {row["verdict"] for row in only["rows"]} == {"pass"}
    assert only["counts"]["pass"] > 40


@pytest.mark.verify
async def test_without_an_observer_rows_infer_and_say_so(pair: Pair, tmp_path: Path) -> None:
    """Given a pair, and no observer's token.

    When `pef rows` tests the pair,
    then rows pass, and say that they inferred what they could not see.
    """
    file = tmp_path / "rows.json"
    blind = reported(replace(everything_of(pair), observer_token=""), tmp_path)
    status, out, err = await rows(blind, "--id", "?v/*page-in/*", "--json", file)
    assert status == 0, out + err
    (only,) = json.loads(file.read_text())["passes"]
    assert {row["evidence"] for row in only["rows"] if row["kind"] == "rung"} <= {"inferred", None}
    assert only["counts"]["pass"] > 80
    assert " 0 seen by digests" in out


async def test_a_token_that_is_not_known_is_one_line(pair: Pair, tmp_path: Path) -> None:
    """Given a token that the Hypervisor does not know.

    When `pef rows` is run,
    then it ends with status 2 and one line that names the token's variable.
    """
    variables = reported(everything_of(pair), tmp_path) | {"PEF_VMM_TOKEN": "not-known"}
    status, out, err = await rows(variables)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "the Hypervisor refuses the token from PEF_VMM_TOKEN: HTTP status 401" in err


async def test_a_side_that_falls_silent_is_errors_and_no_hang(pair: Pair, tmp_path: Path) -> None:
    """Given an Ultravisor that is stopped while rows are played.

    When the run goes on,
    then it ends with status 1, and the rows that were left are errors.
    """
    file = tmp_path / "rows.json"
    process = await asyncio.create_subprocess_exec(
        *(PEF, "rows", "--patience", "0.5", "--json", file),
        env=reported(everything_of(pair), tmp_path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(TIMEOUT):
            await process.stderr.readuntil(b" 10%")
            os.kill(pair.ultravisor.pid, signal.SIGSTOP)
            await process.communicate()
    finally:
        os.kill(pair.ultravisor.pid, signal.SIGCONT)
        if process.returncode is None:
            process.kill()
    assert process.returncode == 1
    (only,) = json.loads(file.read_text())["passes"]
    verdicts = Counter(row["verdict"] for row in only["rows"])
    assert verdicts["pass"] > 20
    assert verdicts["harness error"] > 200
    assert set(verdicts) == {"pass", "harness error", "skipped"}
    assert any("nor has /livez" in (row["cause"] or "") for row in only["rows"])
