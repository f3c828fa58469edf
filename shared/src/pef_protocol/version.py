"""The one version number: of all four distributions, both images, OpenAPI and `pef --version`.

Each pyproject.toml reads it from here when a wheel is built. README.md and CHANGELOG.md repeat it.
"""

from typing import Final

VERSION: Final = "0.1.0"
