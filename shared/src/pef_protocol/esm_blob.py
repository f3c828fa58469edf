"""The limits of an ESM blob's form, for those that seal one and for those that open it.

What is sealed in it, and how, is each side's own code. Source: UV_ESM steps 6 to 8; UV_ESMB_GET_FILE.
"""

import re
from typing import Final

BLOB_LIMIT: Final = 16 << 20
"""Most bytes of a blob."""
FILE_NAME_LIMIT: Final = 64
"""Most characters of an attached file's name: UV_ESMB_GET_FILE passes it in eight registers."""
FILE_NAME: Final = re.compile(r"[!-~]+", re.ASCII)
"""The characters of such a name: printable ASCII without the space, as in names of a device tree."""
FILES_LIMIT: Final = 1024
"""Most files of a blob."""
