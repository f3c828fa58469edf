"""Small pictures of the page for the documents: as wide as a column of text, and few bytes."""

import base64
from pathlib import Path
from typing import Final

from playwright.sync_api import Page

SCALE: Final = 0.55
MOST_BYTES: Final = 80_000


def small_picture(page: Page, path: Path) -> None:
    """Write what the page shows at a smaller scale; it may not be larger than a document should load."""
    session = page.context.new_cdp_session(page)
    size = page.viewport_size or {"width": 1280, "height": 800}
    clip = {"x": 0, "y": 0, **size, "scale": SCALE}
    picture = base64.b64decode(
        session.send("Page.captureScreenshot", {"format": "png", "clip": clip})["data"]
    )
    session.detach()
    assert len(picture) <= MOST_BYTES, f"{path} would have {len(picture)} bytes"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)
