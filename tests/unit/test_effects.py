"""What the text of a statement says about what it can leave behind."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chopin import _effects, _functions, introspect, transaction
from chopin._effects import CLEAN, READS, SIZE_LIMIT, effects

BOTH = READS | CLEAN

PLAIN_READS = [
    "SELECT 1",
    "select",
    "SELECT 1;",
    ";;SELECT 1 ; -- the end",
    "/* who */ SELECT /* what */ 1 -- and that was it",
    "(SELECT 1)",
    "((SELECT 1) UNION ALL (SELECT 2)) ORDER BY (1)",
    "TABLE users",
    "VALUES (1, 'a'), ($1, $2)",
    "SELECT id, name FROM users WHERE id = $1 AND name IN ($2, $3) LIMIT 1",
    "SELECT * FROM a JOIN (SELECT 1 AS x) b ON (a.x = b.x) JOIN c USING (y)",
    "SELECT * FROM a LEFT JOIN LATERAL (SELECT 1) b ON true WHERE EXISTS (SELECT 1)",
    "SELECT count(*), max(id) FROM users GROUP BY (name) HAVING count(*) > 1",
    "SELECT count ( DISTINCT name ) FROM users",
    "SELECT pg_catalog.lower(name), pg_catalog . upper /* x */ ( name ) FROM users",
    'SELECT "lower"(name), "pg_catalog"."upper"(name), PG_Catalog.LENGTH(name)',
    "SELECT coalesce(a, 0), nullif(a, b), greatest(1, 2), CAST(a AS numeric(10, 2))",
    "SELECT extract(epoch FROM now()), position('a' IN b), trim(BOTH FROM b)",
    "SELECT substring(a FROM 1 FOR 2), overlay(a PLACING b FROM 1 FOR 2)",
    "SELECT $1::int4[], a::numeric(10, 2), b::character varying(10), 'x'::regclass",
    "SELECT a::char varying (2), b::bit varying (3), c::double precision",
    "SELECT a::public.geometry(Point, 4326), ARRAY(SELECT 1), ARRAY[1, 2][1:2]",
    "SELECT row_number() OVER (PARTITION BY (a) ORDER BY (b)) FROM t",
    "SELECT sum(a) FILTER (WHERE b) OVER (w) FROM t WINDOW w AS (ORDER BY c)",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FILTER (WHERE b) FROM t",
    "SELECT * FROM unnest($1::int[], $2::text[]) AS new (id, name)",
    "SELECT * FROM unnest($1) WITH ORDINALITY u (a, n), generate_series(1, 2) s (i)",
    "SELECT * FROM (VALUES (1, 2)) v (a, b), (SELECT 1) AS s (c), ((SELECT 2)) t",
    "SELECT * FROM json_table($1, '$[*]' COLUMNS (a int PATH '$.a'))",
    "SELECT * FROM xmltable('/r' PASSING (x) COLUMNS a int, n FOR ORDINALITY)",
    "SELECT a FROM t GROUP BY GROUPING SETS ((a), ()), b",
    "SELECT a FROM t GROUP BY ROLLUP (a) FETCH NEXT (2) ROWS WITH TIES",
    "SELECT a FROM t TABLESAMPLE bernoulli (1) GROUP BY CUBE (a)",
    "SELECT a FROM t TABLESAMPLE system (10) FETCH FIRST (5) ROWS ONLY",
    "SELECT DISTINCT ON (a) lower(b) FROM t",
    "SELECT a FROM t WHERE a LIKE ANY (ARRAY['x']) AND b = ALL ($1) AND NOT (c)",
    "SELECT a AT TIME ZONE ('utc'), CASE WHEN (a) THEN (b) ELSE (c) END FROM t",
    "SELECT 1 OPERATOR(pg_catalog.+) 1, a OPERATOR ( pg_catalog . <> ) b",
    "SELECT (r).field, r.*, $1.field FROM r",
    "SELECT (now()).date, c.oid, setseed FROM pg_catalog.pg_class c",
    "SELECT name, setting FROM pg_settings WHERE category = 'for update'",
    "SELECT temp, execute_at, into_what FROM weather -- FOR UPDATE",
    "SELECT 'set_config(', E'\\'; SET x', $$ nextval( $$, $a$ $b$ ; $a$, U&'\\0041'",
    "SELECT B'01', x'ff', N'it''s' FROM \"for update\"",
    "SELECT a\u00a0, \x80b",
    "SELECT a$b$c, größe, 1e5, 1.5, .5, $1 FROM t$1 WHERE a = $2",
    "SELECT 'a'\n'b', 'back\\slash'",
    "SELECT 1 --\rFROM t",
    "SELECT random(), clock_timestamp(), gen_random_uuid(), uuidv7()",
    "SELECT pg_get_viewdef(oid), has_table_privilege(oid, 'select') FROM pg_class",
]

CLEAN_ONLY = [
    "",
    " ; ; -- nothing",
    "SELECT 1; SELECT 2",
    "SELECT * FROM t FOR UPDATE",
    "SELECT * FROM t for  /* c */ share SKIP LOCKED",
    "SELECT * FROM t FOR NO KEY UPDATE OF t",
    "SELECT * FROM (SELECT * FROM t FOR KEY SHARE) s",
    "(TABLE t) FOR --\n UPDATE",
    "VALUES (nextval('s'))",
    "SELECT 1 AS a INTO x",
    "SELECT pg_notify('c', 'x'), pg_sleep(1), pg_advisory_xact_lock($1)",
    "SELECT txid_current(), lo_get(1)",
    "SELECT ('s'::regclass).nextval",
    'SELECT x."pg_sleep" FROM generate_series(1, 2) x',
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x",
    "(WITH x (a, b) AS MATERIALIZED (SELECT 1, 2) TABLE x)",
    "WITH RECURSIVE n (i) AS NOT MATERIALIZED (VALUES (1)) SELECT * FROM n",
    "INSERT INTO t DEFAULT VALUES",
    "INSERT INTO app.t AS x (a, b) VALUES ($1, lower($2)) RETURNING (id)",
    "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET (a, b) = (1, 2)",
    'INSERT INTO "T"("A", "b") SELECT * FROM u',
    "UPDATE t SET (a, b) = (SELECT 1, 2) WHERE id = $1",
    "UPDATE ONLY (t) AS x SET a = upper(a)",
    "DELETE FROM t USING u WHERE t.id = u.id RETURNING t.id",
    "MERGE INTO t USING (SELECT 1 AS a) s ON (t.a = s.a) WHEN MATCHED THEN"
    " UPDATE SET (a) = ROW (s.a) WHEN NOT MATCHED THEN INSERT (a, b) VALUES (1, 2)",
    "BEGIN",
    "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;",
    "START TRANSACTION",
    "BEGIN; SAVEPOINT a; UPDATE t SET a = 1; RELEASE a; COMMIT",
    "COMMIT AND CHAIN",
    "COMMIT PREPARED 'x'",
    "END",
    "ABORT",
    "ROLLBACK TO SAVEPOINT a",
    "PREPARE TRANSACTION 'x'",
    "SET LOCAL search_path = app",
    "SET LOCAL app.user TO 'me'",
    "SET LOCAL search_path = 'app', public, E'it''s', $$a$$",
    'SET LOCAL "app"."user" = 1',
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET TRANSACTION SNAPSHOT '1'",
    "SET CONSTRAINTS ALL DEFERRED",
    "SHOW search_path",
    "LOCK TABLE t IN ACCESS EXCLUSIVE MODE",
    "NOTIFY c, 'x'",
    "CHECKPOINT",
    "VACUUM (FULL, VERBOSE) t (a, b)",
    "ANALYZE t",
    "REINDEX TABLE CONCURRENTLY t",
    "CLUSTER t USING i",
    "TRUNCATE t, u RESTART IDENTITY",
    "COMMENT ON FUNCTION f(int) IS 'x'",
    "GRANT SELECT (a), UPDATE ON t TO me",
    "GRANT EXECUTE ON FUNCTION f(int) TO me",
    "REVOKE ALL ON t FROM me",
    "DECLARE c CURSOR FOR SELECT lower(a) FROM t",
    "FETCH 10 FROM c",
    "MOVE ALL IN c",
    "CLOSE ALL",
    "DROP FUNCTION f(int)",
    "DROP TABLE IF EXISTS t CASCADE",
    "REFRESH MATERIALIZED VIEW v",
    "CREATE TABLE IF NOT EXISTS app.t (id bigint GENERATED ALWAYS AS IDENTITY"
    " PRIMARY KEY, a varchar(10) DEFAULT 'x' CHECK (length(a) > 1),"
    " b int REFERENCES u (id), at timestamptz(3) DEFAULT now(), UNIQUE (a, b),"
    " PRIMARY KEY (a), FOREIGN KEY (a) REFERENCES app.v (a))",
    "CREATE UNLOGGED TABLE t (a int) PARTITION BY RANGE (a)",
    "CREATE TABLE t AS SELECT * FROM generate_series(1, 10) AS s (i)",
    "CREATE UNIQUE INDEX i ON app.t (lower(a), (b + 1)) WHERE a > 1",
    "CREATE INDEX CONCURRENTLY ON t USING gin (a jsonb_path_ops)",
    "CREATE OR REPLACE VIEW v (a, b) AS SELECT 1, 2",
    "CREATE TABLE t (a int) PARTITION BY LIST (a)",
    "CREATE TABLE t (a int) PARTITION BY HASH (a)",
    "CREATE MATERIALIZED VIEW v AS SELECT 1",
    "CREATE COLLATION c FROM d",
    "CREATE DATABASE d",
    "CREATE DOMAIN d AS text CHECK (VALUE <> '')",
    "CREATE GROUP g",
    "CREATE POLICY p ON t USING (owner = current_user)",
    "CREATE PUBLICATION p FOR ALL TABLES",
    "CREATE ROLE me LOGIN",
    "CREATE SCHEMA app",
    "CREATE SEQUENCE s",
    "CREATE STATISTICS s ON a, b FROM t",
    "CREATE TABLESPACE x LOCATION '/x'",
    "CREATE TYPE mood AS ENUM ('sad', 'ok')",
    "CREATE USER me",
    "ALTER COLLATION c REFRESH VERSION",
    "ALTER DATABASE d SET work_mem = 1",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO me",
    "ALTER DOMAIN d SET NOT NULL",
    "ALTER GROUP g ADD USER me",
    "ALTER INDEX i RENAME TO j",
    "ALTER MATERIALIZED VIEW v RENAME TO w",
    "ALTER POLICY p ON t USING (true)",
    "ALTER PUBLICATION p RENAME TO q",
    "ALTER SCHEMA app OWNER TO me",
    "ALTER SEQUENCE s RESTART",
    "ALTER STATISTICS s SET STATISTICS 1",
    "ALTER SYSTEM SET work_mem = 1",
    "ALTER TABLESPACE x OWNER TO me",
    "ALTER TYPE mood ADD VALUE 'so-so'",
    "ALTER USER me PASSWORD 'x'",
    "ALTER VIEW v OWNER TO me",
    "ALTER TABLE t ADD COLUMN a int DEFAULT nextval('s'), DROP COLUMN b",
    "ALTER ROLE me SET search_path = app",
    "EXPLAIN SELECT 1",
    "EXPLAIN (ANALYZE, BUFFERS OFF) INSERT INTO t (a) VALUES (1)",
    "EXPLAIN ANALYZE VERBOSE (SELECT 1)",
    "COPY t (a, b) FROM STDIN (FORMAT binary)",
    "COPY (SELECT lower(a) FROM t) TO STDOUT WITH (FORMAT csv)",
]

UNKNOWN = [
    # what is set, taken, opened, loaded
    "SET search_path = app",
    "SET SESSION search_path = app",
    "SET TIME ZONE 'utc'",
    "SET ROLE me",
    "SET SESSION AUTHORIZATION me",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET local.x = 1",
    "SET LOCAL . x TO 1",
    "SET transaction.isolation = 'x'",
    "SET constraints.x = 1",
    "RESET search_path",
    "DISCARD ALL",
    "LISTEN c",
    "UNLISTEN *",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE ALL",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "DECLARE c INSENSITIVE SCROLL CURSOR WITH /* */ hold FOR SELECT 1",
    "DO $$ BEGIN END $$",
    "CALL p()",
    "LOAD 'auto_explain'",
    "CREATE TEMP TABLE t (a int)",
    "CREATE LOCAL TEMPORARY TABLE t (a int)",
    "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
    "CREATE TEMPORARY SEQUENCE s",
    "CREATE SCHEMA app CREATE TEMP VIEW v AS SELECT 1",
    "CREATE TABLE pg_temp.t (a int)",
    "CREATE TABLE PG_Temp.t (a int)",
    'CREATE TABLE "pg_temp_3".t (a int)',
    "SET LOCAL search_path = 'pg_temp'",
    "SET LOCAL search_path = E'pg\\x5ftemp'",
    "SET LOCAL search_path = 'pg\\x5ftemp'",  # if literals do not conform
    "SET LOCAL search_path = app, U&'pg\\005ftemp'",
    "SET LOCAL SCHEMA u&'pg!005ftemp' UESCAPE '!'",
    "SET LOCAL search_path TO 'pg_' -- and\n 'temp'",
    "CREATE TABLE pg_toast_temp_3.t (a int)",
    "UPDATE pg_settings SET setting = '1' WHERE name = 'work_mem'",
    'UPDATE ONLY pg_catalog . "pg_settings" s SET setting = 1',
    "WITH x AS (UPDATE pg_settings SET setting = 1 RETURNING 1) TABLE x",
    "EXPLAIN ANALYZE UPDATE pg_settings SET setting = 1",
    "SELECT 1 AS a INTO TEMP x",
    "SELECT 1 AS insert INTO TEMP x",
    "SELECT 1 AS a INTO LOCAL TEMPORARY TABLE x",
    "WITH y AS (SELECT 1 AS a) SELECT a INTO TEMP x FROM y",
    "CREATE TABLE t AS EXECUTE p",
    "EXPLAIN ANALYZE EXECUTE p",
    "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
    "CREATE EXTENSION dblink",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1",
    # several, one of them
    "SELECT 1; SET x = 1",
    "BEGIN; CREATE TEMP TABLE t (a int); COMMIT",
    "SELECT 1;;/* */LISTEN c",
    # calls of what is not known
    "SELECT set_config('a', 'b', false)",
    "SELECT pg_catalog.set_config('a', 'b', false)",
    "SELECT \"set_config\"('a', 'b', false)",
    "SELECT \"pg_catalog\" . \"set_config\" ('a', 'b', false)",
    "SELECT set_config/**/--\n(/* */'a', 'b', false)",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock_shared(1)",
    "SELECT setseed(0.5)",
    "SELECT query_to_xml('SELECT 1', true, true, '')",
    "SELECT ts_stat('SELECT 1')",
    "SELECT dblink('x')",
    "SELECT * FROM app.f($1)",
    "SELECT app.lower('x')",
    "SELECT db.pg_catalog.lower('x')",
    "SELECT \"Lower\"('x')",
    'SELECT "coalesce"(1)',
    "SELECT app.coalesce(1), app.values(2)",
    "SELECT app.table(1)",
    "SELECT f (VARIADIC $1)",
    "SELECT lower(f(x))",
    "SELECT ran\u212a() OVER (w)",
    "SELECT lower\u00a0(x)",
    "EXPLAIN SELECT f\u00a0lower(x)",
    "SELECT a::int + f(x)",
    "SELECT a[1:f(x)]",
    "SELECT treat(7 AS pg_advisory_lock)",
    "SELECT (1::bigint).pg_advisory_lock",
    'SELECT x . /* */ "pg_advisory_lock" FROM generate_series(1::bigint, 2) x',
    "UPDATE t SET a = (b).setseed",
    "SELECT operator(1)",
    "SELECT operator(pg_catalog.f(1))",
    "SELECT 1 operator(app.+) 2",
    "SELECT DISTINCT ON (a) f(b) FROM t",
    "SELECT DISTINCT ON (a) over(b) FROM t",
    "SELECT DISTINCT ON (values) f(b) FROM t",
    "SELECT 1 OPERATOR(pg_catalog.+) f(1)",
    "SELECT filter(1), sets(2)",
    "SELECT rollup(1)",
    "SELECT set(1)",
    "UPDATE t SET a = set(1)",
    "SELECT * FROM a JOIN b ON conflict(a) WHERE c",
    "SELECT * FROM a JOIN join(b) ON true",
    "MERGE INTO t USING u ON a WHEN MATCHED THEN UPDATE SET a ="
    " CASE WHEN b THEN insert(c) END",
    "CREATE TABLE index AS SELECT 1 FROM a JOIN b ON f(a)",
    "CREATE TABLE t AS SELECT sum(a) OVER (PARTITION BY hash(b)) FROM u",
    "COPY (SELECT * FROM stdin(1)) TO STDOUT",
    "COPY (SELECT set_config('a', 'b', false)) TO STDOUT",
    "CREATE INDEX i ON t (f(a))",
    "CREATE TABLE t (a int DEFAULT f())",
    "INSERT INTO t (a) VALUES (f(1))",
    "WITH x AS (SELECT f(1)) SELECT * FROM x",
    "DECLARE c CURSOR FOR SELECT f(1)",
    "EXPLAIN ANALYZE SELECT f(1)",
    "EXPLAIN (ANALYZE) SELECT f(1)",
    # what is not understood
    "SELECT 'it\\'s'",
    "SELECT 'a\\' || set_config('",
    "SELECT E'a' 'b\\'c'",
    "SELECT /* a /* b */ c */ 1",
    "SELECT 1 /* never closed",
    "SELECT 'never closed",
    "SELECT $a$ never closed $A$",
    'SELECT "never closed',
    'SELECT "a""b"',
    "SELECT U&\"set\\005fconfig\" ('a', 'b', false)",
    "SELECT 1FROM t",
    "SELECT $1FOR UPDATE",
    "SELECT $1$2",
    "SELECT 0x1F",
    "SELECT \x00",
    "SELECT {1}",
    "SELECT (1",
    "SELECT 1)",
    "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)",
    "frobnicate",
    "é",
    "1",
    "(",
    ".",
    "explain",
    "EXPLAIN EXPLAIN SELECT 1",
    "EXPLAIN (SELECT 1) FETCH FIRST (f(1)) ROWS ONLY",
    "set",
    "'",
]

KNOWN = [(sql, BOTH) for sql in PLAIN_READS] + [(sql, CLEAN) for sql in CLEAN_ONLY]
ALL = KNOWN + [(sql, 0) for sql in UNKNOWN]
UNDERSTOOD = [
    (f"{sql}\n;", each) for sql, each in ALL if _effects._statements(sql) is not None
]

# Each as its tokens, between which a space stands.
TOKENS = [
    "SELECT lower ( a ) FROM t WHERE b :: int4 [ ] = $1 LIMIT 1 ;",
    "SELECT count ( * ) OVER ( ORDER BY a ) FROM f",
    "SELECT * FROM t FOR NO KEY UPDATE",
    "SELECT 'a' , E'b' INTO TEMP x",
    "SELECT pg_catalog . set_config ( 'a' , 'b' , false )",
    "INSERT INTO t ( a ) VALUES ( $1 ) ON CONFLICT ( a ) DO UPDATE SET ( a ) = ( 1 )",
    "SET LOCAL a = 1",
    "SET local . a = 1",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "EXPLAIN ( ANALYZE ) SELECT 1 - - 1 / 2",
    "BEGIN ; SELECT 1 OPERATOR ( pg_catalog . + ) 2 ; COMMIT",
    "CREATE TABLE t ( a numeric ( 10 , 2 ) )",
]
SPACES = st.sampled_from(
    [
        " ",
        "\n",
        "\t\r\f",
        "/**/",
        "/* ' \" ; */",
        "/***/",
        "-- ' /*\n",
        "--\r",
        " --'\n ",
    ]
)

# What quotes, comments and calls are made of.
QUOTES = ["E'", "\\'", "''", 'U&"', "U&'", "$$", "$a$", "$A$", "/*", "*/", "--"]
SYNTAX = [
    "f(",
    "lower (",
    "::",
    "1e",
    "select ",
    " from ",
    " for update",
    " into temp ",
]
SINGLE = list("'\"\\$;()[],.:+*=1aE \n\r\x00\u00e9\u00a0\ud800")
PIECES = st.lists(st.sampled_from(QUOTES + SYNTAX + SINGLE)).map("".join)
JUNK = PIECES | st.text()


@pytest.mark.parametrize(("sql", "expected"), ALL, ids=[sql for sql, _ in ALL])
def test_effects(sql, expected):
    """Known statements are told from those that can leave anything behind."""
    assert effects(sql) == expected


def test_our_own_queries_leave_nothing():
    """Those of the catalog are clean; none was overlooked here."""
    queries = [
        value
        for value in vars(introspect).values()
        if isinstance(value, str) and "SELECT" in value and "{start}" not in value
    ]
    assert introspect.BY_OID in queries
    assert len(queries) == 3
    assert all(effects(sql) & CLEAN for sql in queries)


@pytest.mark.parametrize("level", transaction.ISOLATION_LEVELS.values())
def test_our_own_blocks_are_clean(level):
    """What `transaction()` sends leaves nothing."""
    sql = f"BEGIN ISOLATION LEVEL {level} READ ONLY DEFERRABLE"
    assert effects(sql) == CLEAN


@given(st.sampled_from(TOKENS), st.data())
def test_spaces_and_comments_change_nothing(sql, data):
    """Whatever stands between the tokens."""
    tokens = sql.split(" ")
    spaces = data.draw(st.lists(SPACES, min_size=len(tokens), max_size=len(tokens)))
    text = "".join(itertools.chain.from_iterable(zip(spaces, tokens, strict=True)))
    assert effects(text) == effects(sql)


@given(st.sampled_from(TOKENS), st.randoms(use_true_random=False))
def test_case_changes_nothing(sql, random):
    """Words are the same in upper and lower case."""
    text = "".join(random.choice((c.upper(), c.lower())) for c in sql)
    assert effects(text) == effects(sql)


@given(st.lists(st.sampled_from(UNDERSTOOD), min_size=2, max_size=4))
def test_several_are_as_clean_as_each(statements):
    """A script is clean if all its statements are, and is never a read."""
    expected = CLEAN
    for _, each in statements:
        expected &= each
    assert effects("\nSHOW x;".join(sql for sql, _ in statements)) == expected


@given(JUNK)
def test_anything_has_an_answer(text):
    """It never raises; what reads leaves nothing; what is unknown is not half known."""
    assert effects(text) in (0, CLEAN, BOTH)


@given(JUNK)
@example("SELECT 'a\\")
@example("SELECT $a$ $A$")
@example("-- \r")
def test_nothing_before_hides_a_statement(junk):
    """Whatever comes before: what is not seen was in quotes that nobody closed."""
    assert effects(junk + "\n; SET x = 1") == 0


@given(JUNK)
@example("1 OPERATOR(pg_catalog.+)")
@example("DISTINCT ON (a)")
@example("DISTINCT ON (lower(a))")
@example("DISTINCT ON ((SELECT 1))")
@example("a::int")
def test_nothing_before_hides_a_call(junk):
    """The same for a call; the sign is there since a call cannot follow a name."""
    call = " set_config('a', 'b', false)"
    assert effects("SELECT " + junk + "\n+" + call) == 0


def test_long_texts_cost_nothing():
    """They are not looked at, and the cache does not keep them."""
    at_limit = "SELECT 1" + " " * (SIZE_LIMIT - 8)
    assert effects(at_limit) == BOTH
    before = _effects._effects.cache_info()
    assert effects(at_limit + " ") == 0
    assert _effects._effects.cache_info() == before


def test_a_text_is_looked_at_once():
    """The second time it is in the cache, of which there is an end."""
    sql = "SELECT 'looked at once'"
    effects(sql)
    hits = _effects._effects.cache_info().hits
    effects(sql)
    assert _effects._effects.cache_info().hits == hits + 1
    assert _effects._effects.cache_info().maxsize


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "(" * 8000 + ")" * 8000,
        "SELECT " + "a.b(" * 4000,
        "SELECT " + "a." * 8000,
        "SELECT 1" + "--\n" * 5000 + "/*",
        "UPDATE t " + "set (" * 3000 + ")" * 1000,
        "EXPLAIN " * 2000,
        "/*" + "*" * 16000,
        "'" * 16001,
        "$$" * 8000 + "$",
    ],
    ids=lambda text: text[:16],
)
def test_repetition_has_an_answer(text):
    """Neither the stack nor the time runs out: there is a step for each character."""
    assert effects(text[:SIZE_LIMIT]) in (0, CLEAN, BOTH)


# -- the tables ----------------------------------------------------------------------


def test_tables_of_names():
    """No name is in two sections, and what changes something is not harmless."""
    names = " ".join(_functions._HARMLESS_BY_SECTION.values()).split()
    doubled = {name for name in names if names.count(name) > 1}
    assert doubled == {"length"}  # of strings, and of paths
    assert not _functions.HARMLESS & _functions.TIDY
    assert not _functions.ACTING & (_functions.HARMLESS | _functions.TIDY)
    assert all(name.isascii() and name == name.lower() for name in names)
