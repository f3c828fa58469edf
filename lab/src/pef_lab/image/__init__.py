"""The guest image builder: a guest as its owner hands it over, its ESM blob sealed for machines."""

from pef_lab.image.blob import Promise, payload_tree, promise_of, seal_blob, seal_payload
from pef_lab.image.build import GuestImage, Piece, build_image, lay_out
from pef_lab.image.storage import load, save

__all__ = [
    "GuestImage",
    "Piece",
    "Promise",
    "build_image",
    "lay_out",
    "load",
    "payload_tree",
    "promise_of",
    "save",
    "seal_blob",
    "seal_payload",
]
