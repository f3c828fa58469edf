"""No environment variable of a library decides anything: neither those that it reads, nor those it might."""

from pathlib import Path
from typing import Final

import pytest

from harness.live import LivePair, LivePlan, live_pair
from harness.live_vm import FREE, live_vm
from pef_lab.service_process import ServiceProcess

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

RECORDED: Final = Path(__file__).with_name("recorded_variables")
OF_THE_PROCESS: Final = frozenset({"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH"})
"""Without these there is no process, or none of this test."""
KEPT: Final = ("PEF_", "PYTHON", "_PYTHON")
"""Settings of the services; and what is said to Python itself."""
READ_BY_MACHINE_CODE: Final = (
    "UV_THREADPOOL_SIZE",
    "UV_USE_IO_URING",
    "OPENSSL_CONF",
    "OPENBLAS_VERBOSE",
    "NPY_DISABLE_CPU_FEATURES",
)
"""Variables of libraries below Python, which nothing here can note: libuv, OpenSSL, OpenBLAS, numpy."""
KNOWN: Final = (
    "WEB_CONCURRENCY",
    "FORWARDED_ALLOW_IPS",
    "FASTAPI_OTEL_AUTO_CONFIGURE",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NETRC",
    "PROMETHEUS_MULTIPROC_DIR",
    "prometheus_multiproc_dir",
    "AIOHTTP_NO_EXTENSIONS",
    "HTTPX_LOG_LEVEL",
)
"""Variables that these libraries have had, in this version or another."""
PLANTED: Final = (
    "planted",
    *(
        pytest.param(value, marks=pytest.mark.verify)
        for value in ("1", "http://127.0.0.1:1", "/nowhere", "*", "true")
    ),
)


async def lived(pair: LivePair) -> None:
    """Have a VM become secure, page out and in, and end."""
    async with live_vm(pair) as vm:
        await vm.boot()
        await vm.write(FREE)
        await vm.page_out(FREE)
        await vm.reads_what_it_wrote()


def ended(pair: LivePair) -> None:
    """Stop both services, which have said nothing and have no process beside their own."""
    for process in (pair.ultravisor, pair.hypervisor):
        assert children(process) == ""
        process.ask_to_stop()
        process.stop()
        assert process.last_words() == ""


def children(process: ServiceProcess) -> str:
    """Return the ids of the processes that a service has started."""
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")


@pytest.fixture(scope="module")
async def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Give the names of all variables that services look at, from their start to their end."""
    file = tmp_path_factory.mktemp("variables") / "names"
    variables = (("PYTHONPATH", str(RECORDED)), ("PEF_TEST_NAMES", str(file)))
    async with live_pair(LivePlan(mapped=False, between=False, variables=variables)) as pair:
        await lived(pair)
        ended(pair)
    found = {*file.read_text(encoding="utf-8").split()}
    return sorted(name for name in found if not name.startswith(KEPT) and name not in OF_THE_PROCESS)


async def test_variables_are_noted(names: list[str]) -> None:
    """The instrument works: uvicorn reads FORWARDED_ALLOW_IPS or not, but somebody reads something."""
    assert names
    assert not set(names) & OF_THE_PROCESS


@pytest.mark.parametrize("planted", PLANTED)
async def test_a_pair_does_the_same_whatever_they_are(names: list[str], planted: str) -> None:
    """Given each of these variables set to something that its library would follow, or choke on.

    When a pair starts, a VM lives in it, and both services are stopped,
    then all goes well, no other process was started, and nobody says a word.
    """
    variables = dict.fromkeys((*names, *KNOWN, *READ_BY_MACHINE_CODE), planted)
    plan = LivePlan(mapped=False, between=False, variables=tuple(variables.items()))
    async with live_pair(plan) as pair:
        await lived(pair)
        ended(pair)
