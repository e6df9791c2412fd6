"""What the text of a statement says about it is true on real servers.

The sessions here are another driver's, which sends texts as they are and prepares
nothing of its own.
"""

import re

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from chopin import _functions
from chopin._effects import CLEAN, READS, effects

BOTH = READS | CLEAN

SETUP = """
CREATE TABLE t (id int PRIMARY KEY, name text, at timestamptz DEFAULT now());
CREATE TABLE u (id int, name text);
CREATE SEQUENCE s;
CREATE MATERIALIZED VIEW mv AS SELECT 1 AS x;
CREATE FUNCTION leave() RETURNS text LANGUAGE sql
    AS $$ SELECT set_config('app.tenant', 'me', false) $$;
CREATE FUNCTION "over"(int) RETURNS text LANGUAGE sql AS $$ SELECT leave() $$;
CREATE FUNCTION "set"(int) RETURNS int LANGUAGE sql AS $$ SELECT leave(); SELECT 1 $$;
CREATE FUNCTION "values"() RETURNS text LANGUAGE sql AS $$ SELECT leave() $$;
CREATE FUNCTION leave_too(int, int) RETURNS text LANGUAGE sql
    AS $$ SELECT leave() $$;
CREATE FUNCTION leave_when_planned(int) RETURNS int STABLE LANGUAGE plpgsql
    AS $$ BEGIN PERFORM leave(); RETURN 1; END $$;
CREATE OPERATOR =+= (FUNCTION = leave_too, LEFTARG = int, RIGHTARG = int);
INSERT INTO t SELECT i, 'x' FROM generate_series(1, 5) AS g (i);
SELECT lo_create(1000);
"""

# Everything of a session that a statement may leave, but for the settings that each
# transaction begins with anew. A loaded library shows in the number of settings.
STATE = """
SELECT json_build_object(
    'settings', (SELECT json_object_agg(name, setting) FROM pg_settings
                 WHERE source = 'session' AND name NOT LIKE 'transaction%'),
    'custom', (SELECT json_object_agg(name, current_setting(name, true))
               FROM unnest('{app.tenant,local.x,transaction.x}'::text[]) AS n (name)
               WHERE current_setting(name, true) <> ''),
    'known settings', (SELECT count(*) FROM pg_settings),
    'users', ARRAY[current_user, session_user],
    'locks', (SELECT count(*) FROM pg_locks
              WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
    'channels', ARRAY(SELECT pg_listening_channels()),
    'prepared', ARRAY(SELECT name FROM pg_prepared_statements),
    'cursors', ARRAY(SELECT name FROM pg_cursors WHERE is_holdable),
    'temporary', ARRAY(SELECT relname FROM pg_class
                       WHERE relnamespace = pg_my_temp_schema())
)::text
"""

# Of a transaction: what it has written and locked.
TRACES = """
SELECT (pg_current_xact_id_if_assigned() IS NOT NULL)::text
UNION
SELECT locktype || ' ' || mode FROM pg_locks
WHERE pid = pg_backend_pid() AND locktype <> 'virtualxid'
"""
OF_A_READ = {"false", "relation AccessShareLock"}

READING = [
    "SELECT 1",
    "TABLE t",
    "VALUES (1, lower('A')), (2, 'b')",
    "(SELECT id FROM t) UNION (SELECT 2) ORDER BY (1)",
    "SELECT t.id, upper(t.name) FROM t JOIN (SELECT 1 AS id) x ON (t.id = x.id)",
    "SELECT count(*) FILTER (WHERE id > 1) OVER (ORDER BY id) FROM t",
    "SELECT mode() WITHIN GROUP (ORDER BY id) FROM t GROUP BY ROLLUP (name)",
    "SELECT * FROM unnest('{1,2}'::int[]) WITH ORDINALITY AS x (a, n)",
    "SELECT * FROM (VALUES (1, 2)) v (a, b) FETCH FIRST (1) ROWS ONLY",
    'SELECT DISTINCT ON (id) "lower"(name), pg_catalog.length(name) FROM t',
    "SELECT * FROM t TABLESAMPLE system (50)",
    "SELECT id OPERATOR(pg_catalog.+) 1, name::character varying(10) FROM t",
    "SELECT substring(name FROM 1 FOR 1), extract(year FROM at) FROM t",
    "SELECT random(), clock_timestamp(), gen_random_uuid(), nullif(1, 2)",
    "SELECT pg_total_relation_size('t'), pg_get_indexdef('t_pkey'::regclass)",
    "SELECT last_value, current_setting('search_path') FROM s",
    "SELECT 'it''s', E'\\'', $$ nextval('s') $$, U&'\\0041' -- FOR UPDATE",
]

# What other readers would notice, or wait for.
NOT_READING = [
    "SELECT id INTO made_by_select FROM t",
    "SELECT * FROM t FOR UPDATE",
    "SELECT * FROM t FOR /* */ NO KEY UPDATE",
    "SELECT * FROM (SELECT * FROM t FOR SHARE) x",
    "(TABLE t) FOR KEY SHARE",
    "VALUES (nextval('s'))",
    "SELECT pg_advisory_xact_lock(1)",
    "SELECT txid_current()",
    "SELECT lo_create(0)",
    "SELECT x.pg_advisory_xact_lock FROM generate_series(1::bigint, 2) x",
    "WITH x AS (INSERT INTO u VALUES (1) RETURNING *) SELECT * FROM x",
    "SELECT 1; DELETE FROM u",
    "EXPLAIN ANALYZE DELETE FROM u",
    "INSERT INTO u VALUES (1)",
]

LEAVING_NOTHING = [
    *READING,
    *NOT_READING[1:],
    "SELECT id INTO made_by_select FROM t; DROP TABLE made_by_select",
    "",
    "INSERT INTO t (id, name) VALUES (1, 'y') ON CONFLICT (id) DO UPDATE SET (name) ="
    " ROW (excluded.name) RETURNING (id)",
    "UPDATE t AS x SET (name, at) = (SELECT 'z', now()) WHERE id = 1",
    "DELETE FROM u USING t WHERE u.id = t.id",
    "MERGE INTO t USING (VALUES (9)) AS v (id) ON (t.id = v.id) WHEN NOT MATCHED THEN"
    " INSERT (id, name) VALUES (v.id, 'm') WHEN MATCHED THEN"
    " UPDATE SET (name) = ROW ('m')",
    "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3)"
    " SELECT * FROM n",
    "BEGIN; SAVEPOINT a; UPDATE t SET name = 'a'; ROLLBACK TO a; RELEASE a; COMMIT",
    "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; TABLE t; COMMIT AND CHAIN; ROLLBACK",
    "START TRANSACTION; SET TRANSACTION READ ONLY; END",
    "BEGIN; SET LOCAL search_path = pg_catalog; SET LOCAL app.tenant = 'x'; COMMIT",
    "BEGIN; SET LOCAL ROLE pg_monitor; ABORT",
    "SET LOCAL work_mem = '1MB'",
    "SET CONSTRAINTS ALL DEFERRED",
    "SHOW search_path",
    "BEGIN; LOCK TABLE t; DECLARE c CURSOR FOR SELECT lower(name) FROM t;"
    " FETCH 1 FROM c; MOVE 1 IN c; CLOSE c; COMMIT",
    "BEGIN; DECLARE c CURSOR FOR TABLE t; COMMIT",
    "NOTIFY c, 'x'",
    "CHECKPOINT",
    "VACUUM (ANALYZE) t (id)",
    "ANALYZE t (name)",
    "REINDEX TABLE t",
    "CLUSTER t USING t_pkey",
    "TRUNCATE u",
    "REFRESH MATERIALIZED VIEW mv",
    "COMMENT ON FUNCTION leave() IS 'x'",
    "GRANT SELECT (id), INSERT ON t TO pg_monitor; REVOKE ALL ON t FROM pg_monitor",
    "EXPLAIN SELECT 1",
    "EXPLAIN (ANALYZE, COSTS OFF) INSERT INTO u (id) VALUES (1)",
    "CREATE SCHEMA app; CREATE TABLE IF NOT EXISTS app.a (id bigint GENERATED ALWAYS AS"
    " IDENTITY PRIMARY KEY, name varchar(10) CHECK (length(name) > 1), ref int"
    " REFERENCES t (id), at timestamptz(3) DEFAULT now(), UNIQUE (name, ref));"
    " CREATE INDEX ON app.a USING btree (lower(name)); ALTER TABLE app.a ADD COLUMN b"
    " int DEFAULT nextval('s'); DROP SCHEMA app CASCADE",
    "CREATE UNLOGGED TABLE a (x int); DROP TABLE a",
    "CREATE TABLE a (x int) PARTITION BY RANGE (x); DROP TABLE a",
    "CREATE OR REPLACE VIEW w (a, b) AS SELECT 1, 2; DROP VIEW w",
    "CREATE TYPE mood AS ENUM ('sad', 'ok'); DROP TYPE mood",
    "CREATE TABLE temp (temp int); SELECT temp FROM temp; DROP TABLE temp",
    "COPY (SELECT 1 WHERE false) TO PROGRAM 'cat > /dev/null'",
]

LEAVING = [
    "SET work_mem = '1MB'",
    "SET SESSION app.tenant = 'x'",
    "SET TIME ZONE 'UTC'",
    "SET ROLE pg_monitor",
    "SET SESSION AUTHORIZATION scram_user",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET local.x = 1",
    "SET transaction.x TO 1",
    "BEGIN; SET LOCAL work_mem = '1MB'; SET app.tenant = 'x'; COMMIT",
    "SELECT set_config('app.tenant', 'x', false)",
    "SELECT pg_catalog . \"set_config\" /* */ ('app.tenant', 'x', false)",
    "SELECT U&\"set\\005fconfig\"('app.tenant', 'x', false)",
    "SELECT /* a /* b */ ' */ set_config('app.tenant', 'x', false) -- '",
    "SELECT 1 --\r, set_config('app.tenant', 'x', false)",
    "SELECT $a$ $A$ $a$, set_config('app.tenant', 'x', false) -- $A$",
    "EXPLAIN ANALYZE SELECT set_config('app.tenant', id::text, false) FROM t",
    "CREATE TABLE made AS SELECT set_config('app.tenant', 'x', false)",
    "COPY (SELECT set_config('app.tenant', 'x', false)) TO PROGRAM 'cat > /dev/null'",
    "SELECT * FROM ts_stat('SELECT to_tsvector(leave())')",
    "SELECT leave()",
    "SELECT public.values()",
    "SELECT DISTINCT ON (id) over(id) FROM t",
    "UPDATE t SET id = set(id) WHERE id = 1",
    "SELECT 1 OPERATOR(public.=+=) 2",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock_shared(1, 2)",
    "SELECT treat(7 AS pg_advisory_lock)",
    "SELECT (1::bigint).pg_advisory_lock",
    'SELECT x . "pg_advisory_lock" FROM generate_series(1::bigint, 2) x',
    "UPDATE pg_settings SET setting = '1MB' WHERE name = 'work_mem'",
    "EXPLAIN (SELECT 1) FETCH FIRST (leave_when_planned(1)) ROWS ONLY",
    "LISTEN c",
    "PREPARE p AS SELECT 1",
    "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT",
    "CREATE TEMP TABLE x (a int)",
    "CREATE LOCAL TEMPORARY SEQUENCE x",
    "CREATE OR REPLACE TEMP VIEW x AS SELECT 1",
    "CREATE TABLE pg_temp.x (a int)",
    *(
        f"BEGIN; SET LOCAL {pg_temp}; CREATE TABLE x (a int); COMMIT"
        for pg_temp in (
            "search_path = 'pg_temp'",
            "search_path TO E'pg\\x5ftemp'",
            "search_path = U&'pg\\005ftemp', public",
            "SCHEMA U&'pg!005ftemp' UESCAPE '!'",
            "search_path = 'pg_' -- and\n 'temp'",
        )
    ),
    "SELECT 1 AS a INTO TEMP x",
    "SELECT 1 AS insert INTO TEMP x",
    "WITH y AS (SELECT 1 AS a) SELECT a INTO LOCAL TEMPORARY TABLE x FROM y",
    "LOAD 'plpgsql'",
    "DO $$ BEGIN END $$",
]

# Calls of those functions that are clean, though they do something.
TIDY_CALLS = {
    "nextval": "nextval('s')",
    "setval": "setval('s', 5)",
    "currval": "currval('s') FROM nextval('s')",
    "lastval": "lastval() FROM nextval('s')",
    "pg_notify": "pg_notify('c', 'x')",
    "pg_sleep": "pg_sleep(0)",
    "pg_sleep_for": "pg_sleep_for('0')",
    "pg_sleep_until": "pg_sleep_until(now())",
    "pg_advisory_xact_lock": "pg_advisory_xact_lock(1)",
    "pg_advisory_xact_lock_shared": "pg_advisory_xact_lock_shared(1)",
    "pg_try_advisory_xact_lock": "pg_try_advisory_xact_lock(1)",
    "pg_try_advisory_xact_lock_shared": "pg_try_advisory_xact_lock_shared(1)",
    "pg_advisory_unlock": "pg_advisory_unlock(1)",
    "pg_advisory_unlock_shared": "pg_advisory_unlock_shared(1)",
    "pg_advisory_unlock_all": "pg_advisory_unlock_all()",
    "pg_current_xact_id": "pg_current_xact_id()",
    "txid_current": "txid_current()",
    "pg_export_snapshot": "pg_export_snapshot()",
    "pg_cancel_backend": "pg_cancel_backend(0)",
    "pg_terminate_backend": "pg_terminate_backend(0)",
    "pg_reload_conf": "pg_reload_conf()",
    "pg_rotate_logfile": "pg_rotate_logfile()",
    "pg_switch_wal": "pg_switch_wal()",
    "pg_create_restore_point": "pg_create_restore_point('x')",
    "lo_close": "lo_close(lo_open(1000, 131072))",
    "lo_creat": "lo_creat(-1)",
    "lo_create": "lo_create(0)",
    "lo_export": "lo_export(1000, '/dev/null')",
    "lo_from_bytea": "lo_from_bytea(0, 'x')",
    "lo_get": "lo_get(1000)",
    "lo_import": "lo_import('/dev/null')",
    "lo_lseek": "lo_lseek(lo_open(1000, 131072), 1, 0)",
    "lo_lseek64": "lo_lseek64(lo_open(1000, 131072), 1, 0)",
    "lo_open": "lo_open(1000, 131072)",
    "lo_put": "lo_put(1000, 0, 'x')",
    "lo_tell": "lo_tell(lo_open(1000, 131072))",
    "lo_tell64": "lo_tell64(lo_open(1000, 131072))",
    "lo_truncate": "lo_truncate(lo_open(1000, 131072), 0)",
    "lo_truncate64": "lo_truncate64(lo_open(1000, 131072), 0)",
    "lo_unlink": "lo_unlink(lo_create(0))",
    "loread": "loread(lo_open(1000, 131072), 1)",
    "lowrite": "lowrite(lo_open(1000, 131072), 'x')",
}

# Where a name before a parenthesis is not taken for a call, the server takes it for
# none either. Each is called clean, and refused.
REFUSED = [
    "SELECT set_config(SELECT 1)",
    "SELECT 1 AS set_config('app.tenant', 'x', false)",
    "SELECT * FROM lower('x') set_config('app.tenant', 'x', false)",
    "SELECT * FROM (SELECT 1) set_config('app.tenant', 'x', false)",
    "SELECT 1::set_config('app.tenant', 'x', false)",
    "TABLE set_config('app.tenant', 'x', false)",
    "INSERT INTO set_config('app.tenant', 'x', false) VALUES (1)",
    "SELECT * FROM (WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x) AS y",
    "SELECT 1 UNION (WITH x AS (DELETE FROM t RETURNING id) SELECT id FROM x)",
]
REFUSALS = (
    psycopg.errors.SyntaxError,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.UndefinedObject,
)

# What can be called as if it were a column.
OF_ONE_ARGUMENT = """
SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
AND provolatile = 'v' AND pronargs >= 1 AND pronargs - pronargdefaults <= 1
AND proargtypes[0] <> 'internal'::regtype
"""

# Volatile functions of one argument that return something and do no more, or (if a
# binary is not upgraded) nothing at all.
_is_idle = re.compile(
    r"binary_upgrade_.*|pg_stat_get_.*|pg_stat_file|pg_ls_.*|pg_read_.*|amvalidate"
    r"|pg_(database_)?collation_actual_version|pg_current_logfile"
    r"|pg_get_(multixact_members|sequence_data)|pg_safe_snapshot_blocking_pids"
    r"|pg_xact_commit_timestamp_origin"
).fullmatch

# Harmless functions that the server calls volatile: their results change, and nothing
# else does.
VOLATILE = _functions.words(
    """
    array_sample array_shuffle clock_timestamp current_query gen_random_uuid
    pg_blocking_pids pg_current_wal_flush_lsn pg_current_wal_insert_lsn
    pg_current_wal_lsn pg_database_size pg_get_wal_replay_pause_state pg_indexes_size
    pg_is_in_recovery pg_is_wal_replay_paused pg_last_wal_receive_lsn
    pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_notification_queue_usage
    pg_partition_ancestors pg_partition_tree pg_relation_size pg_sequence_last_value
    pg_table_size pg_tablespace_size pg_total_relation_size pg_xact_commit_timestamp
    pg_xact_status random random_normal timeofday txid_status uuidv4 uuidv7
    """
)

# Functions that leave something in the session, or run SQL that can.
STATEFUL = _functions.words(
    """
    set_config setseed pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock
    pg_try_advisory_lock_shared pg_backup_start pg_create_logical_replication_slot
    pg_create_physical_replication_slot pg_replication_origin_session_setup
    query_to_xml query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml
    table_to_xml schema_to_xml database_to_xml ts_stat ts_rewrite
    """
)

# The major version that brought what older ones do not have.
SINCE = {
    16: """
        any_value array_sample array_shuffle date_add date_subtract erf erfc
        json_agg_strict json_object_agg_strict json_object_agg_unique
        json_object_agg_unique_strict jsonb_agg_strict jsonb_object_agg_strict
        jsonb_object_agg_unique jsonb_object_agg_unique_strict pg_input_error_info
        pg_input_is_valid random_normal
    """,
    17: """
        icu_unicode_version jsonb_populate_record_valid pg_basetype
        pg_column_toast_chunk_id to_bin to_oct to_regtypemod unicode_assigned
        unicode_version uuid_extract_timestamp uuid_extract_version xmltext
    """,
    18: """
        array_reverse array_sort bytea casefold crc32 crc32c gamma
        has_largeobject_privilege lgamma pg_get_acl uuidv4 uuidv7
    """,
}
KEYWORDS_SINCE = {
    16: "json_array json_arrayagg json_object json_objectagg",
    17: "json_exists json_query json_scalar json_serialize json_table json_value"
    " merge_action",
}


@pytest.fixture(scope="module")
def database(server, observer):
    """A database of this file's own, with something in it."""
    observer.execute("CREATE DATABASE effects")
    dsn = make_conninfo(server.dsn, dbname="effects")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SETUP)
    yield dsn
    observer.execute("DROP DATABASE effects WITH (FORCE)")


@pytest.fixture
def session(database):
    """A fresh session, which is sent texts as they are."""
    with psycopg.connect(database, autocommit=True, prepare_threshold=None) as session:
        yield session


def state(session):
    """What a statement may have left."""
    return session.execute(STATE).fetchone()[0]


def names(session, query):
    """The first column of a query, as a set."""
    return {name for (name,) in session.execute(query)}


def unknown_before(since, major):
    """Names that a server of this major version cannot know."""
    return _functions.words(*(since[n] for n in since if n > major))


# -- statements ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql", [*LEAVING_NOTHING, *(f"SELECT {call}" for call in TIDY_CALLS.values())]
)
def test_clean_statement_leaves_nothing(session, sql):
    """The session is as it was before."""
    before = state(session)
    assert effects(sql) & CLEAN
    session.execute(sql)
    assert session.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert state(session) == before


@pytest.mark.parametrize("sql", LEAVING)
def test_statement_that_leaves_something_is_not_clean(session, sql):
    """The session is not as it was before, and nothing had been promised."""
    before = state(session)
    session.execute(sql)
    assert state(session) != before
    assert effects(sql) == 0


def test_a_setting_can_move_the_end_of_a_literal(session):
    """Of what is cut in two ways, nothing is promised."""
    sql = "SELECT 'a\\', ' || set_config($$app.tenant$$, $$x$$, false) --'"
    session.execute("SET escape_string_warning = off")
    before = state(session)
    session.execute(sql)
    assert state(session) == before
    session.execute("SET standard_conforming_strings = off")
    before = state(session)
    session.execute(sql)
    assert state(session) != before
    assert effects(sql) == 0


def test_a_setting_can_change_a_literal(session):
    """One that looks like any other can have escapes."""
    sql = "BEGIN; SET LOCAL search_path = 'pg\\x5ftemp'; CREATE TABLE x (a int); COMMIT"
    session.execute("SET escape_string_warning = off")
    session.execute("SET standard_conforming_strings = off")
    before = state(session)
    session.execute(sql)
    assert state(session) != before
    assert effects(sql) == 0


@pytest.mark.parametrize("sql", READING)
def test_read_writes_and_locks_nothing(session, sql):
    """No transaction number, and no lock that a write would wait for."""
    assert effects(sql) == BOTH
    session.execute("BEGIN")
    session.execute(sql)
    assert names(session, TRACES) <= OF_A_READ
    session.execute("ROLLBACK")


@pytest.mark.parametrize("sql", NOT_READING)
def test_statement_that_writes_or_locks_is_no_read(session, sql):
    """One of the two shows, and nothing had been promised."""
    session.execute("BEGIN")
    session.execute(sql)
    assert not names(session, TRACES) <= OF_A_READ
    session.execute("ROLLBACK")
    assert not effects(sql) & READS


@pytest.mark.parametrize("sql", REFUSED)
def test_what_is_taken_for_no_call_is_none(session, sql):
    """The server does not take it for one either."""
    assert effects(sql) & CLEAN
    with pytest.raises(REFUSALS):
        session.execute(sql)


# -- names ---------------------------------------------------------------------------


def test_every_tidy_function_is_tried():
    """`TIDY_CALLS` has them all."""
    assert TIDY_CALLS.keys() == _functions.TIDY
    assert all(call.startswith(f"{name}(") for name, call in TIDY_CALLS.items())


def test_functions_are_known_to_the_server(server, session):
    """No name is misspelt: what is not there came with a later version."""
    there = names(
        session,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace",
    )
    missing = (_functions.HARMLESS | _functions.TIDY) - there
    assert missing == unknown_before(SINCE, server.binaries.major)


def test_harmless_functions_are_not_volatile(session):
    """None of their name is, but for a few that only return something new each time."""
    volatile = names(
        session,
        "SELECT proname FROM pg_proc WHERE provolatile = 'v'"
        " AND pronamespace = 'pg_catalog'::regnamespace",
    )
    assert volatile & _functions.HARMLESS == volatile & VOLATILE
    assert VOLATILE <= _functions.HARMLESS


def test_stateful_functions_are_not_known(session):
    """What leaves something is there, by this name, and in none of the tables."""
    there = names(
        session,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace",
    )
    assert there >= STATEFUL
    assert not STATEFUL & (_functions.HARMLESS | _functions.TIDY | _functions.KEYWORDS)


def test_harmless_functions_without_arguments(session):
    """Those that can be called just so: they write, lock and leave nothing."""
    callable_ones = names(
        session,
        "SELECT proname FROM pg_proc WHERE pronargs = 0 AND prokind = 'f'"
        " AND pronamespace = 'pg_catalog'::regnamespace",
    )
    before = state(session)
    chosen = sorted(callable_ones & _functions.HARMLESS)
    assert "now" in chosen
    for name in chosen:
        session.execute("BEGIN")
        try:
            session.execute(f"SELECT pg_catalog.{name}()")
        except psycopg.errors.ObjectNotInPrerequisiteState:
            pass  # of a standby
        else:
            assert names(session, TRACES) <= OF_A_READ, name
        session.execute("ROLLBACK")
    assert state(session) == before


def test_functions_called_like_columns(session):
    """Whatever of them does something is in a table; and none that is not there."""
    unary = names(session, OF_ONE_ARGUMENT)
    unknown = unary - _functions.HARMLESS - _functions.TIDY - _functions.ACTING
    assert [name for name in sorted(unknown) if not _is_idle(name)] == []
    assert _functions.ACTING & unary >= {"setseed", "pg_advisory_lock"}


def test_rules_of_the_server(session):
    """Only one of its views does something else than it is told."""
    query = (
        "SELECT DISTINCT ev_class::regclass::text FROM pg_rewrite WHERE ev_type > '1'"
    )
    assert names(session, query) == {"pg_settings"}


def test_keywords_are_no_names_of_functions(server, session):
    """The server says so of every one that it knows."""
    categories = dict(session.execute("SELECT word, catcode FROM pg_get_keywords()"))
    known = {
        word: categories[word] for word in _functions.KEYWORDS if word in categories
    }
    assert set(known.values()) == {"C", "R"}  # no name of a function; of nothing
    missing = _functions.KEYWORDS - known.keys()
    assert missing == unknown_before(KEYWORDS_SINCE, server.binaries.major)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT oprcode::text FROM pg_operator JOIN pg_proc ON oprcode = pg_proc.oid"
        " WHERE provolatile = 'v' AND pronamespace = 'pg_catalog'::regnamespace",
        "SELECT castfunc::regproc::text FROM pg_cast JOIN pg_proc ON castfunc ="
        " pg_proc.oid WHERE provolatile = 'v'",
        "SELECT typinput::text FROM pg_type JOIN pg_proc ON pg_proc.oid IN (typinput,"
        " typoutput, typmodin, typreceive, typsend) WHERE provolatile = 'v'",
        # `row.name` calls what takes a row
        "SELECT proname FROM pg_proc WHERE provolatile = 'v' AND pronargs = 1"
        " AND provariadic = 0"
        ' AND proargtypes[0]::regtype::text = ANY (\'{record,"\\"any\\"",anyelement,'
        "anynonarray,anycompatible,anycompatiblenonarray}')",
    ],
    ids=["operators", "casts", "types", "attributes"],
)
def test_what_needs_no_parentheses_is_harmless(session, query):
    """Built-in functions that are called without their name change nothing."""
    assert names(session, query) == set()
