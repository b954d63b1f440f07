"""Messages between the process that grades and the one that runs a submission: plain data, and never a pickle."""

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

LARGEST = 2**26  # bytes of a message: 64 MB
LENGTH = struct.Struct("!QQ")  # of a message, and of its text within
DTYPES = {str(dtype): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}


class Closed(Exception):
    """End of the conversation: the other side is gone."""


class TooLate(Exception):
    """Timeout: the other side has not answered in time."""


class BadMessage(Exception):
    """Error about bytes that are no message, or too many for one."""


def send(link: socket.socket, value: Any, deadline: float | None = None) -> None:
    """Send plain data."""
    with _until(deadline, link):
        link.sendall(encode(value))


def receive(link: socket.socket, deadline: float | None = None) -> Any:
    """Return the next message.

    Args:
        link: One end of a pair of sockets.
        deadline: On the clock of time.monotonic; None waits for ever.

    Raises:
        Closed, TooLate, BadMessage: Whatever the other side sends or does, it is one of these.
    """
    head = _read(link, LENGTH.size, deadline)
    length, text = LENGTH.unpack(head)
    if length > LARGEST or text > length:
        raise BadMessage(f"it is longer than {LARGEST >> 20} MB")
    return decode(head + _read(link, length, deadline))


def encode(value: Any) -> bytes:
    """Return plain data as bytes: its text as JSON, then the numbers of its tensors.

    Example:
        >>> decode(encode({"x": (1, None), 2: torch.tensor([[1.0, 2.0]])}))
        {'x': (1, None), 2: tensor([[1., 2.]])}
    """
    blobs: list[bytes] = []
    text = json.dumps(_pack(value, blobs)).encode()
    return LENGTH.pack(len(text) + sum(map(len, blobs)), len(text)) + text + b"".join(blobs)


def decode(data: bytes | bytearray) -> Any:
    """Return the plain data in bytes that :func:`encode` made."""
    try:
        end = LENGTH.size + LENGTH.unpack_from(data)[1]
        return _unpack(json.loads(data[LENGTH.size : end]), memoryview(data)[end:])
    except Exception as error:  # nothing that the other side sends may do more than this
        raise BadMessage(f"it cannot be read ({type(error).__name__})") from None


def _pack(value: Any, blobs: list[bytes]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        numbers = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        start = sum(map(len, blobs))
        blobs.append(numbers)
        return {"tensor": [str(value.dtype), list(value.shape), start, len(numbers), value.requires_grad]}
    if isinstance(value, list | tuple):
        return {"list" if isinstance(value, list) else "tuple": [_pack(part, blobs) for part in value]}
    if isinstance(value, dict):
        return {"dict": [[_pack(key, blobs), _pack(part, blobs)] for key, part in value.items()]}
    raise TypeError(f"a {type(value).__name__} is not plain data")


def _unpack(value: Any, numbers: memoryview) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, parts),) = value.items()
    if kind == "tensor":
        dtype, shape, start, length, requires_grad = parts
        own = bytearray(numbers[start : start + length])  # frombuffer refuses an empty one
        tensor = torch.frombuffer(own, dtype=DTYPES[dtype]) if own else torch.empty(0, dtype=DTYPES[dtype])
        return tensor.reshape(shape).requires_grad_(requires_grad)
    if kind == "dict":
        return {_unpack(key, numbers): _unpack(part, numbers) for key, part in parts}
    return {"list": list, "tuple": tuple}[kind](_unpack(part, numbers) for part in parts)


def _read(link: socket.socket, count: int, deadline: float | None) -> bytearray:
    data = bytearray()
    while len(data) < count:
        with _until(deadline, link):
            part = link.recv(min(count - len(data), 2**20))
        if not part:
            raise Closed
        data += part
    return data


@contextlib.contextmanager
def _until(deadline: float | None, link: socket.socket) -> Iterator[None]:
    """Give up at the deadline, and name what can go wrong with a link."""
    left = None if deadline is None else deadline - time.monotonic()
    try:
        if left is not None and left <= 0:
            raise TimeoutError
        link.settimeout(left)
        yield
    except TimeoutError:
        raise TooLate from None
    except OSError as error:
        raise Closed from error
