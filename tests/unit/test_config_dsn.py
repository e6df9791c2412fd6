"""Connection strings: the grammar, against libpq and asyncpg; no secret in an error."""

import inspect
import os
import traceback

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chopin._confkeys import KEYS
from chopin._conninfo import parse_conninfo
from chopin.config import parse_config
from chopin.exceptions import ClientConfigurationError

HOME = {"HOME": "/nonexistent"}


def flat(dsn: str) -> dict[str, str]:
    """What a connection string says, in libpq's words."""
    info = parse_conninfo(dsn)
    result = {}
    for name, value in [*info.authority.items(), *info.pairs]:
        if (name, value) == ("ssl", "true"):
            name, value = "sslmode", "require"
        elif name == "requiressl":
            name, value = "sslmode", "require" if value[:1] == "1" else "prefer"
        result[name] = value
    return result


@pytest.mark.parametrize(
    ("dsn", "want"),
    [
        ("", {}),
        ("  ", {}),
        ("user=a", {"user": "a"}),
        (" user = a\tport\n=\n5 ", {"user": "a", "port": "5"}),
        ("user='a b'port=5", {"user": "a b", "port": "5"}),
        (r"user='it\'s' password=a\ b\\c", {"user": "it's", "password": r"a b\c"}),
        ("user= port=5", {"user": "port=5"}),
        ("user='' port=5", {"user": "", "port": "5"}),
        ("user=a\\", {"user": "a"}),
        ("user=a user=b", {"user": "b"}),
        ("user=a=b", {"user": "a=b"}),
        ("user=\u00a0a", {"user": "\u00a0a"}),
        ("postgres://", {}),
        ("POSTGRES://a", {"host": "a"}),
        ("postgres://u:p@h:1/d?user=v", {
            "user": "v", "password": "p", "host": "h", "port": "1", "dbname": "d"}),
        ("postgres://u%40x:p%2Fq%3A@h", {
            "user": "u@x", "password": "p/q:", "host": "h"}),
        ("postgres://u:p:q@h", {"user": "u", "password": "p:q", "host": "h"}),
        ("postgres://u@@h", {"user": "u", "host": "@h"}),
        ("postgres://h/a@b", {"host": "h", "dbname": "a@b"}),
        ("postgres://h?user=a@b", {"user": "h?user=a", "host": "b"}),
        ("postgres://h/?user=a%20b+c", {"host": "h", "user": "a b+c"}),
        ("postgres://h?user=a&", {"host": "h", "user": "a"}),
        ("postgres://h?options=-ca=b", {"host": "h", "options": "-ca=b"}),
        ("postgres://h?us%65r=%C3%A9", {"host": "h", "user": "\u00e9"}),
        ("postgres:///d/e", {"dbname": "d/e"}),
    ],
)  # fmt: skip
def test_grammar(dsn, want):
    """URIs and pairs are taken apart as libpq does it."""
    assert flat(dsn) == want


@pytest.mark.parametrize(
    ("dsn", "message"),
    [
        ("mysql://h", 'invalid DSN: scheme is expected to be either "postgresql" or '
         "\"postgres\", got 'mysql'"),
        ("postgresql+asyncpg://h", "'postgresql+asyncpg' is a scheme of SQLAlchemy"),
        ("postgres:h", 'missing "=" in pair number 1'),
        ("user=a password=b c", 'missing "=" in pair number 3'),
        ("user='a", "unterminated quoted string in pair number 1"),
        ("user='a\\'", "unterminated quoted string in pair number 1"),
        ("postgres://u:100%@h", "password has an invalid percent-encoding: write a"),
        ("postgres://h?user=%4", "query parameter number 1 has an invalid percent-enc"),
        ("postgres://%FF", "host is not valid UTF-8 once its percent-encoding is"),
        ("postgres://h?user", 'missing key/value separator "=" in query parameter'),
        ("postgres://h?&user=a", 'missing key/value separator "="'),
        ("postgres://h/a b", "dbname has spaces in it: write them as %20"),
    ],
)  # fmt: skip
def test_broken_strings(dsn, message):
    """The error says where and what to do."""
    with pytest.raises(ClientConfigurationError) as caught:
        parse_conninfo(dsn)
    assert message in str(caught.value)


# --- libpq decides -------------------------------------------------------------------


@pytest.fixture(scope="module")
def libpq():
    """libpq's parser: a dictionary, or None for a string that it refuses."""
    psycopg = pytest.importorskip("psycopg")
    if psycopg.pq.version() < 170000:
        pytest.skip("before PostgreSQL 17, libpq did not trim spaces in URIs")
    from psycopg.conninfo import conninfo_to_dict

    def parse(dsn: str) -> dict[str, str] | None:
        try:
            return conninfo_to_dict(dsn)
        except psycopg.ProgrammingError:
            return None

    return parse


NAMES = st.sampled_from(
    sorted((set(KEYS) - {"database", "servicefile", "timeout"}) | {"dbname"})
).filter(
    lambda name: not name.startswith(("statement_", "max_ca", "command_"))
)  # fmt: skip
# psycopg adds nothing and asks no server: any value will do
VALUES = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12
)
SPACES = st.sampled_from(["", " ", "\t", "\n ", "\v\f\r"])
GAPS = st.sampled_from([" ", "\t", "\n ", "\v\f\r"])


@st.composite
def pairs(draw: st.DrawFn) -> str:
    """A correct string of pairs in any layout."""
    text = draw(SPACES)
    for name in draw(st.lists(NAMES, max_size=5)):
        value = draw(VALUES)
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        is_plain = value and not any(char.isspace() for char in value)
        if is_plain and draw(st.booleans()):
            quoted = escaped + draw(GAPS)
        else:
            quoted = f"'{escaped}'" + draw(SPACES)
        text += name + draw(SPACES) + "=" + draw(SPACES) + quoted
    return text


@st.composite
def uris(draw: st.DrawFn) -> str:
    """A correct URI, percent-encoded more or less."""

    def piece(safe: str = "") -> str:
        keep = draw(st.sampled_from(["", safe]))
        return "".join(
            char
            if char.isalnum() or char in keep
            else "".join(
                f"%{byte:02{draw(st.sampled_from('xX'))}}" for byte in char.encode()
            )
            for char in draw(VALUES)
        )

    text = draw(st.sampled_from(["postgresql://", "postgres://"]))
    if draw(st.booleans()):
        text += piece("+!$") + draw(st.sampled_from(["", f":{piece(':+!$')}"])) + "@"
    hosts = draw(st.lists(st.sampled_from(["h", "[::1]", "", "192.0.2.1", "h%2Fx"])))
    text += ",".join(h + draw(st.sampled_from(["", ":", ":5", ":66"])) for h in hosts)
    if draw(st.booleans()):
        text += "/" + piece("/:@")
    query = draw(st.lists(NAMES, max_size=4))
    if query:
        text += "?" + "&".join(f"{name}={piece('/:@+;')}" for name in query)
    return text


LOOSE_PAIRS = st.lists(
    st.sampled_from(
        ["user", "host", "port", "=", "'", " ", "\\", "x", "\t", "\n", "\u00e9"]
    ),
    max_size=14,
).map("".join)
LOOSE_URIS = st.lists(
    st.sampled_from(
        ["user=", "host=", "ssl=true", "requiressl=1", "?", "&", "@", "/", ":", ",",
         "[", "]", "::1", "%41", "%", "%20", "h", "\u00e9", " ", "5", "#", "+", "\t"]
    ),
    max_size=14,
).map(lambda parts: "postgresql://" + "".join(parts))  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(dsn=pairs() | uris())
def test_correct_strings_mean_what_libpq_says(dsn, libpq):
    """Differential test on strings that both must understand."""
    want = libpq(dsn)
    assert want is not None
    assert flat(dsn) == want


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(dsn=LOOSE_PAIRS | LOOSE_URIS)
def test_loose_strings_mean_what_libpq_says(dsn, libpq):
    """Differential test on strings of which most are broken."""
    want = libpq(dsn)
    try:
        got = flat(dsn)
    except ClientConfigurationError:
        assert want is None
        return
    known = {name if name != "database" else "dbname" for name in KEYS} - {"timeout"}
    is_wider = any("=" in value for _, value in parse_conninfo(dsn).pairs)
    if set(got) <= known and not (want is None and is_wider):
        assert got == want


# --- asyncpg decides -----------------------------------------------------------------

ASYNCPG_CASES = [
    ("postgres://ann:pw@h:7/app", {}, {}),
    ("postgresql://ann@h/app", {"password": "pw", "port": 8}, {}),
    ("postgresql://ann@h1:1,h2:2/app", {}, {}),
    ("postgresql://ann@h1,h2/app", {}, {"PGPORT": "1,2"}),
    ("postgresql://ann@h1:1,h2/app", {}, {"PGPORT": "9"}),
    ("postgresql://ann@h1:1/app", {"host": "h2"}, {}),
    ("postgresql://ann@[::1]:1,[2001:db8::1]/app", {}, {}),
    ("postgresql://ann@[fe80::1%25eth0]/app", {}, {}),
    ("postgresql://%2Ftmp%2Fx/app?user=ann", {}, {}),
    ("postgresql:///app?host=/x/y&user=ann", {}, {}),
    ("postgresql:///app?host=h1:1,[::1]:2&user=ann", {}, {}),
    ("postgresql:///app?host=h1,h2&port=1,2&user=ann", {}, {}),
    ("postgresql://u%40x:p%2F%20q@h/a%20b", {}, {}),
    ("postgresql://ann@h/app?search_path=x&jit=off", {}, {}),
    ("postgresql://ann@h/app?jit=off", {"server_settings": {"jit": "on"}}, {}),
    ("postgresql://ann@h/app?application_name=me", {}, {}),
    ("postgresql://ann@h/app?sslmode=require", {}, {"PGSSLMODE": "disable"}),
    ("postgresql://ann@h/app?sslmode=require", {"ssl": "allow"}, {}),
    ("postgresql://ann@h/app?sslmode=require&sslnegotiation=direct", {}, {}),
    ("postgresql://ann@h/app", {"ssl": False}, {"PGSSLMODE": "require"}),
    ("postgresql://ann@h/app", {"ssl": True}, {}),
    ("postgresql://ann@h/app?target_session_attrs=read-only", {}, {}),
    (None, {"host": ["a", "b"], "port": [1, 2], "user": "ann"}, {"PGDATABASE": "d"}),
    (None, {"host": "/tmp/.s.PGSQL.9", "user": "ann"}, {}),
    (None, {}, {"PGHOST": "a,b", "PGPORT": "1,2", "PGUSER": "u", "PGPASSWORD": "p"}),
    (None, {}, {"PGHOST": "a:5,b:6", "PGUSER": "u", "PGTARGETSESSIONATTRS": "standby"}),
    ("postgres://h/", {"user": "ann", "database": "d", "krbsrvname": "k"}, {}),
    ("postgres://h/d?user=ann&krbsrvname=k&gsslib=sspi", {}, {}),
    # refused by both
    ("mysql://h/d", {}, {}),
    ("postgres://a,b,c/d", {"user": "u"}, {"PGPORT": "1,2"}),
    ("postgres://h/d?sslmode=x", {}, {}),
    ("postgres://h/d?sslnegotiation=direct", {"user": "u"}, {}),
    ("postgres://h/d?target_session_attrs=x", {"user": "u"}, {}),
    ("postgres://h/d?gsslib=x", {"user": "u"}, {}),
    ("postgres://h/d?sslmode=require&ssl_min_protocol_version=SSLv3", {}, {}),
    ("postgres://h/d", {"server_settings": {"a": 1}}, {}),
    ("postgres://h/d", {"statement_cache_size": -1}, {}),
    ("postgres://h/d", {"max_cacheable_statement_size": None}, {}),
    ("postgres://h/d", {"command_timeout": 0}, {}),
    ("postgres://h/d", {"command_timeout": "x"}, {}),
]


def asyncpg_view(dsn, arguments, want):
    """What asyncpg's parser finds, under the names of `want`."""
    from asyncpg.connect_utils import _parse_connect_arguments as parse

    defaults = {
        "statement_cache_size": 100,
        "max_cached_statement_lifetime": 300,
        "max_cacheable_statement_size": 15360,
    }
    names = inspect.signature(parse).parameters
    filled = dict.fromkeys(names) | defaults | {"dsn": dsn} | arguments
    try:
        addresses, params, _ = parse(**filled)
    except ValueError:
        return "refused"
    view = {name: getattr(params, name) for name in want if hasattr(params, name)}
    return view | {
        "hosts": [a if isinstance(a, str) else tuple(a) for a in addresses],
        "server_settings": params.server_settings or {},
        "sslmode": params.sslmode.name.replace("_", "-"),
        "sslnegotiation": params.ssl_negotiation.value,
        "target_session_attrs": params.target_session_attrs.value,
        "krbsrvname": params.krbsrvname or "postgres",
    }


def our_view(dsn, arguments):
    """The same of ours."""
    try:
        config = parse_config(dsn, **arguments)
    except ClientConfigurationError:
        return "refused"
    names = ("user", "password", "database", "sslmode", "sslnegotiation", "krbsrvname",
             "gsslib", "target_session_attrs")  # fmt: skip
    view = {name: getattr(config, name) for name in names}
    sent = dict(config.server_settings)
    assert sent.pop("client_encoding") == "UTF8"
    hosts = [h.unix_path if h.is_unix else (h.host, h.port) for h in config.hosts]
    return view | {"hosts": hosts, "server_settings": sent}


@pytest.mark.parametrize(("dsn", "arguments", "env"), ASYNCPG_CASES)
def test_asyncpg_finds_the_same(dsn, arguments, env, monkeypatch, tmp_path):
    """An application that changes the import connects to the same place."""
    pytest.importorskip("asyncpg")
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    for name, value in ({"HOME": str(tmp_path)} | env).items():
        monkeypatch.setenv(name, value)
    got = our_view(dsn, arguments)
    want = asyncpg_view(dsn, arguments, got)
    if want != "refused" and not any(type(a) is tuple for a in want["hosts"]):
        want["sslmode"] = got["sslmode"]  # it does not apply to sockets
    assert got == want


# --- secrets -------------------------------------------------------------------------

MARK = "S3CRET"
PASSWORDS = st.lists(
    st.sampled_from(
        [MARK, *"@:/?#[]%&= '\\,;+!\t\n\u00e9", "&port=", " port=", "&hots=",
         " sslmode=", "&require_auth=", "&sslmod=", "&service="]
    ),
    min_size=1,
    max_size=8,
).map(lambda parts: MARK + "".join(parts) + MARK)  # fmt: skip
TEMPLATES = st.sampled_from(
    [
        "postgres://u:{}@h/d",
        "postgres://u:{}@h:5432/d?sslmode=x",
        "postgres://u:{}@h:x/d",
        "postgres://u:{}@[::1/d",
        "postgres://u@h/d?password={}&port=x",
        "postgres://u@h/d?password={}&sslmod=x",
        "postgresql+asyncpg://u:{}@h/d",
        "mysql://u:{}@h/d",
        "postgres:/u:{}@h/d",
        "host=h password={} port=x",
        "host=h password='{}' port=x",
        "host=h password='{}",
        "password={} hots=h",
        "password={} require_auth=x",
    ]
)


@settings(deadline=None, max_examples=300)
@given(password=PASSWORDS, template=TEMPLATES)
def test_errors_never_show_the_password(password, template):
    """Nor a piece of it, however badly it is quoted."""
    try:
        parse_config(template.format(password), environ=HOME)
    except ClientConfigurationError as error:
        shown = "".join(traceback.format_exception(error, chain=True))
        shown += f"{error!r} {error} {error.detail} {error.hint}"
        shown += f"{error.__cause__!r} {error.__context__!r}"
        assert MARK not in shown
