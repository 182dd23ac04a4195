"""Pictures of notebooks, decoded and drawn anew: what is shown is pixels and nothing else."""

from __future__ import annotations

import base64
import binascii
from io import BytesIO

from PIL import Image

from cscale_core.errors import DamagedData
from cscale_core.notebooks.documents import Notebook, text_of

MEDIA_TYPE = "image/png"
SMALL = (480, 320)
"""Width and height that a small picture has at most."""

LARGE = (1200, 1200)
MAX_BYTES = 8 * 1024 * 1024
"""Bytes of the largest picture that is decoded."""

_MOST_PIXELS = 20_000_000
_DRAWN = ("image/png", "image/jpeg")


def drawn_anew(data: bytes, size: tuple[int, int] = SMALL) -> bytes:
    """A PNG of the picture, no larger than ``size``, with nothing in it but its pixels.

    :raises DamagedData: when it is no PNG or JPEG, or too large to be decoded.
    """
    if len(data) > MAX_BYTES:
        raise DamagedData(f"A picture of more than {MAX_BYTES // 2**20} MiB is not shown.")
    try:
        with Image.open(BytesIO(data), formats=("PNG", "JPEG")) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise DamagedData("The picture has too many pixels to be shown.")
            picture.draft("RGB", size)
            plain = picture.convert("RGBA")
    except DamagedData:
        raise
    except Exception as error:  # Pillow has no one class for what it cannot decode
        raise DamagedData("What is there is no picture that can be shown.") from error
    plain.thumbnail(size)
    made = BytesIO()
    Image.frombytes("RGBA", plain.size, plain.tobytes()).save(made, "PNG", optimize=True)
    return made.getvalue()


def of_output(data: object) -> bytes | None:
    """The bytes of the picture in an output's data, where there is one that can be drawn."""
    if not isinstance(data, dict):
        return None
    for media_type in _DRAWN:
        text = text_of(data.get(media_type))
        if text and len(text) < 2 * MAX_BYTES:
            try:
                return base64.b64decode("".join(text.split()), validate=True)
            except (binascii.Error, ValueError):
                continue
    return None


def first_of(notebook: Notebook) -> bytes | None:
    """A small picture of the first output that is one; None where there is none."""
    for cell in notebook.get("cells", ()):
        for output in cell.get("outputs", ()):
            found = of_output(output.get("data"))
            if found is None:
                continue
            try:
                return drawn_anew(found)
            except DamagedData:
                continue
    return None
