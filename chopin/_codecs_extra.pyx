# cython: language_level=3
"""Codecs of numeric, inet and cidr.

Owns: the decode and encode functions of these types.
Layer L2. Imports L0, L1 and `_codecs_scalar`.

Rules
- numeric is exact both ways and keeps its display scale: `1.50` stays
  `Decimal("1.50")`, `10000` never becomes `1E+4`. What it cannot hold is refused.
- Nothing here takes more than linear time in the digits of a value, but for the int of
  more than 600 digits, which takes a little more (see `decimal_of_int`).
- The user's decimal context is neither asked nor changed.
"""

from cpython.float cimport PyFloat_Check
from cpython.long cimport PyLong_Check, PyLong_FromLongLong
from libc.stdint cimport int64_t, uint16_t, uint64_t
from libc.string cimport memcpy

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, bad_size, bad_value
from chopin._codecs_scalar cimport plain_scalar
from chopin._wire cimport (
    get_int16,
    get_uint16,
    get_uint32,
    put_uint16,
    put_uint32,
)

import decimal
import ipaddress

cdef extern from "Python.h":
    object PyObject_CallOneArg(object function, object argument)
    object PyObject_Str(object value)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 greatest)
    void *PyUnicode_DATA(object text)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

# The sign word of numeric, source: server file `numeric.c`.
cdef enum:
    NUMERIC_POSITIVE = 0x0000
    NUMERIC_NEGATIVE = 0x4000
    NUMERIC_NAN = 0xC000
    NUMERIC_INFINITY = 0xD000
    NUMERIC_MINUS_INFINITY = 0xF000
    NUMERIC_DSCALE_MOST = 0x3FFF
    NUMERIC_DIGITS_BEFORE_POINT = 131072

# The family byte of inet: the server's own, not that of the operating system.
cdef enum:
    PGSQL_AF_INET = 2
    PGSQL_AF_INET6 = 3

cdef object Decimal = decimal.Decimal
cdef object EXACT = decimal.Context(
    prec=decimal.MAX_PREC,
    Emax=decimal.MAX_EMAX,
    Emin=decimal.MIN_EMIN,
    traps=[decimal.InvalidOperation, decimal.Overflow, decimal.Inexact],
)
# 30 percent faster than calling the class, which parses keywords
cdef object new_decimal = EXACT.create_decimal
cdef object NAN = Decimal("NaN")
cdef object INFINITY = Decimal("Infinity")
cdef object MINUS_INFINITY = Decimal("-Infinity")
cdef object TWO = Decimal(2)

cdef str TOO_LARGE = "cannot encode Decimal value into numeric: exponent is too large"
cdef str TOO_SMALL = "cannot encode Decimal value into numeric: exponent is too small"

cdef object IPv4Address = ipaddress.IPv4Address
cdef object IPv4Interface = ipaddress.IPv4Interface
cdef object IPv4Network = ipaddress.IPv4Network
cdef object IPv6Address = ipaddress.IPv6Address
cdef object IPv6Interface = ipaddress.IPv6Interface
cdef object IPv6Network = ipaddress.IPv6Network
cdef tuple INTERFACES = (IPv4Interface, IPv6Interface)
cdef tuple NETWORKS = (IPv4Network, IPv6Network)

# "00" to "99", for two digits at a time
cdef bytes PAIRS_OBJECT = b"".join(b"%02d" % i for i in range(100))
cdef const char *PAIRS = PAIRS_OBJECT


cdef inline void write_group(char *to, unsigned int group) noexcept nogil:
    """The four digits of one base-10000 digit."""
    memcpy(to, PAIRS + 2 * (group // 100), 2)
    memcpy(to + 2, PAIRS + 2 * (group % 100), 2)


cdef inline unsigned int group_at(
    const unsigned char *groups, int n_groups, int i
) noexcept nogil:
    """Group `i`, 0 outside of the groups that were sent."""
    return get_uint16(groups + 2 * i) if 0 <= i < n_groups else 0


cdef object digits_text(
    const unsigned char *groups, int n_groups, int weight, bint negative, int dscale
):
    """The value as `Decimal` reads it: sign, whole groups, point, `dscale` digits."""
    cdef int before = max(weight + 1, 0)
    cdef int left = dscale
    cdef int i
    cdef char[4] last
    cdef char *to
    text = PyUnicode_New(negative + 4 * before + (dscale > 0) + dscale, 127)
    to = <char *>PyUnicode_DATA(text)
    if negative:
        to[0] = c"-"
        to += 1
    for i in range(before):
        write_group(to, group_at(groups, n_groups, i))
        to += 4
    if dscale:
        to[0] = c"."
        to += 1
    i = weight + 1       # below 0 while the groups after the point are not sent yet
    while left >= 4:
        write_group(to, group_at(groups, n_groups, i))
        to += 4
        left -= 4
        i += 1
    if left:
        write_group(last, group_at(groups, n_groups, i))
        memcpy(to, last, left)
    return text


cdef object decode_numeric(Codec codec, const unsigned char *data, Py_ssize_t size):
    """numeric as `Decimal`, with as many digits after the point as the server shows.

    Layout: uint16 number of groups, int16 weight of the first (a power of 10000),
    uint16 sign, uint16 display scale, then the groups, each uint16 below 10000. Sign
    0xC000 is NaN, 0xD000 Infinity, 0xF000 -Infinity. Digits past the display scale are
    left out, as by the server. Source: server function `numeric_send`.
    """
    cdef int n_groups, weight, sign, dscale, group, i
    cdef int64_t number = 0
    if size < 8:
        return bad_size(codec, size, "8 or more")
    n_groups = get_uint16(data)
    weight = get_int16(data + 2)
    sign = get_uint16(data + 4)
    dscale = get_uint16(data + 6)
    data += 8
    if size != 8 + 2 * n_groups:
        return bad_size(codec, size, str(8 + 2 * n_groups))
    if sign & NUMERIC_NAN == NUMERIC_NAN:
        return decode_special(codec, sign)
    if sign != NUMERIC_POSITIVE and sign != NUMERIC_NEGATIVE:
        return bad_value(codec, f"sign {sign:#06x} is not known")
    if dscale > NUMERIC_DSCALE_MOST:
        return bad_value(codec, f"display scale {dscale} is above 16383")
    for i in range(n_groups):
        group = get_uint16(data + 2 * i)
        if group > 9999:
            return bad_value(codec, f"a group of four digits is {group}")
    if n_groups == 0:
        weight = -1
    if dscale == 0 and weight <= 3:
        # up to 16 digits: by way of an int, 25 percent faster
        for i in range(weight + 1):
            number = number * 10000 + group_at(data, n_groups, i)
        if sign == NUMERIC_NEGATIVE:
            number = -number
        return PyObject_CallOneArg(new_decimal, PyLong_FromLongLong(number))
    return PyObject_CallOneArg(
        new_decimal,
        digits_text(data, n_groups, weight, sign == NUMERIC_NEGATIVE, dscale),
    )


cdef object decode_special(Codec codec, int sign):
    """NaN and the infinities, by their sign word."""
    if sign == NUMERIC_NAN:
        return NAN
    if sign == NUMERIC_INFINITY:
        return INFINITY
    if sign == NUMERIC_MINUS_INFINITY:
        return MINUS_INFINITY
    return bad_value(codec, f"sign {sign:#06x} is not known")


cdef object decimal_of_int(object number, dict powers):
    """An int of any size as `Decimal`, by halves.

    Changing the base of an int at once is quadratic: 535 ms for the 131,072 digits that
    numeric can hold, where halves, with the fast multiplication of `decimal`, take 41.
    `powers` keeps the powers of two that were needed.
    """
    bits = number.bit_length()
    if bits <= 2048:
        return new_decimal(number)
    half = bits >> 1
    power = powers.get(half)
    if power is None:
        power = powers[half] = EXACT.power(TWO, half)
    high = decimal_of_int(number >> half, powers)
    low = decimal_of_int(number & ((1 << half) - 1), powers)
    return EXACT.add(EXACT.multiply(high, power), low)


cdef object decimal_of(object value):
    """Whatever `Decimal` takes, exactly; TypeError or ValueError for the rest.

    A float keeps its binary value: 1.1 is 1.100000000000000088817841970012523...
    """
    if PyLong_Check(value):
        # 435,412 bits: the most that 131,072 digits need
        if value.bit_length() > 435412:
            raise ValueError(TOO_LARGE)
        number = decimal_of_int(abs(value), {})
        return number.copy_negate() if value < 0 else number
    if PyFloat_Check(value):
        return Decimal.from_float(value)
    try:
        return Decimal(value, EXACT)
    except ArithmeticError:
        raise ValueError(
            "not a number that Decimal can read, such as '12.50' or 'NaN'"
        ) from None


cdef int put_numeric_header(
    WriteBuffer out, int n_groups, int weight, int sign, int dscale
) except -1:
    """int32 length and the four words, with room for the groups."""
    cdef char *to
    out.reserve(12 + 2 * n_groups)
    to = out.data + out.length
    put_uint32(to, 8 + 2 * n_groups)
    put_uint16(to + 4, <uint16_t>n_groups)
    put_uint16(to + 6, <uint16_t>weight)
    put_uint16(to + 8, <uint16_t>sign)
    put_uint16(to + 10, <uint16_t>dscale)
    out.length += 12
    return 0


cdef int put_small_int(WriteBuffer out, int64_t number) except -1:
    """An int of 64 bits as numeric, without a `Decimal`."""
    cdef uint16_t[5] groups
    cdef uint64_t left = <uint64_t>number
    cdef int used = 0
    cdef int weight, i
    if number < 0:
        left = 0 - left
    while left:
        groups[used] = <uint16_t>(left % 10000)
        left //= 10000
        used += 1
    weight = used - 1
    i = 0
    while i < used and groups[i] == 0:       # groups of zeros at the end are not sent
        i += 1
    put_numeric_header(
        out, used - i, max(weight, 0),
        NUMERIC_NEGATIVE if number < 0 else NUMERIC_POSITIVE, 0,
    )
    while used > i:
        used -= 1
        put_uint16(out.data + out.length, groups[used])
        out.length += 2
    return 0


cdef struct Digits:
    const char *text         # the first digit
    int64_t n                # digits
    int64_t point            # digits before the point in `text`; `n` when it has none
    int64_t exponent


cdef int scan_digits(Digits *digits, const char *text, Py_ssize_t size) noexcept nogil:
    """Take `digits[.digits][E[+-]digits]` apart, as `Decimal.__str__` wrote it."""
    cdef Py_ssize_t i = 0
    cdef int64_t exponent = 0
    cdef bint minus = False
    digits.text = text
    digits.point = -1
    digits.n = 0
    while i < size and (text[i] | 0x20) != c"e":
        if text[i] == c".":
            digits.point = digits.n
        else:
            digits.n += 1
        i += 1
    if digits.point < 0:
        digits.point = digits.n
    i += 1
    if i < size:
        minus = text[i] == c"-"
        i += text[i] == c"-" or text[i] == c"+"
    while i < size:
        exponent = exponent * 10 + (text[i] - c"0")
        i += 1
    digits.exponent = -exponent if minus else exponent
    return 0


cdef inline unsigned int digit_at(Digits *digits, int64_t i) noexcept nogil:
    """Digit `i` of the digits, the point not counted."""
    return digits.text[i + (i >= digits.point)] - c"0"


cdef int put_digits(WriteBuffer out, Digits *digits, int sign) except -1:
    """The digits as numeric; ValueError when numeric cannot hold them."""
    cdef int64_t whole = digits.point + digits.exponent     # digits before the point
    cdef int64_t first = 0
    cdef int64_t end = digits.n
    cdef int64_t dscale = max(digits.n - whole, 0)
    cdef int64_t power, low, i
    cdef unsigned int group = 0
    if dscale > NUMERIC_DSCALE_MOST:
        raise ValueError(TOO_SMALL)
    while first < end and digit_at(digits, first) == 0:
        first += 1
    if first == end:
        return put_numeric_header(out, 0, 0, NUMERIC_POSITIVE, <int>dscale)
    if whole - first > NUMERIC_DIGITS_BEFORE_POINT:
        raise ValueError(TOO_LARGE)
    while digit_at(digits, end - 1) == 0:
        end -= 1
    power = whole - first - 1          # of ten, of the first digit
    low = (whole - end) >> 2           # of 10000, of the last group
    put_numeric_header(
        out, <int>((power >> 2) - low + 1), <int>(power >> 2), sign, <int>dscale
    )
    for i in range(first, end):
        group = group * 10 + digit_at(digits, i)
        if power & 3 == 0:
            put_uint16(out.data + out.length, <uint16_t>group)
            out.length += 2
            group = 0
        power -= 1
    if power & 3 != 3:
        # fill the last group up: `power` is that of the digit that would be next
        while power & 3 != 3:
            group *= 10
            power -= 1
        put_uint16(out.data + out.length, <uint16_t>group)
        out.length += 2
    return 0


cdef int encode_numeric(Codec codec, WriteBuffer out, object value) except -1:
    """numeric from Decimal, int, float (its exact binary value) or str.

    Layout as in `decode_numeric`. `-0` is sent as `0`, any NaN as NaN. ValueError for
    more than 131,072 digits before the point or 16,383 after it, or when a str is no
    number; TypeError for other types. Source: server function `numeric_recv`.
    """
    cdef int overflow = 0
    cdef int64_t number
    cdef Py_ssize_t size
    cdef const char *text
    cdef int sign = NUMERIC_POSITIVE
    cdef Digits digits
    if PyLong_Check(value):
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if not overflow:
            return put_small_int(out, number)
    if type(value) is not Decimal:
        value = decimal_of(plain_scalar(value))
        if type(value) is not Decimal:
            value = Decimal(value)
    shown = PyObject_Str(value)
    text = PyUnicode_AsUTF8AndSize(shown, &size)
    if text[0] == c"-":
        sign = NUMERIC_NEGATIVE
        text += 1
        size -= 1
    if text[0] == c"N" or text[0] == c"s":
        return put_numeric_header(out, 0, 0, NUMERIC_NAN, 0)
    if text[0] == c"I":
        return put_numeric_header(
            out, 0, 0,
            NUMERIC_MINUS_INFINITY if sign == NUMERIC_NEGATIVE else NUMERIC_INFINITY,
            0,
        )
    scan_digits(&digits, text, size)
    return put_digits(out, &digits, sign)


cdef object read_address(
    Codec codec, const unsigned char *data, Py_ssize_t size, int *bits
):
    """The address of an inet or cidr as an int, and its prefix length in `bits`.

    Layout: family (2 or 3), prefix length, whether it is a cidr, number of address
    bytes (4 or 16), address.
    """
    cdef int width
    if size < 4:
        return bad_size(codec, size, "8 or 20")
    if data[0] == PGSQL_AF_INET:
        width = 4
    elif data[0] == PGSQL_AF_INET6:
        width = 16
    else:
        return bad_value(codec, f"address family {data[0]} is not known")
    if data[3] != width or size != 4 + width:
        return bad_size(codec, size, str(4 + width))
    bits[0] = data[1]
    if data[1] > 8 * width:
        return bad_value(codec, f"prefix length {data[1]} is above {8 * width}")
    if width == 4:
        return get_uint32(data + 4)
    return int.from_bytes(data[4:20], "big")


cdef object decode_inet(Codec codec, const unsigned char *data, Py_ssize_t size):
    """An address, or an interface when the prefix is shorter than the address.

    `IPv4Address`, `IPv4Interface` and the like of IPv6; layout as in `read_address`.
    Source: server function `inet_send`.
    """
    cdef int bits
    number = read_address(codec, data, size, &bits)
    if data[0] == PGSQL_AF_INET:
        return IPv4Address(number) if bits == 32 else IPv4Interface((number, bits))
    return IPv6Address(number) if bits == 128 else IPv6Interface((number, bits))


cdef object decode_cidr(Codec codec, const unsigned char *data, Py_ssize_t size):
    """`IPv4Network` or `IPv6Network`; layout as in `read_address`.

    Source: server function `cidr_send`.
    """
    cdef int bits
    number = read_address(codec, data, size, &bits)
    try:
        if data[0] == PGSQL_AF_INET:
            return IPv4Network((number, bits))
        return IPv6Network((number, bits))
    except ValueError as error:
        return bad_value(codec, str(error))


cdef int put_address(
    WriteBuffer out, object address, int bits, bint is_cidr
) except -1:
    """An address with its prefix length; ValueError when it has a scope."""
    cdef bytes packed = address.packed
    if getattr(address, "scope_id", None) is not None:
        raise ValueError("the scope of an address (after '%') cannot be stored")
    out.put_int32(<int>(4 + len(packed)))
    out.put_byte(PGSQL_AF_INET if len(packed) == 4 else PGSQL_AF_INET6)
    out.put_byte(<char>bits)
    out.put_byte(is_cidr)
    out.put_byte(<char>len(packed))
    out.put_raw(<const char *>packed, len(packed))
    return 0


cdef int encode_inet(Codec codec, WriteBuffer out, object value) except -1:
    """inet from an address or interface, or what `ipaddress.ip_interface` takes.

    That is a str such as `10.0.0.1` or `10.0.0.1/8`, a network, an int or packed bytes.
    ValueError when it is none. Source: server function `inet_recv`.
    """
    if type(value) is IPv4Address or type(value) is IPv6Address:
        return put_address(out, value, value.max_prefixlen, False)
    if not isinstance(value, INTERFACES):
        value = ipaddress.ip_interface(value)
    return put_address(out, value, value.network.prefixlen, False)


cdef int encode_cidr(Codec codec, WriteBuffer out, object value) except -1:
    """cidr from a network, or what `ipaddress.ip_network` takes, strictly.

    ValueError when bits to the right of the prefix are set. Source: server function
    `cidr_recv`.
    """
    if not isinstance(value, NETWORKS):
        value = ipaddress.ip_network(value)
    return put_address(out, value.network_address, value.prefixlen, True)
