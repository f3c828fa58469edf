"""A load of an SVM. It resolves, has a page brought back first, or fails.

Trust: what a load returns goes to the guest that made it, and to nobody else.
"""

import numpy as np

from pef_kit.core.effects import Operation
from pef_protocol.quantities import Gpa
from pef_ultravisor.access import Access, require_secure
from pef_ultravisor.state import Svm, Ultravisor


def load(uv: Ultravisor, svm: Svm | None, gpa: Gpa, length: int) -> Operation[memoryview]:
    """Return the `length` bytes at `gpa`; raise AccessFailure where they do not resolve."""
    # parameters
    content = bytearray(length)  # numpy would keep the memory of a small array, and what is in it
    access = Access(gpa, np.frombuffer(content, np.uint8), stores=False)

    # checks
    running = require_secure(svm, gpa)

    # effect
    for piece in access.pieces(uv.capacity.secure_pages):
        yield from piece.resolve(uv, running)

    # reply
    return memoryview(content)
