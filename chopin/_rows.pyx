# cython: language_level=3, nonecheck=True
"""Plans: how the parameters and the rows of one statement travel.

Owns: `Description` (what the server said of a statement), `RowPlan` and `ParamPlan`
(which function handles which value). `Record` is found here.
Layer L2. Imports L0 - L2.

Rules
- Everything that can be known once per statement is resolved here; per row only a C
  array of (function, codec) is walked.
- Counts and lengths come from the other side: a row must have exactly the described
  number of fields, every field must lie within its message, and nothing may be left
  over. A violation is a ProtocolError, which closes the session; a value that a codec
  cannot decode is a DataError, which loses the result only.
- An argument that cannot be encoded raises DataError that names it; the caller drops
  what was written of the message.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcpy

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, propagate
from chopin._codecs cimport CodecMap
from chopin._records cimport RECORD_ITEMS, new_names, new_record, record_track
from chopin._wire cimport (
    FORMAT_BINARY,
    Cursor,
    cursor_left,
    cursor_over,
    get_int32,
    get_uint16,
    take_string,
    take_uint16,
    take_uint32,
)

from chopin._codecbase import ElementError
from chopin._records import Record
from chopin.exceptions import DataError, InterfaceError, ProtocolError

cdef int MAX_PARAMETERS = 65535  # Bind counts them in 16 bits
cdef str NO_PARAMETERS = (
    "Only SELECT, INSERT, UPDATE, DELETE, MERGE and VALUES take parameters, written "
    "$1, $2, ...; other statements take none."
)
cdef int REPR_LENGTH = 40  # of a refused argument; longer ones are cut


# -- Record --------------------------------------------------------------------------


def check_record_class(cls):
    """Refuse what cannot be a `record_class`; returns the class."""
    if not isinstance(cls, type) or not issubclass(cls, Record):
        raise InterfaceError(
            "record_class is expected to be a subclass of chopin.Record, got "
            f"{cls!r}"
        )
    if cls.__new__ is not Record.__new__ or cls.__init__ is not Record.__init__:
        raise InterfaceError("record_class must not redefine __new__ or __init__")
    return cls


# -- what the server says of a statement ---------------------------------------------


cdef class Column:
    """One column of a result, as RowDescription has it."""


cdef class Description:
    """Parameter types and columns of a statement; immutable, shared by sessions."""


cdef Description parse_description(bytes parameters, bytes columns):
    """Parse the bodies of ParameterDescription and RowDescription (None: no rows).

    ParameterDescription: int16 count, then an int32 OID each. RowDescription: int16
    count, then per column: zero-terminated name, int32 table OID, int16 attribute
    number, int32 type OID, int16 type size, int32 type modifier, int16 format.
    Raises ProtocolError when counts and sizes do not agree.
    Source: PostgreSQL documentation, "Message Formats".
    """
    cdef Description description = Description.__new__(Description)
    cdef Cursor c = cursor_over(parameters, len(parameters))
    cdef int count = take_uint16(&c)
    if c.failed or cursor_left(&c) != count * 4:
        # of 65,536 and more parameters the server's count keeps the low 16 bits
        raise ProtocolError(
            f"ParameterDescription says {count} parameters and has "
            f"{cursor_left(&c)} bytes of them"
        )
    description.raw_parameters = parameters
    description.raw_columns = columns
    description.parameter_oids = tuple([take_uint32(&c) for _ in range(count)])
    description.columns = () if columns is None else parse_columns(columns)
    return description


cdef tuple parse_columns(bytes data):
    cdef Cursor c = cursor_over(data, len(data))
    cdef Column column
    cdef Py_ssize_t length = 0
    cdef const char *name
    cdef int i
    cdef int count = take_uint16(&c)
    cdef list columns = []
    if c.failed:
        raise ProtocolError("RowDescription without a count")
    for i in range(count):
        column = Column.__new__(Column)
        name = take_string(&c, &length)
        if name is not NULL:
            column.name = name[:length].decode("utf-8", "replace")
        column.table_oid = take_uint32(&c)
        column.attribute_number = take_uint16(&c)
        column.type_oid = take_uint32(&c)
        column.type_size = take_uint16(&c)
        column.type_modifier = <int32_t>take_uint32(&c)
        take_uint16(&c)
        if c.failed:
            raise ProtocolError(f"RowDescription ends within column {i + 1}")
        columns.append(column)
    if cursor_left(&c):
        raise ProtocolError("RowDescription has bytes after its last column")
    return tuple(columns)


cdef bytes format_section(tuple codecs):
    """A count and codes of formats: int16 1 and the one code when all agree."""
    cdef bytearray out = bytearray()
    cdef set formats = {(<Codec>codec).format for codec in codecs}
    if len(formats) <= 1:
        code = formats.pop() if formats else FORMAT_BINARY
        return b"\0\1" + (<int>code).to_bytes(2, "big")
    out += len(codecs).to_bytes(2, "big")
    for codec in codecs:
        out += (<Codec>codec).format.to_bytes(2, "big")
    return bytes(out)


# -- rows ----------------------------------------------------------------------------


cdef class RowPlan:
    """How DataRow messages of one statement become rows of one class.

    Rows that are no records are made by its subclasses: see _shapes.
    """

    def __init__(self, Description description, CodecMap codecs, record_class=Record):
        cdef Py_ssize_t i
        cdef Codec codec
        self.shape = record_class
        self.keys = tuple([(<Column>column).name for column in description.columns])
        self.names = new_names(self.keys)
        self.codecs = tuple(
            [codecs.get((<Column>column).type_oid) for column in description.columns]
        )
        self.formats = format_section(self.codecs)
        self.size = <int>len(self.codecs)
        self.fields = <Field *>PyMem_Malloc(max(self.size, 1) * sizeof(Field))
        if self.fields is NULL:
            raise MemoryError
        self.tracked = record_class is not Record
        for i in range(self.size):
            codec = self.codecs[i]
            # The row loop keeps the codec alive by self.codecs, so it calls the
            # function without counting a reference for every field.
            self.fields[i].decode = <field_fn><void *>codec.decode
            self.fields[i].codec = <PyObject *>codec
            if not codec.atomic:
                self.tracked = True

    def __dealloc__(self):
        PyMem_Free(self.fields)

    cdef int take_columns(self, RowPlan other) except -1:
        """Take over how another plan of the statement decodes its columns."""
        self.fields = <Field *>PyMem_Malloc(max(other.size, 1) * sizeof(Field))
        if self.fields is NULL:
            raise MemoryError
        memcpy(self.fields, other.fields, other.size * sizeof(Field))
        self.codecs = other.codecs
        self.formats = other.formats
        self.names = other.names
        self.keys = other.keys
        self.size = other.size
        return 0

    cdef object decode_row(self, const unsigned char *data, Py_ssize_t size):
        """One row from the body of a DataRow, as of `decode_fields`."""
        record = new_record(<PyTypeObject *>self.shape, self.names, self.size)
        decode_fields(self, data, size, RECORD_ITEMS(record), NULL)
        if self.tracked:
            record_track(record)
        return record

    cdef object decode_one(
        self, const unsigned char *data, Py_ssize_t size, int column
    ):
        """The value of one column from a DataRow's body; the others are skipped."""
        cdef const unsigned char *end = data + size
        cdef PyObject *value
        cdef int32_t length
        cdef int i
        if size < 2 or get_uint16(data) != self.size:
            raise self.wrong_count(data, size)
        if column >= self.size:
            raise IndexError("record index out of range")
        data += 2
        result = None
        for i in range(self.size):
            if end - data < 4:
                raise field_outside(i)
            length = get_int32(data)
            data += 4
            if length < -1 or length > end - data:
                raise field_outside(i)
            if length == -1:
                continue
            if i == column:
                value = self.fields[i].decode(self.fields[i].codec, data, length)
                if value is NULL:
                    return self._explain(i)
                result = <object>value
                Py_DECREF(result)  # the decoder's own reference
            data += length
        if data != end:
            raise bytes_left()
        return result

    cdef object _explain(self, int column):
        """Propagate a decoder's exception with a note that names the column."""
        try:
            return propagate()
        except Exception as error:
            add_note(
                error,
                f"in column {self.keys[column]!r} (number {column + 1}) of type "
                f"{(<Codec>self.codecs[column]).name}"
            )
            raise

    cdef object wrong_count(self, const unsigned char *data, Py_ssize_t size):
        got = "no count" if size < 2 else f"{get_uint16(data)} fields"
        return ProtocolError(f"DataRow has {got} where {self.size} were described")


cdef int add_note(error, str text) except -1:
    """Add a note to whatever code of the user's has raised."""
    try:
        error.add_note(text)
    except Exception:
        pass  # its class has something else there
    return 0


cdef object field_outside(int column):
    return ProtocolError(
        f"field {column + 1} of DataRow does not lie within its message"
    )


cdef object bytes_left():
    return ProtocolError("DataRow has bytes after its last field")


# -- parameters ----------------------------------------------------------------------


cdef class ParamPlan:
    """How the arguments of one statement become the values of a Bind message."""

    def __init__(self, Description description, CodecMap codecs):
        self.codecs = tuple(
            [codecs.get(<uint32_t>oid) for oid in description.parameter_oids]
        )
        self.size = <int>len(self.codecs)
        self.formats = format_section(self.codecs) + self.size.to_bytes(2, "big")

    cdef int check_count(self, Py_ssize_t count) except -1:
        """InterfaceError unless exactly the described number of arguments is there."""
        if count == self.size:
            return 0
        if count > MAX_PARAMETERS:
            raise InterfaceError(
                f"the number of query arguments cannot exceed {MAX_PARAMETERS}: pass "
                "them as an array, or use executemany()"
            )
        raise InterfaceError(
            f"the server expects {self.size} argument{'' if self.size == 1 else 's'} "
            f"for this query, {count} {'was' if count == 1 else 'were'} passed",
            hint="Check the query against the passed list of arguments."
            + ("" if self.size else " " + NO_PARAMETERS),
        )

    cdef int encode(self, WriteBuffer out, tuple args, Py_ssize_t element) except -1:
        """Append the values: per argument int32 length (-1 for NULL) and the bytes.

        `element` is the position in a sequence of argument rows, or -1. Raises
        DataError that names the argument; what was appended so far is the caller's to
        drop.
        """
        cdef Codec codec
        cdef int i = 0
        # one `try` for all: Cython's costs more than to encode a number
        try:
            for arg in args:
                i += 1
                if arg is None:
                    out.put_int32(-1)
                else:
                    codec = <Codec>self.codecs[i - 1]
                    codec.encode(codec, out, arg)
        except InterfaceError as error:
            where = place(i, "", element)
            raise error.with_msg(f"query argument {where}: {error.args[0]}") from None
        except Exception as error:
            raise refused(codec, arg, i, element, error) from error
        return 0


cdef str place(int number, str path, Py_ssize_t element):
    """Where an argument is: ``$1``, ``$1[0] in element #3 of executemany() ...``."""
    where = f"${number}{path}"
    if element >= 0:
        where += f" in element #{element} of executemany() sequence"
    return where


cdef object refused(Codec codec, object arg, int number, Py_ssize_t element, error):
    """The DataError for an argument that cannot be encoded."""
    path = ""
    if isinstance(error, ElementError):
        path, arg = error.path, error.value
    return refused_at(f"query argument {place(number, path, element)}", arg, error)


cdef object refused_at(str where, arg, error):
    """The DataError for a value that cannot be encoded, found at `where`."""
    try:
        text = repr(arg)
    except Exception:
        text = object.__repr__(arg)  # an int of 5,000 digits, or a __repr__ that fails
    if len(text) > REPR_LENGTH:
        text = text[:REPR_LENGTH] + "..."
    return argument_error(f"invalid input for {where}: {text} ({error})")


cdef object argument_error(str text):
    """An error of the caller's: it has the class that asyncpg gives it."""
    error = DataError(text)
    error.kind = "client"
    error.outcome = "not_sent"
    return error
