# cython: language_level=3
"""The one shape of every codec: data, and two functions.

Owns: `Codec`, the signature of decoders and encoders, and how they fail.
Layer L2. Imports L0 and L1.

Rules
- A codec is immutable once it is in a table; sessions of any loop may share it.
- A decoder gets exactly the bytes of one field and must not read past them. A size or
  content that the type cannot have raises DataError through `bad_size` / `bad_value`:
  the row is lost, the connection is not.
- An encoder raises plain TypeError, ValueError or OverflowError with the reason in
  words; whoever called it knows the argument and its position and says so. Encoders of
  nested types wrap what an element raised in `ElementError`, which carries the path.
"""

from chopin.exceptions import DataError


class ElementError(ValueError):
    """An element inside of an argument cannot be encoded.

    Args:
        path: where it is, as an index expression: ``"[2]"``, ``"[0][1]"``,
            ``".lower"``.
        value: the element.
        reason: what is wrong with it.
    """

    def __init__(self, path: str, value: object, reason: str) -> None:
        super().__init__(path, value, reason)
        self.path = path
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


cdef enum:
    BOX_OID = 603       # the one built-in type whose array literals are parted by ";"


cdef class Codec:
    """How one PostgreSQL type travels: its name, format and two functions."""

    def __init__(self):
        raise TypeError("codecs are made by their table, not by calling the class")

    def __repr__(self):
        return f"<Codec {self.name} oid={self.oid}>"


cdef Codec new_codec(
    uint32_t oid, str name, str kind, int format, bint atomic,
    decode_fn decode, encode_fn encode,
):
    cdef Codec codec = Codec.__new__(Codec)
    codec.oid = codec.base = oid
    codec.name = name
    codec.schema = "pg_catalog"
    codec.kind = kind
    codec.format = format
    codec.atomic = atomic
    codec.delimiter = c";" if oid == BOX_OID else c","
    codec.decode = decode
    codec.encode = encode
    return codec


cdef object bad_size(Codec codec, Py_ssize_t size, str expected):
    """Raise: the field has `size` bytes where the type has `expected`."""
    raise DataError(
        f"cannot decode a value of type {codec.name}: {size} bytes received, "
        f"{expected} expected"
    )


cdef object bad_value(Codec codec, str reason):
    """Raise: the field's bytes do not make a value of the type."""
    raise DataError(f"cannot decode a value of type {codec.name}: {reason}")
