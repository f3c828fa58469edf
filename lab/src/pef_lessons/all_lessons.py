"""All lessons by number, in order."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pef_lessons.lesson import Lesson
from pef_lessons.lessons import (
    a_host_sees_all,
    calls_nest,
    conformance,
    corruption_of_2020,
    cost,
    disagreement_heals,
    five_lies,
    integrity_and_freshness,
    own_design,
    sharing,
    two_states,
    two_views,
)

LESSONS: Final[Mapping[str, Lesson]] = MappingProxyType(
    {
        module.LESSON.number: module.LESSON
        for module in (
            a_host_sees_all,
            calls_nest,
            two_views,
            integrity_and_freshness,
            sharing,
            disagreement_heals,
            corruption_of_2020,
            two_states,
            five_lies,
            own_design,
            conformance,
            cost,
        )
    }
)
"""By number, "1" to "12"."""
