"""The door's check of form: any u64 passes, everything else is refused by the name of its field."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pef_kit.runtime.messages import Malformed, encode_call, from_json, from_octets
from pef_protocol.calls import CALLS, Call
from pef_protocol.quantities import U64_MAX
from pef_protocol.runs import PageRuns, PlacedRuns, Runs
from pef_protocol.ultracalls import EsmbGetFile, PageIn, WritePate

PATE, PAGE_IN, GET_FILE = CALLS["UV_WRITE_PATE"], CALLS["UV_PAGE_IN"], CALLS["UV_ESMB_GET_FILE"]
NO_NUMBERS: Mapping[str, str] = {
    "string": '"1"',
    "fraction": "1.5",
    "whole float": "1.0",
    "exponent": "1e3",
    "true": "true",
    "NaN": "NaN",
    "negative": "-1",
    "2**64": str(1 << 64),
    "huge": "9" * 4000,
    "null": "null",
    "list": "[1]",
    "object": "{}",
}
no_number = pytest.mark.parametrize("text", NO_NUMBERS.values(), ids=NO_NUMBERS.keys())
numbers = st.integers(0, U64_MAX) | st.sampled_from([0, 1 << 63, U64_MAX])


def requests(call: Call) -> st.SearchStrategy[Any]:
    """Make any request of a call."""
    kinds: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=64, alphabet=st.characters(exclude_categories=["Cs"])),
        PageRuns: st.lists(st.tuples(numbers, numbers), max_size=5).map(PageRuns.from_rows),
        PlacedRuns: st.lists(st.tuples(numbers, numbers, numbers), max_size=5).map(PlacedRuns.from_rows),
    }
    forms = {argument.name: kinds.get(argument.type, numbers) for argument in fields(call.request)}
    return st.builds(call.request, **forms)


def refused(call: Call, body: str) -> str:
    """Return the field for which a JSON body is refused."""
    with pytest.raises(Malformed) as caught:
        from_json(call, body.encode())
    assert str(caught.value) == f"{caught.value.field}: {caught.value.reason}"
    return caught.value.field


@given(st.data())
def test_what_a_peer_encodes_is_what_the_endpoint_decodes(data: st.DataObject) -> None:
    call = data.draw(st.sampled_from(list(CALLS.values())))
    request = data.draw(requests(call))
    assert from_json(call, encode_call(call, request)["content"]) == request


@given(numbers, numbers, numbers, st.lists(st.tuples(numbers, numbers, numbers), max_size=5))
def test_octets_say_the_same_as_json(
    lpid: int, flags: int, order: int, rows: list[tuple[int, int, int]]
) -> None:
    scalars = {"lpid": lpid, "flags": flags, "order": order}
    runs = PlacedRuns.from_rows(rows)
    query = {name: str(number) for name, number in scalars.items()}
    body = json.dumps(scalars | {"runs": rows}).encode()
    assert from_octets(PAGE_IN, query, runs.words) == from_json(PAGE_IN, body)


def test_extremes_pass() -> None:
    assert from_json(PATE, f'{{"lpid": 0, "dw0": {U64_MAX}, "dw1": {1 << 63}}}'.encode()) == WritePate(
        0,  # type: ignore[arg-type]
        U64_MAX,
        1 << 63,
    )


@no_number
def test_what_is_no_number_is_refused_by_its_name(text: str) -> None:
    assert refused(PATE, f'{{"lpid": 1, "dw0": {text}, "dw1": 0}}') == "dw0"


@no_number
def test_what_is_no_number_in_a_run_is_refused_by_its_place(text: str) -> None:
    body = f'{{"lpid": 1, "runs": [[1, 2, 3], [4, {text}, 6]], "flags": 0, "order": 16}}'
    assert refused(PAGE_IN, body) == "runs.1.1"


@pytest.mark.parametrize("name", ["lpid", "dw0", "dw1"])
def test_a_missing_argument_is_named(name: str) -> None:
    arguments = {"lpid": 1, "dw0": 2, "dw1": 3}
    del arguments[name]
    assert refused(PATE, json.dumps(arguments)) == name


def test_one_argument_too_many_is_named() -> None:
    assert refused(PATE, '{"lpid": 1, "dw0": 2, "dw1": 3, "dw2": 4}') == "dw2"


@pytest.mark.parametrize("row", ["[]", "[1, 2]", "[1, 2, 3, 4]", "7", "{}", '"abc"', "null"])
def test_a_row_of_another_width_is_named(row: str) -> None:
    body = f'{{"lpid": 1, "runs": [[1, 2, 3], {row}], "flags": 0, "order": 16}}'
    assert refused(PAGE_IN, body).startswith("runs.1")


@pytest.mark.parametrize("runs", ["null", "7", "{}", '"abc"'])
def test_runs_that_are_no_list_are_named(runs: str) -> None:
    assert refused(PAGE_IN, f'{{"lpid": 1, "runs": {runs}, "flags": 0, "order": 16}}') == "runs"


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "7", '"text"', "{", "{]", "\0", "[" * 100_000, '{"lpid": 1}}'],
    ids=["empty", "null", "array", "number", "string", "cut", "wrong", "zero", "deep", "more"],
)
def test_what_is_no_object_is_refused_as_a_body(body: str) -> None:
    assert refused(PATE, body) == "body"


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(Malformed):
        from_json(PATE, b'{"lpid": "\xff"}')


def test_a_file_name_is_text_of_bounded_length() -> None:
    assert from_json(GET_FILE, b'{"name": "key", "offset": 0}') == EsmbGetFile("key", 0)
    assert refused(GET_FILE, '{"name": 7, "offset": 0}') == "name"
    assert refused(GET_FILE, json.dumps({"name": "n" * 65, "offset": 0})) == "name"


QUERY = {"lpid": "1", "flags": "0", "order": "16"}


def refused_octets(query: Mapping[str, str], body: bytes = bytes(24), call: Call = PAGE_IN) -> str:
    """Return the field for which an octet form is refused."""
    with pytest.raises(Malformed) as caught:
        from_octets(call, query, body)
    return caught.value.field


@pytest.mark.parametrize("name", list(QUERY))
def test_a_scalar_missing_from_the_query_is_named(name: str) -> None:
    assert refused_octets({key: text for key, text in QUERY.items() if key != name}) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "1.0",
        "0x10",
        " 1",
        "1_0",
        "\u0661",
        "\u00b2",
        str(1 << 64),
        "0" * 30 + str(1 << 64),
        "9" * 5000,
    ],
)
def test_a_scalar_of_the_query_that_is_no_number_is_named(text: str) -> None:
    assert refused_octets(QUERY | {"flags": text}) == "flags"


def test_a_scalar_too_many_in_the_query_is_named() -> None:
    assert refused_octets(QUERY | {"ra": "1"}) == "ra"


@pytest.mark.parametrize("length", [1, 8, 16, 23, 25])
def test_octets_that_are_no_rows_are_named(length: int) -> None:
    assert refused_octets(QUERY, bytes(length)) == "runs"


def test_octets_for_a_call_without_runs_are_refused() -> None:
    assert refused_octets({"lpid": "1", "dw0": "1", "dw1": "1"}, b"", PATE) == "content-type"


def test_no_octets_are_no_runs() -> None:
    assert from_octets(PAGE_IN, QUERY, b"") == PageIn(
        1,  # type: ignore[arg-type]
        PlacedRuns(),
        0,
        16,  # type: ignore[arg-type]
    )
    assert issubclass(PlacedRuns, Runs)
