"""An address as a QR code, for a telephone's camera to read off a terminal."""

from __future__ import annotations

import io

import segno


def qr_text(address: str) -> str:
    """Lines of half blocks, dark on light, with the margin that readers need."""
    out = io.StringIO()
    segno.make_qr(address, error="l").terminal(out, border=2, compact=True)
    return out.getvalue()
