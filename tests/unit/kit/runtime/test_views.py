"""A view of whole slots is copied part by part, and is of one moment where it says so."""

from typing import Any

import pytest
from fastapi import Response

from harness.in_process import TOKENS, toy_service, visitor
from pef_kit.core.effects import Operation, Turn
from pef_kit.runtime.views import VIEW_ATTEMPTS, LongViews, add_view
from pef_protocol.http import OBSERVER_PATH, Role

PATH = OBSERVER_PATH + "numbers"


class Numbers:
    """Two numbers that are equal at every moment, and a view of them in two parts."""

    def __init__(self, changes: int) -> None:
        self.one = self.other = 0
        self.changes = changes
        self.copies = 0
        self.service = toy_service()
        self.service.runner.perform = self.perform

    def change(self) -> Operation[None]:
        """Change both at once."""
        self.one += 1
        self.other += 1
        yield from ()

    async def perform(self, effect: Any) -> Any:
        """Perform an effect; at a turn somebody changes the numbers, as long as changes are left."""
        if type(effect) is Turn and self.changes:
            self.changes -= 1
            await self.service.run_alone(self.change())
        return effect.run()

    def copy(self) -> Operation[tuple[int, int]]:
        """Copy one number, then the other."""
        self.copies += 1
        one = self.one
        yield Turn()
        return one, self.other

    def observe(self, numbers: tuple[int, int]) -> dict[str, list[int]]:
        """Show both."""
        return {"numbers": list(numbers)}

    def add_view(self, *, whole: bool = False) -> None:
        """Add the view to the service."""
        views = LongViews(self.service)

        async def view() -> Response:
            return await views.show(self.copy, self.observe, whole=whole)

        add_view(self.service, "numbers", view)


@pytest.mark.parametrize("changes", [0, 1, VIEW_ATTEMPTS - 1])
async def test_a_whole_view_is_of_one_moment(changes: int) -> None:
    numbers = Numbers(changes)
    numbers.add_view(whole=True)
    async with visitor(numbers.service, TOKENS[Role.OBSERVER]) as client:
        response = await client.get(PATH)
    assert response.json() == {"numbers": [changes, changes]}
    assert numbers.copies == changes + 1


async def test_where_calls_never_leave_time_a_whole_view_is_refused() -> None:
    numbers = Numbers(VIEW_ATTEMPTS)
    numbers.add_view(whole=True)
    async with visitor(numbers.service, TOKENS[Role.OBSERVER]) as client:
        assert (await client.get(PATH)).status_code == 503
        assert (await client.get(PATH)).json() == {"numbers": [VIEW_ATTEMPTS, VIEW_ATTEMPTS]}


async def test_another_view_is_of_a_moment_for_each_part() -> None:
    numbers = Numbers(1)
    numbers.add_view()
    async with visitor(numbers.service, TOKENS[Role.OBSERVER]) as client:
        assert (await client.get(PATH)).json() == {"numbers": [0, 1]}
    assert numbers.copies == 1


async def test_only_the_observer_has_it() -> None:
    numbers = Numbers(0)
    numbers.add_view()
    async with visitor(numbers.service, TOKENS[Role.VMM]) as client:
        assert (await client.get(PATH)).status_code == 403
    assert numbers.copies == 0
