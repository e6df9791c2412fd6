# cython: language_level=3, nonecheck=True
"""Messages and strings: the bodies that are made of them, and words for strays.

Owns: how strings, and the fields of errors and notices, are read; `unexpected`.
Layer L3. Imports L0.

Source: PostgreSQL documentation, "Message Formats".
"""

from chopin._wire cimport Cursor, cursor_over, take_byte, take_string


cdef str decode_string(Cursor *c):
    cdef Py_ssize_t size = 0
    cdef const char *text = take_string(c, &size)
    return "" if text is NULL else text[:size].decode("utf-8", "replace")


cdef dict parse_fields(const unsigned char *data, Py_ssize_t size):
    """ErrorResponse and NoticeResponse: a byte and a string for each field, then zero.

    Unknown, missing and repeated fields are fine (of the repeated the last counts);
    what is cut short is taken as far as it goes: an error must not hide behind another.
    """
    cdef Cursor c = cursor_over(data, size)
    cdef dict fields = {}
    cdef unsigned char code = take_byte(&c)
    while code and not c.failed:
        value = decode_string(&c)
        if not c.failed:
            fields[chr(code)] = value
        code = take_byte(&c)
    return fields


cdef str unexpected(unsigned char kind, char step):
    """What to say of a message that has no place at a step of an operation's program.

    The step is the letter of the reply that was due; 0 stands for ReadyForQuery.
    """
    due = f"the reply for step {chr(step)!r}" if step else "ReadyForQuery"
    return f"unexpected message {chr(kind)!r} where {due} was due"
