"""Messages of panels as bytes: JSON, and behind it the buffers that it speaks of."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

MOST = 64_000_000  # bytes of one frame


def pack(messages: Sequence[tuple[Any, Sequence[Any]]]) -> bytes:
    """Return messages with their buffers as one string of bytes.

    >>> unpack(pack([({"ask": "judge"}, [b"abc", b""])]))
    [({'ask': 'judge'}, [b'abc', b''])]
    """
    parts = [[bytes(buffer) for buffer in buffers] for _, buffers in messages]
    head = json.dumps(
        [[content, [len(part) for part in own]] for (content, _), own in zip(messages, parts, strict=True)]
    )
    told = head.encode()
    return b"".join([struct.pack(">I", len(told)), told, *(part for own in parts for part in own)])


def unpack(frame: bytes) -> list[tuple[Any, list[bytes]]]:
    """Return the messages of `pack`.

    Raises:
        ValueError: it is none of its frames.
    """
    try:
        (length,) = struct.unpack(">I", frame[:4])
        head, at, found = json.loads(frame[4 : 4 + length]), 4 + length, []
        for content, lengths in head:
            buffers = []
            for size in lengths:
                if not 0 <= size <= len(frame) - at:
                    raise ValueError("a buffer is missing")
                buffers.append(frame[at : at + size])
                at += size
            found.append((content, buffers))
        return found
    except (struct.error, TypeError, UnicodeDecodeError) as error:
        raise ValueError("no frame") from error
