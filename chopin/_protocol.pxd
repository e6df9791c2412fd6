# cython: language_level=3
"""The session: frames, the FIFO of operations, statements. See _protocol.pyx."""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from chopin._buffers cimport ReadBuffer, WriteBuffer
from chopin._codecs cimport CodecMap
from chopin._gate cimport Flights, Gate
from chopin._rows cimport Description, ParamPlan, RowPlan
from chopin._waiter cimport Waiter

# What an operation expects next. A program is a string of these.
cdef enum:
    STEP_DONE = 0                # nothing but ReadyForQuery
    STEP_RIDER_PARSE = <int>c"1"     # ParseComplete of a rider
    STEP_PARSE = <int>c"P"           # ParseComplete of the operation's own statement
    STEP_BIND = <int>c"2"            # BindComplete
    STEP_CLOSE = <int>c"3"           # CloseComplete
    STEP_RIDER_END = <int>c"c"       # CommandComplete of a rider
    STEP_PARAMETERS = <int>c"t"      # ParameterDescription
    STEP_COLUMNS = <int>c"T"         # RowDescription or NoData
    STEP_ROWS = <int>c"*"            # DataRows, then CommandComplete or its substitute
    STEP_ANY = <int>c"~"             # the operation looks at every message itself

cdef enum:
    STARTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3

# What has been learnt of how many rows a statement returns; see Statement.
cdef enum:
    ROWS_UNKNOWN = 0
    ROWS_AT_MOST_ONE = 1
    ROWS_MANY = 2


cdef class Op(Waiter):
    cdef Session session
    cdef Op next
    cdef bytes program            # keeps `step` alive
    cdef const char *step
    cdef readonly object error    # of the server, or of decoding; delivered at the end
    cdef double deadline          # by the session's clock
    cdef readonly bint abandoned  # nobody waits any more: drop what comes
    cdef bint cancel_sent
    cdef readonly bint bystander  # a cancel request for another one may have hit it
    cdef readonly bint completed  # the statement has run to its end
    cdef readonly tuple riders    # SQL that goes ahead in its group; None: nothing
    cdef readonly str sql         # its text, where it has one
    cdef public bint restores     # the session, for the next user
    cdef readonly uint64_t number  # how many the session had sent with it

    cdef int on_rows(self, ReadBuffer inp) except -1
    cdef int on_message(
        self, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1
    cdef int on_step(
        self, char step, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1
    cdef int on_copy(self, unsigned char kind) except -1
    cdef int on_error(self, object error) except -1
    cdef int on_ready(self) except -1
    cdef int abandon(self) except -1


cdef class Statement:
    cdef readonly str sql
    cdef readonly bytes name             # on the server; empty: the unnamed statement
    cdef readonly Description description
    cdef readonly ParamPlan params
    cdef readonly RowPlan rows           # for the session's record class
    cdef public bint closed
    cdef public bint cached
    cdef public bint used                # since the last sweep of the cache
    cdef public Session owner            # closes it when the user drops it
    cdef public bint has_fitted                 # arguments of a call were encoded
    cdef bint locking
    cdef bint is_clean                   # its text is known to leave nothing behind
    cdef int row_rule
    cdef uint64_t codec_version
    cdef bytes bind_head                 # Bind up to its parameter values
    cdef bytes bind_tail                 # Bind behind them
    cdef dict other_plans                # shape -> RowPlan; see _shapes

    cdef int plan(self, Session session) except -1
    cdef RowPlan plan_for(self, Session session, object shape)


cdef class Session:
    cdef readonly object loop
    cdef object clock
    cdef object write
    cdef WriteBuffer out
    cdef ReadBuffer inp
    cdef Op head
    cdef Op tail
    cdef list settled                    # operations whose tasks are to be woken
    cdef bint told                       # callbacks were called for what was read
    cdef bint parsing
    cdef bint flush_scheduled
    cdef Py_ssize_t frame_limit
    cdef readonly int state
    cdef char txn
    cdef readonly dict parameters        # ParameterStatus: name -> value
    cdef public int backend_pid
    cdef public bytes cancel_key
    cdef readonly object closed_by       # exception that ended the session
    cdef object last_fatal
    cdef readonly Gate gate
    cdef double next_deadline
    cdef readonly dict statements        # SQL -> Statement, oldest first
    cdef readonly dict unnamed           # SQL -> Statement that is parsed at each use
    cdef public dict descriptions        # SQL -> Description; a pool shares one
    cdef readonly set in_first_flight    # SQL whose Parse and first Execute are sent
    cdef public CodecMap codecs
    cdef readonly object record_class
    cdef public int statement_cache_size
    cdef public int statement_size_limit
    cdef public bint pooled              # statements may be gone or there already
    cdef readonly list closes            # what to close ahead of a group: S or P, name
    cdef Py_ssize_t n_closes             # those that put_ahead has written
    cdef readonly list riders            # SQL of what goes ahead of the next statement
    cdef readonly uint64_t submitted              # operations so far
    cdef public uint64_t ended_with      # those so far when a block's end was called
    cdef public uint64_t left_with       # the same, of the outermost block
    cdef public object feeder            # the task whose iterator feeds a group
    cdef public uint64_t epoch           # how often it has changed hands
    cdef uint64_t flushed                # those handed to the transport
    cdef Flights flights                 # behind a pooler: what waits for its turn
    cdef public bint dirty               # what ran may have left something behind
    cdef public bint made_temporary      # such as a temporary table, perhaps
    cdef public bint has_altered     # in a block that is open; see _statements.TAGS
    cdef readonly str last_sql           # the text that was sent last
    cdef public object after_block       # called when a block has ended, while it reads

    cdef int note(self, Op op, str sql, Statement statement) except -1
    cdef int submit(self, Op op) except -1
    cdef int flush_soon(self) except -1
    cdef int hold(self, Op op) except -1
    cdef int _enter(self, Op op) except -1
    cdef int release(self) except -1
    cdef int flush(self) except -1
    cdef int check_open(self) except -1
    cdef int opened(self) except -1
    cdef int set_deadline(self, Op op, double deadline) except -1
    cdef bytes put_ahead(self, Op op)
    cdef int _frames(self) except -1
    cdef int _message(
        self, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1
    cdef int _ready(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int _error(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int _parameter(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int _notification(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int _wake(self) except -1
    cdef int _wake_later(self) except -1
    cdef int _begins(self, Op op) except -1
    cdef int _confirm(self, Op op) except -1
    cdef int _changed(self) except -1
    cdef int _cancel_head(self) except -1
    cdef int on_tag(self, const unsigned char *data, Py_ssize_t size) except -1
