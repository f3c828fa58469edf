"""Whether each call acted once: a side traces a call when it does it, not when it repeats an answer."""

from collections import Counter

from pef_lab.watch import Watch


async def done_once(watch: Watch) -> None:
    """Check that no call that ended since this was asked last was done twice."""
    events = await watch.answered_calls()
    times = Counter((event["side"], event["call_id"], event["name"]) for event in events)
    assert [call for call, number in times.items() if number > 1] == []
