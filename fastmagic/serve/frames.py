"""Messages of panels as bytes: JSON, and behind it the buffers that it speaks of."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import IO, Any

MOST = 12_000_000  # bytes of one message of a visitor; panels send files in parts of 1 MB

Message = tuple[Any, Sequence[Any]]


def pack(messages: Sequence[Message]) -> bytes:
    """Return messages with their buffers as one string of bytes.

    >>> unpack(pack([({"ask": "judge"}, [b"abc", b""])]))
    [({'ask': 'judge'}, [b'abc', b''])]
    """
    parts = [[bytes(buffer) for buffer in buffers] for _, buffers in messages]
    told = json.dumps(
        [[content, [len(part) for part in own]] for (content, _), own in zip(messages, parts, strict=True)]
    ).encode()
    body = b"".join([struct.pack(">I", len(told)), told, *(part for own in parts for part in own)])
    return struct.pack(">I", len(body)) + body


def unpack(frame: bytes) -> list[tuple[Any, list[bytes]]]:
    """Return the messages of one `pack`.

    Raises:
        ValueError: it is none of its frames.
    """
    try:
        (length,) = struct.unpack(">I", frame[4:8])
        head, at, found = json.loads(frame[8 : 8 + length]), 8 + length, []
        for content, lengths in head:
            buffers = []
            for size in lengths:
                if not 0 <= size <= len(frame) - at:
                    raise ValueError("a buffer is missing")
                buffers.append(frame[at : at + size])
                at += size
            found.append((content, buffers))
        return found
    except (struct.error, TypeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("no frame") from error


def read(stream: IO[bytes]) -> list[tuple[Any, list[bytes]]] | None:
    """Return the messages of the next `pack` of a stream, `None` at its end.

    Raises:
        ValueError: it is cut off.
    """
    head = stream.read(4)
    if not head:
        return None
    return unpack(head + stream.read(*struct.unpack(">I", head)))
