"""What the models have from the services: their transition tables and the settings of designs, as Promela.

A changed cell, setting or code changes the models. Nothing here says what an operation does.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Self, TypeAlias

from pef_explorer.plan import IMAGES, Part
from pef_hypervisor.designs import DESIGNS as HYPERVISOR_DESIGNS
from pef_hypervisor.designs import DesignRow
from pef_hypervisor.gfn.table import VM_TABLE
from pef_kit.core.table import Table
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import Design, DesignName
from pef_protocol.quantities import U_PAGE_IN_SECURE
from pef_ultravisor.designs import DESIGNS as ULTRAVISOR_DESIGNS
from pef_ultravisor.designs import DesignSettings
from pef_ultravisor.from_guest.unshare_page import KEPT_SHARED
from pef_ultravisor.gfn.columns import HCALL_PENDING
from pef_ultravisor.gfn.table import GFN, OPEN_CALLS, SHARED_STATES

AnyTable: TypeAlias = Table[Any, Any, Any]

CODES: Final = {code.name: place for codes in (UCode, HCode) for place, code in enumerate(codes)}
"""The numbers of codes in the models: small ones, and 0 for success."""
OF_NO_CALL: Final = ("UNMADE", "NOT_MEANT")
"""Answers that are none of the call: the message was refused."""


class NotModelled(ValueError):
    """A setting of a design that the models do not know."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model: the part that its GFN plays in UV_ESM, a design as each side has it, and the tables.

    `ultravisor` and `hypervisor` are the tables of a GFN at either side, `vm` is the Hypervisor's of a VM.
    `vcpus` are one or two.
    """

    part: Part
    settings: DesignSettings
    row: DesignRow
    ultravisor: AnyTable
    hypervisor: AnyTable
    vm: AnyTable
    vcpus: int = 1

    @classmethod
    def of(cls, design: DesignName, part: Part) -> Self:
        """Return the model of a design as the services have it; raise NotModelled where there is none."""
        return cls.made_of(part, ULTRAVISOR_DESIGNS[design], HYPERVISOR_DESIGNS[design])

    @classmethod
    def made_of(cls, part: Part, settings: DesignSettings, row: DesignRow) -> Self:
        """Return the model of a design with these settings; raise NotModelled where there is none."""
        if settings.exempt not in {0, HCALL_PENDING}:
            message = f"{row.name}: the marks {settings.exempt:#x} exempt a GFN from the shared-page policy"
            raise NotModelled(message)
        if odd := row.leaves - {UCode.U_P2, UCode.U_RETRY, UCode.U_PARAMETER}:
            message = f"{row.name}: a GFN stays as it is at {', '.join(code.name for code in odd)}"
            raise NotModelled(message)
        if odd := row.resident - {UCode.U_P2}:
            message = f"{row.name}: a page is resident at {', '.join(code.name for code in odd)}"
            raise NotModelled(message)
        intent = U_PAGE_IN_SECURE if settings.reads_intent else 0
        if (row.page_in_flags, row.serves_faults) != (intent, settings.reflects_faults):
            message = f"{row.name}: one side has a flag of UV_PAGE_IN or H_SVM_PAGE_IN, and the other has not"
            raise NotModelled(message)
        return cls(part, settings, row, GFN, row.table, VM_TABLE)


MODELS: Final = tuple(Model.of(design, part) for design in Design for (part,) in IMAGES[1])
"""Each built-in design with each part that a GFN may play."""


def promela(models: Sequence[Model]) -> str:
    """Return the tables and settings of `models`, and the choice between them, as Promela."""
    lines = [
        *_numbers("", CODES.items()),
        *_numbers("", ((name, len(CODES) + place) for place, name in enumerate(OF_NO_CALL))),
        *_table("UV", [model.ultravisor for model in models]),
        *_table("HV", [model.hypervisor for model in models]),
        *_table("VM", [model.vm for model in models]),
        _is_one_of("UV_IS_TRANSIENT", OPEN_CALLS),
        _is_one_of("UV_IS_KEPT_SHARED", KEPT_SHARED),
        _is_one_of("UV_IS_SHARED", SHARED_STATES),
        *_setting("PAGE_IN_MEANS", (model.settings.page_in for model in models)),
        *_setting("PAGE_IN_AT_DONE_MEANS", (model.settings.page_in_at_done for model in models)),
        *_setting("EXEMPT", (bool(model.settings.exempt) for model in models)),
        *_setting("ASKS_FOR_EVERY_GFN", (model.settings.asks_for_every_gfn for model in models)),
        *_setting("LEAVES_U_P2", (UCode.U_P2 in model.row.leaves for model in models)),
        *_setting("LEAVES_U_RETRY", (UCode.U_RETRY in model.row.leaves for model in models)),
        *_setting("LEAVES_U_PARAMETER", (UCode.U_PARAMETER in model.row.leaves for model in models)),
        *_setting("RESIDENT_U_P2", (UCode.U_P2 in model.row.resident for model in models)),
        *_setting("SHARED_CODE", (CODES[model.settings.shared_code.name] for model in models)),
        *_setting("READS_INTENT", (model.settings.reads_intent for model in models)),
        *_setting("REFLECTS_FAULTS", (model.settings.reflects_faults for model in models)),
        *_setting("MARKS_HYPERCALLS", (model.settings.marks_hypercalls for model in models)),
        *_setting("COPIES_UNTIL_SECURE", (model.settings.copies_until_secure for model in models)),
        *_setting("IS_BROUGHT", (model.part is Part.BROUGHT for model in models)),
        *_setting("TWO_VCPUS", (model.vcpus > 1 for model in models)),
        *_setting("IS_UNMIGRATED", (model.part is Part.UNMIGRATED for model in models)),
        f"#define MODELS {len(models)}",
    ]
    return "\n".join(lines) + "\n"


def _numbers(prefix: str, named: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Yield names with their numbers."""
    yield from (f"#define {prefix}{name} {int(number)}" for name, number in named)


def _members(prefix: str, members: type[IntEnum]) -> Iterator[str]:
    return _numbers(prefix, ((member.name, member.value) for member in members))


def _array(name: str, numbers: Iterable[int]) -> str:
    """Return an array. It is `hidden`: it never changes, and is no part of a state."""
    column = [int(number) for number in numbers]
    return f"hidden byte {name}[{len(column)}] = {{ {', '.join(map(str, column))} }};"


def _setting(name: str, numbers: Iterable[int]) -> Iterator[str]:
    """Yield a setting of each model, and how that of the chosen one is read."""
    yield _array(name.lower(), numbers)
    yield f"#define {name} {name.lower()}[model]"


def _table(side: str, tables: Sequence[AnyTable]) -> Iterator[str]:
    """Yield the transition tables of a side, one for each model, and how they are read by event and state.

    Each table stands there once, however many models have it.
    """
    distinct = list(dict.fromkeys(tables))
    first = distinct[0]
    yield from _members(f"{side}_", first.states)
    yield from _members(f"{side}_ON_", first.events)
    for actions in {type(cell.action): None for _, _, cell in first}:
        yield from _members(f"{side}_DO_", actions)
    cells = [cell for table in distinct for _, _, cell in table]
    columns = {
        "NEXT": [cell.next_state for cell in cells],
        "CODE": [CODES[cell.code.name] for cell in cells],
        "ACTION": [cell.action for cell in cells],
    }
    events, width = len({event for event, _, _ in first}), len({state for _, state, _ in first})
    yield from _setting(f"{side}_TABLE", map(distinct.index, tables))
    for name, column in columns.items():
        array = f"{side}_{name}".lower()
        yield _array(array, column)
        yield (
            f"#define {side}_{name}(event, state) "
            f"{array}[({side}_TABLE * {events} + (event)) * {width} + (state)]"
        )


def _is_one_of(name: str, states: Sequence[IntEnum]) -> str:
    """Return how one learns whether a state is one of `states`."""
    chosen = " || ".join(f"(state) == {int(state)}" for state in states)
    return f"#define {name}(state) ({chosen})"
