"""Protocol buffers and checksums as far as log files need them: fields of a message, CRC-32C.

Wire format: https://protobuf.dev/programming-guides/encoding. Left out: schemas, which the readers
of TensorBoard and W&B files know as field numbers.
"""

from __future__ import annotations

import struct

Value = int | bytes
FIXED = {1: 8, 5: 4}  # bytes of the kinds of fixed length
CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, reflected (RFC 3720, appendix B.4)
MASK = 0xA282EAD8  # added by the record format of TensorFlow (tsl/lib/hash/crc32c.h)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A base-128 number and the place after it; raises ValueError when it breaks off."""
    number = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
    raise ValueError("a number breaks off")


def fields(data: Value) -> list[tuple[int, Value]]:
    """(field number, value) of a message; nested messages and fixed numbers come as bytes.

    Raises ValueError for what is no message.
    """
    if isinstance(data, int):
        raise ValueError("a number, no message")
    found, at, end = list[tuple[int, Value]](), 0, len(data)
    while at < end:
        key = data[at]
        at += 1
        if key > 0x7F:
            key, at = varint(data, at - 1)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
            found.append((key >> 3, value))
            continue
        if kind == 2:
            size = data[at] if at < end else 0x80  # most are short: one byte
            if size > 0x7F:
                size, at = varint(data, at)
            else:
                at += 1
        else:
            size = FIXED.get(kind, end)
        if at + size > end:
            raise ValueError("no field of a message")
        found.append((key >> 3, data[at : at + size]))
        at += size
    return found


def signed(value: Value) -> int:
    """An int64 that was written as an unsigned number; raises ValueError for another kind."""
    if isinstance(value, bytes):
        raise ValueError("no whole number")
    return value - (1 << 64) if value >= 1 << 63 else value


def real(value: Value) -> float:
    """A float or double field; raises ValueError for another kind."""
    if isinstance(value, bytes) and len(value) in (4, 8):
        (number,) = struct.unpack("<f" if len(value) == 4 else "<d", value)
        return float(number)
    raise ValueError("no number with a point")


def text(value: Value) -> str:
    """A string field; what is no UTF-8 is replaced."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _crc_table() -> tuple[int, ...]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (CASTAGNOLI if number & 1 else 0)
        table.append(number)
    return tuple(table)


CRC_TABLE = _crc_table()


def masked_crc(data: bytes) -> int:
    """CRC-32C as TensorFlow's records carry it: rotated by 15 bits, plus a constant."""
    crc, table = 0xFFFFFFFF, CRC_TABLE
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF
