"""A store of an SVM. It resolves, has a page brought back first, or fails."""

import numpy as np

from pef_kit.core.effects import Operation
from pef_protocol.quantities import Gpa
from pef_ultravisor.access import Access, require_secure
from pef_ultravisor.state import Svm, Ultravisor


def store(
    uv: Ultravisor, svm: Svm | None, gpa: Gpa, content: bytes, *, ignore_deadline: bool = False
) -> Operation[None]:
    """Store `content` at `gpa`; raise AccessFailure where it does not resolve.

    `ignore_deadline`: a Hypervisor that is busy is waited for as long as it takes.
    """
    # parameters
    access = Access(gpa, np.frombuffer(content, np.uint8), stores=True, ignore_deadline=ignore_deadline)

    # checks
    running = require_secure(svm, gpa)

    # effect
    for piece in access.pieces(uv.capacity.secure_pages):
        yield from piece.resolve(uv, running)
