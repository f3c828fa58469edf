"""Checkpoints of both sides: the explorer saves the state of a machine here, and puts it back.

Nothing of this is in a service. A service has no operation that goes back in time; these modules write to the
private attributes of its objects instead.
"""
