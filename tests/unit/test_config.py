"""Configuration: every parameter out of every source, ranks, rules that join values."""

import enum
import getpass
import ssl
from collections import UserDict
from pathlib import Path

import pytest

from chopin._confkeys import KEYS, nearest_key
from chopin.config import (
    ConnectConfig,
    ConnectOptions,
    SessionAttribute,
    SSLMode,
    parse_config,
)
from chopin.exceptions import ClientConfigurationError, InterfaceError

SCRAM_KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="

# name, text, where it is found, what is found there
SAMPLES = [
    ("host", "db.test", lambda c: c.hosts[0].host, "db.test"),
    ("hostaddr", "192.0.2.7", lambda c: c.hosts[0].hostaddr, "192.0.2.7"),
    ("port", "6000", lambda c: c.hosts[0].port, 6000),
    ("user", "ann", lambda c: c.user, "ann"),
    ("password", "s3", lambda c: c.password, "s3"),
    ("database", "app", lambda c: c.database, "app"),
    (
        "target_session_attrs",
        "read-write",
        lambda c: c.target_session_attrs,
        SessionAttribute.read_write,
    ),
    ("load_balance_hosts", "random", lambda c: c.load_balance_hosts, "random"),
    ("timeout", "7.5", lambda c: c.timeout, 7.5),
    ("connect_timeout", "3", lambda c: c.connect_timeout, 3.0),
    ("keepalives", "0", lambda c: c.keepalives, False),
    ("keepalives_idle", "11", lambda c: c.keepalives_idle, 11),
    ("keepalives_interval", "12", lambda c: c.keepalives_interval, 12),
    ("keepalives_count", "13", lambda c: c.keepalives_count, 13),
    ("tcp_user_timeout", "1400", lambda c: c.tcp_user_timeout, 1400),
    ("sslmode", "verify-ca", lambda c: c.sslmode, SSLMode.verify_ca),
    ("sslnegotiation", "postgres", lambda c: c.sslnegotiation, "postgres"),
    ("sslcert", "/c.crt", lambda c: c.sslcert, "/c.crt"),
    ("sslkey", "/c.key", lambda c: c.sslkey, "/c.key"),
    ("sslpassword", "s4", lambda c: c.sslpassword, "s4"),
    ("sslcertmode", "disable", lambda c: c.sslcertmode, "disable"),
    ("sslrootcert", "/r.crt", lambda c: c.sslrootcert, "/r.crt"),
    ("sslcrl", "/r.crl", lambda c: c.sslcrl, "/r.crl"),
    ("sslcrldir", "/crl", lambda c: c.sslcrldir, "/crl"),
    ("sslsni", "0", lambda c: c.sslsni, False),
    (
        "ssl_min_protocol_version",
        "tlsv1.3",
        lambda c: c.ssl_min_protocol_version,
        "TLSv1.3",
    ),
    (
        "ssl_max_protocol_version",
        "TLSv1.2",
        lambda c: c.ssl_max_protocol_version,
        "TLSv1.2",
    ),
    ("sslkeylogfile", "/k.log", lambda c: c.sslkeylogfile, "/k.log"),
    ("channel_binding", "require", lambda c: c.channel_binding, "require"),
    ("require_auth", "md5,none", lambda c: c.require_auth, {"md5", "none"}),
    ("requirepeer", "postgres", lambda c: c.requirepeer, "postgres"),
    ("scram_client_key", SCRAM_KEY, lambda c: c.scram_client_key, b"A" * 32),
    ("scram_server_key", SCRAM_KEY, lambda c: c.scram_server_key, b"A" * 32),
    ("oauth_issuer", "https://i.test", lambda c: c.oauth_issuer, "https://i.test"),
    ("oauth_client_id", "c1", lambda c: c.oauth_client_id, "c1"),
    ("oauth_client_secret", "s5", lambda c: c.oauth_client_secret, "s5"),
    ("oauth_scope", "openid", lambda c: c.oauth_scope, "openid"),
    ("gssencmode", "prefer", lambda c: c.gssencmode, "prefer"),
    ("krbsrvname", "pg", lambda c: c.krbsrvname, "pg"),
    ("gsslib", "sspi", lambda c: c.gsslib, "sspi"),
    ("gssdelegation", "1", lambda c: c.gssdelegation, True),
    ("min_protocol_version", "3.2", lambda c: c.min_protocol_version, "3.2"),
    ("max_protocol_version", "latest", lambda c: c.max_protocol_version, "3.2"),
    (
        "application_name",
        "a1",
        lambda c: c.server_settings["application_name"],
        "a1",
    ),
    (
        "fallback_application_name",
        "a2",
        lambda c: c.server_settings["application_name"],
        "a2",
    ),
    ("options", "-cjit=off", lambda c: c.server_settings["options"], "-cjit=off"),
    (
        "client_encoding",
        "utf-8",
        lambda c: c.server_settings["client_encoding"],
        "UTF8",
    ),
    ("replication", "database", lambda c: c.server_settings["replication"], "database"),
    ("command_timeout", "2.5", lambda c: c.command_timeout, 2.5),
    ("statement_cache_size", "0", lambda c: c.statement_cache_size, 0),
    (
        "max_cached_statement_lifetime",
        "9",
        lambda c: c.max_cached_statement_lifetime,
        9,
    ),
    (
        "max_cacheable_statement_size",
        "99",
        lambda c: c.max_cacheable_statement_size,
        99,
    ),
]  # fmt: skip

# Parameters that name a source, or are accepted and have no effect.
WITHOUT_SAMPLE = {"passfile", "service", "servicefile", "sslcompression"}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment whose home directory is empty."""
    return {"HOME": str(tmp_path)}


def test_samples_cover_the_table():
    """No parameter escapes the tests below."""
    assert {name for name, *_ in SAMPLES} | WITHOUT_SAMPLE == set(KEYS)


def test_table_options_and_config_name_the_same_parameters():
    """The three lists of parameters cannot drift apart."""
    derived = {"hosts", "ssl_context", "server_settings", "watched"}
    assert set(ConnectOptions.__annotations__) == set(KEYS) | {
        "dbname",
        "ssl",
        "direct_tls",
        "server_settings",
    }
    assert set(ConnectConfig.__dataclass_fields__) - derived <= set(KEYS)


@pytest.mark.parametrize(
    ("source", "name", "text", "get", "want"),
    [
        (source, *sample)
        for sample in SAMPLES
        for source in ("argument", "uri", "pairs", "service", "env")
        if source != "env" or KEYS[sample[0]].env is not None
    ],
)
def test_every_parameter_out_of_every_source(
    source, name, text, get, want, env, tmp_path
):
    """A parameter means the same wherever it is written."""
    key = KEYS[name]
    if source == "argument":
        config = parse_config(environ=env, **{name: text})
    elif source == "uri":
        escaped = text.replace("%", "%25").replace("/", "%2F").replace("=", "%3D")
        config = parse_config(f"postgresql://?{name}={escaped}", environ=env)
    elif source == "pairs":
        config = parse_config(f"{name}='{text}'", environ=env)
    elif source == "service":
        (tmp_path / ".pg_service.conf").write_text(f"[s]\n{name}={text}\n")
        config = parse_config(service="s", environ=env)
    else:
        config = parse_config(environ=env | {key.env: text})
    assert get(config) == want


def test_table_knows_all_that_libpq_knows():
    """Names and environment variables are those of the libpq at hand."""
    pq = pytest.importorskip("psycopg").pq
    wrong = {}
    for option in pq.Conninfo.get_defaults():
        name = option.keyword.decode()
        variable = option.envvar.decode() if option.envvar else None
        name = {"dbname": "database"}.get(name, name)
        # asyncpg's variable, which libpq does not have
        known = None if name == "sslkeylogfile" else KEYS[name].env
        if name != "servicefile" and known != variable:
            wrong[name] = variable
    assert wrong == {}


@pytest.mark.parametrize(
    ("name", "get", "texts"),
    [
        ("user", lambda c: c.user, "abcd"),
        ("database", lambda c: c.database, "abcd"),
        ("password", lambda c: c.password, "abcd"),
        ("host", lambda c: c.hosts[0].host, "abcd"),
        ("port", lambda c: str(c.hosts[0].port), "1234"),
        ("application_name", lambda c: c.server_settings["application_name"], "abcd"),
        (
            "sslmode",
            lambda c: c.sslmode,
            ["disable", "allow", "require", "verify-full"],
        ),
        ("krbsrvname", lambda c: c.krbsrvname, "abcd"),
    ],
)
def test_rank_of_the_sources(name, get, texts, env, tmp_path):
    """Keyword argument before DSN before service file before environment."""
    argument, dsn, service, variable = texts
    (tmp_path / ".pg_service.conf").write_text(f"[s]\n{name}={service}\n")
    env |= {KEYS[name].env: variable, "PGSERVICE": "s"}
    got = [
        get(parse_config(f"{name}={dsn}", environ=env, **{name: argument})),
        get(parse_config(f"{name}={dsn}", environ=env)),
        get(parse_config(environ=env)),
    ]
    del env["PGSERVICE"]
    got.append(get(parse_config(environ=env)))
    assert got == [argument, dsn, service, variable]


def test_defaults(env):
    """Nothing given is asyncpg's and libpq's defaults."""
    config = parse_config(environ=env)
    assert (config.user, config.database) == (getpass.getuser(), getpass.getuser())
    assert config.password is None
    assert (config.timeout, config.connect_timeout) == (60, None)
    assert (config.sslmode, config.ssl_context) == ("prefer", None)
    assert (config.channel_binding, config.require_auth) == ("prefer", None)
    assert (config.min_protocol_version, config.max_protocol_version) == ("3.0", "3.0")
    assert config.command_timeout is None
    assert config.statement_cache_size == 100
    assert config.max_cached_statement_lifetime == 300
    assert config.max_cacheable_statement_size == 15360
    assert dict(config.server_settings) == {"client_encoding": "UTF8"}


def test_config_is_read_only(env):
    """A configuration is shared by connections and cannot change under them."""
    config = parse_config(environ=env)
    with pytest.raises(AttributeError):
        config.user = "other"
    with pytest.raises(TypeError):
        config.server_settings["a"] = "b"


def test_none_is_not_given(env):
    """A keyword argument None leaves the word to the next source."""
    config = parse_config("user=ann port=1", environ=env, user=None, port=None, host="")
    assert (config.user, config.hosts[0].port) == ("ann", 1)


def test_timeout_none_is_no_limit(env):
    """`timeout=None` is a value, not a gap."""
    assert parse_config(environ=env, timeout=None).timeout is None


def test_dbname_is_another_name_for_database(env):
    """libpq's name works everywhere, but not beside the other one."""
    assert parse_config(environ=env, dbname="d").database == "d"
    assert parse_config("dbname=d", environ=env).database == "d"
    with pytest.raises(ClientConfigurationError, match="give only one"):
        parse_config(environ=env, dbname="d", database="d")


def test_password_callable_is_kept(env):
    """A callable is not called here and never printed."""

    def token():
        raise AssertionError

    config = parse_config("password=x", environ=env, password=token)
    assert config.password is token


# --- invalid values ------------------------------------------------------------------

TEXT_KEYS = [name for name, *_ in SAMPLES]


@pytest.mark.parametrize("name", TEXT_KEYS)
def test_nul_bytes_are_refused(name, env):
    """A NUL byte would end a text early on the wire; the error names the parameter."""
    with pytest.raises(ClientConfigurationError, match=rf"^{name} must not"):
        parse_config(environ=env, **{name: "a\0b"})
    with pytest.raises(ClientConfigurationError, match=rf"^{name} must not"):
        parse_config(f"postgres://?{name}=a%00b", environ=env)


@pytest.mark.parametrize("settings", [{"a\0b": "c"}, {"a": "b\0c"}, {"": "x"}])
def test_nul_bytes_and_empty_names_in_settings_are_refused(settings, env):
    """Each of them would end the start-up packet early or shift its pairs."""
    with pytest.raises(ClientConfigurationError, match="server_settings"):
        parse_config(environ=env, server_settings=settings)
    with pytest.raises(ClientConfigurationError, match="NUL"):
        parse_config(environ=env | {"PGTZ": "a\0"})
    with pytest.raises(ClientConfigurationError, match="NUL"):
        parse_config("postgres://?search_path=a%00b", environ=env)


def test_lone_surrogates_are_refused(env):
    """What UTF-8 cannot encode is refused before a UnicodeEncodeError can show it."""
    with pytest.raises(ClientConfigurationError, match="^user must be text"):
        parse_config(environ=env, user="\ud800")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("port", "x", "invalid port number: expected 1 to 65535, got 'x'"),
        ("port", 65536, "invalid port number: expected 1 to 65535, got 65536"),
        ("port", -1, "invalid port number: expected 1 to 65535, got -1"),
        ("port", "1_0", "invalid port number: expected 1 to 65535, got '1_0'"),
        ("port", True, "invalid port number: expected 1 to 65535, got True"),
        ("host", 5, "host is expected to be a str or a sequence of str"),
        ("host", [5], "host is expected to be a str or a sequence of str"),
        ("hostaddr", "db", "invalid hostaddr: expected a numeric IP address, got 'db'"),
        ("user", 5, "user is expected to be a str, got int"),
        ("password", b"x", "password is expected to be a str, or a callable"),
        ("sslcert", 5, "sslcert is expected to be a str, got int"),
        (
            "sslmode",
            "x",
            "`sslmode` parameter must be one of: disable, allow, prefer, require, "
            "verify-ca, verify-full",
        ),
        ("sslmode", "", "`sslmode` parameter must be one of: disable"),
        ("ssl", "x", "`sslmode` parameter must be one of: disable"),
        ("ssl", 1, "ssl is expected to be a bool, the name of an sslmode or an"),
        (
            "sslnegotiation",
            "x",
            "`sslnegotiation` parameter must be one of: postgres, direct",
        ),
        ("channel_binding", "x", "`channel_binding` parameter must be one of: disable"),
        ("load_balance_hosts", "x", "`load_balance_hosts` parameter must be one of"),
        ("target_session_attrs", "x", "target_session_attrs is expected to be one of"),
        (
            "gsslib",
            "x",
            "gsslib parameter must be either 'gssapi' or 'sspi', got 'x'",
        ),
        ("gssencmode", "require", "gssencmode=require: GSS encryption is not"),
        ("gssencmode", "x", "`gssencmode` parameter must be one of: disable, prefer"),
        ("ssl_min_protocol_version", "SSLv3", "Unsupported TLS version: 'SSLv3'"),
        ("ssl_max_protocol_version", "TLSv9", "No such TLS version: 'TLSv9'"),
        ("max_protocol_version", "3.1", "`max_protocol_version` parameter must be"),
        ("keepalives", "maybe", "invalid keepalives value: expected 1 or 0"),
        ("keepalives_idle", "1s", "invalid keepalives_idle value: expected an integer"),
        ("tcp_user_timeout", 2**31, "invalid tcp_user_timeout value: expected an int"),
        ("connect_timeout", "x", "invalid connect_timeout value: expected a number of"),
        ("connect_timeout", float("nan"), "invalid connect_timeout value: expected"),
        ("timeout", "x", "invalid timeout value: expected a number of seconds or None"),
        (
            "command_timeout",
            0,
            "invalid command_timeout value: expected greater than 0 float (got 0)",
        ),
        ("command_timeout", "x", "expected greater than 0 float (got 'x')"),
        ("command_timeout", True, "expected greater than 0 float (got True)"),
        ("command_timeout", float("nan"), "expected greater than 0 float (got nan)"),
        (
            "statement_cache_size",
            -1,
            "statement_cache_size is expected to be greater or equal to 0, got -1",
        ),
        (
            "max_cached_statement_lifetime",
            None,
            "max_cached_statement_lifetime is expected to be greater or equal to 0, "
            "got None",
        ),
        (
            "max_cacheable_statement_size",
            True,
            "max_cacheable_statement_size is expected to be greater or equal to 0, "
            "got True",
        ),
        ("require_auth", "md5,!none", "require_auth: plain and negated"),
        ("require_auth", 5, "require_auth is expected to be a str"),
        ("scram_client_key", "QUFB", "invalid scram_client_key value: expected base64"),
        ("scram_server_key", "?", "invalid scram_server_key value: expected base64"),
        (
            "server_settings",
            {"a": 1},
            "server_settings is expected to be None or a Dict[str, str]",
        ),
        ("server_settings", {"user": "x"}, "server_settings: 'user' is not the name"),
        ("server_settings", {"_pq_.x": "1"}, "server_settings: '_pq_.x' is not the"),
        ("client_encoding", "latin1", "client_encoding is expected to be UTF8"),
    ],
)  # fmt: skip
def test_invalid_values_are_refused(name, value, message, env):
    """The error names the parameter and says what is expected."""
    with pytest.raises(ClientConfigurationError) as caught:
        parse_config(environ=env, **{name: value})
    assert message in str(caught.value)
    assert isinstance(caught.value, InterfaceError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("sslmod", "; did you mean 'sslmode'?"), ("dbnam", "; did you mean 'database'?"),
     ("foo", "")],
)  # fmt: skip
def test_unknown_arguments_are_type_errors(name, hint, env):
    """As for any Python function, with a hint if it looks like a slip."""
    with pytest.raises(TypeError) as caught:
        parse_config(environ=env, **{name: "x"})
    assert str(caught.value) == (
        f"connect() got an unexpected keyword argument {name!r}{hint}"
    )


def test_dsn_must_be_text(env):
    """A URL object of another library is named as such."""
    with pytest.raises(ClientConfigurationError, match="dsn is expected to be a str"):
        parse_config(object(), environ=env)


# --- keys that are no parameters -----------------------------------------------------


def test_unknown_keys_of_a_dsn_are_server_settings(env):
    """As in asyncpg; the last one wins, the argument before all."""
    config = parse_config(
        "postgres://?search_path=a&search_path=b&my.flag=1&jit=on",
        environ=env,
        server_settings={"JIT": "off"},
    )
    assert dict(config.server_settings) == {
        "client_encoding": "UTF8",
        "JIT": "off",
        "search_path": "b",
        "my.flag": "1",
    }


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("sslmod", "sslmode"), ("conect_timeout", "connect_timeout"),
        ("hots", "host"), ("prot", "port"), ("SSLMode", "sslmode"),
        ("ssl-mode", "sslmode"), ("username", "user"), ("pwd", "password"),
        ("Dbname", "dbname"), ("statement_cache_sise", "statement_cache_size"),
        ("chanel_binding", "channel_binding"), ("requireauth", "require_auth"),
    ],
)  # fmt: skip
def test_slips_of_the_pen_are_refused(name, meant, env, tmp_path):
    """A mistyped parameter is never sent to the server as a setting."""
    message = rf"unknown key '{name}' in the DSN: did you mean '{meant}'\?"
    with pytest.raises(ClientConfigurationError, match=message):
        parse_config(f"postgres://?{name}=x", environ=env)
    with pytest.raises(ClientConfigurationError, match=message):
        parse_config(f"{name}=x", environ=env)
    (tmp_path / ".pg_service.conf").write_text(f"[s]\n{name}=x\n")
    with pytest.raises(ClientConfigurationError, match="in the service file"):
        parse_config(service="s", environ=env)


@pytest.mark.parametrize(
    "name",
    [
        "search_path", "statement_timeout", "lock_timeout", "transaction_timeout",
        "idle_in_transaction_session_timeout", "idle_session_timeout", "role",
        "timezone", "datestyle", "jit", "geqo", "tcp_keepalives_idle",
        "tcp_keepalives_interval", "tcp_keepalives_count", "work_mem",
        "default_transaction_read_only", "client_min_messages", "extra_float_digits",
        "password_encryption", "bytea_output", "session_authorization",
        "client_connection_check_interval", "plan_cache_mode",
    ],
)  # fmt: skip
def test_real_settings_are_no_slips(name):
    """Settings of PostgreSQL pass, however close to a parameter."""
    assert nearest_key(name) is None


@pytest.mark.parametrize(
    "dsn", ["postgres://?a-b=1", "postgres://?=1", "'a=1", "_pq_.a=1"]
)
def test_keys_that_can_be_no_setting_are_refused(dsn, env):
    """The key is not repeated: it may be a piece of a value without quotes."""
    with pytest.raises(ClientConfigurationError, match="key number 1 of the DSN is"):
        parse_config(dsn, environ=env)


# --- the start-up packet -------------------------------------------------------------


def test_parameters_in_server_settings_rank_as_arguments(env):
    """`server_settings={"application_name": ...}` beats DSN and PGAPPNAME."""
    env["PGAPPNAME"] = "env"
    config = parse_config(
        "application_name=dsn",
        environ=env,
        server_settings={"Application_Name": "mine"},
    )
    assert dict(config.server_settings) == {
        "client_encoding": "UTF8",
        "application_name": "mine",
    }


def test_fallback_application_name_comes_last(env):
    """It is for programs that let the user choose."""
    env["PGAPPNAME"] = "env"
    config = parse_config(environ=env, fallback_application_name="fallback")
    assert config.server_settings["application_name"] == "env"


def test_environment_settings(env):
    """PGDATESTYLE, PGTZ and PGGEQO count least; "default" is the server's value."""
    env |= {"PGDATESTYLE": "German", "PGTZ": "UTC", "PGGEQO": "default"}
    config = parse_config(environ=env, server_settings={"TimeZone": "Asia/Tokyo"})
    assert dict(config.server_settings) == {
        "client_encoding": "UTF8",
        "TimeZone": "Asia/Tokyo",
        "datestyle": "German",
    }


def test_client_encoding_of_the_environment_is_let_pass(env):
    """PGCLIENTENCODING is about a terminal; the wire is UTF-8."""
    env["PGCLIENTENCODING"] = "LATIN1"
    assert parse_config(environ=env).server_settings["client_encoding"] == "UTF8"


# --- TLS and protocol ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "mode", "roots"),
    [
        (True, "verify-full", "system"),
        (False, "disable", None),
        ("verify_ca", "verify-ca", None),
        ("require", "require", None),
    ],
)
def test_ssl_argument(value, mode, roots, env):
    """True is the system's authorities and full verification, as in asyncpg."""
    config = parse_config("sslmode=allow", environ=env, ssl=value)
    assert (config.sslmode, config.sslrootcert, config.ssl_context) == (
        mode,
        roots,
        None,
    )


def test_ssl_true_keeps_a_given_root_certificate(env):
    """Naming an authority is stricter than the system's list."""
    config = parse_config("sslrootcert=/r.crt", environ=env, ssl=True)
    assert config.sslrootcert == "/r.crt"


def test_ssl_context_argument(env):
    """A context of the user's decides alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    config = parse_config(
        "sslmode=disable sslrootcert=system", environ=env, ssl=context
    )
    assert config.ssl_context is context
    assert config.sslmode == "require"


def test_ssl_and_sslmode_arguments_exclude_each_other(env):
    """Two arguments for one thing are refused rather than ranked."""
    with pytest.raises(ClientConfigurationError, match="give only one"):
        parse_config(environ=env, ssl=True, sslmode="require")


@pytest.mark.parametrize(
    ("dsn", "mode"),
    [
        ("postgres://h?ssl=true", "require"),
        ("postgres://h?ssl=false", "disable"),
        ("postgres://h?ssl=verify-full", "verify-full"),
        ("requiressl=1", "require"),
        ("requiressl=0", "prefer"),
    ],
)
def test_other_words_for_sslmode(dsn, mode, env):
    """`ssl=true` and `requiressl=1` are taken as libpq takes them."""
    assert parse_config(dsn, environ=env).sslmode == mode


def test_pgrequiressl(env):
    """The old variable counts unless PGSSLMODE is there (CVE-2017-7485)."""
    env["PGREQUIRESSL"] = "1"
    assert parse_config(environ=env).sslmode == "require"
    assert parse_config(environ=env | {"PGSSLMODE": "allow"}).sslmode == "allow"


def test_system_root_certificates_mean_full_verification(env):
    """Any public authority could vouch for an attacker's name otherwise."""
    config = parse_config("sslrootcert=system", environ=env)
    assert config.sslmode == "verify-full"
    with pytest.raises(ClientConfigurationError, match="weak sslmode 'require'"):
        parse_config("sslrootcert=system sslmode=require", environ=env)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", None])
def test_direct_tls_needs_a_strong_mode(mode, env):
    """Without the negotiation there is nothing to fall back to."""
    message = "direct TLS requires sslmode=require, verify-ca, or verify-full"
    with pytest.raises(ClientConfigurationError, match=message):
        parse_config(environ=env, direct_tls=True, sslmode=mode)
    with pytest.raises(ClientConfigurationError, match=message):
        parse_config("sslnegotiation=direct", environ=env, sslmode=mode)


def test_direct_tls_argument(env):
    """It stands for sslnegotiation, in both directions."""
    on = parse_config(environ=env, direct_tls=True, ssl="require")
    off = parse_config("sslnegotiation=direct", environ=env, direct_tls=False)
    assert (on.sslnegotiation, off.sslnegotiation) == ("direct", "postgres")


@pytest.mark.parametrize("kind", ["", "ssl_"])
def test_versions_in_the_wrong_order_are_refused(kind, env):
    """A range that holds nothing is an error here, not a failed handshake."""
    low, high = ("TLSv1.2", "TLSv1.3") if kind else ("3.0", "3.2")
    with pytest.raises(ClientConfigurationError, match="is newer than"):
        parse_config(
            environ=env,
            **{f"{kind}min_protocol_version": high, f"{kind}max_protocol_version": low},
        )


def test_a_higher_least_protocol_version_raises_the_greatest(env):
    """As in libpq 18: 3.0 is asked for unless 3.2 is needed."""
    assert (
        parse_config("min_protocol_version=3.2", environ=env).max_protocol_version
        == "3.2"
    )


@pytest.mark.parametrize("text", ["0", "-1", "", 0, -2.5])
def test_connect_timeout_without_limit(text, env):
    """Zero, negative and empty mean no limit, as in libpq."""
    assert parse_config(environ=env, connect_timeout=text).connect_timeout is None


@pytest.mark.parametrize("text", ["0", "-5", ""])
def test_socket_options_left_to_the_system(text, env):
    """Zero and less is the system's default, as in libpq."""
    config = parse_config(environ=env, keepalives_idle=text, tcp_user_timeout=text)
    assert (config.keepalives_idle, config.tcp_user_timeout) == (None, None)


# --- secrets -------------------------------------------------------------------------


def test_repr_has_no_secrets(env, tmp_path):
    """Configurations end up in logs."""
    passfile = tmp_path / ".pgpass"
    passfile.write_text("*:*:*:*:s3cret-1\n")
    passfile.chmod(0o600)
    with_passfile = parse_config(environ=env)
    config = parse_config(
        environ=env,
        password="s3cret-2",
        sslpassword="s3cret-3",
        oauth_client_secret="s3cret-4",
        scram_client_key=b"s3cret" + b"5" * 26,
        scram_server_key=b"s3cret" + b"6" * 26,
    )
    assert with_passfile.hosts[0].password_from_passfile == "s3cret-1"
    assert "s3cret" not in repr(with_passfile) + repr(config)
    assert "s3cret" not in str(with_passfile) + str(config)


class Word(str, enum.Enum):  # noqa: UP042
    """Words as programs for older Pythons wrote them; str() gives ``Word.ann``."""

    ann = "ann"
    require = "require"
    gssapi = "gssapi"


def test_texts_are_taken_for_what_they_are(env):
    """Not for what str() of a class of the user's own shows, a mask perhaps."""
    config = parse_config(
        environ=env,
        host=Word.ann,
        user=Word.ann,
        password=Word.ann,
        database=Word.ann,
        ssl=Word.require,
        gsslib=Word.gssapi,
    )
    assert (config.hosts[0].host, config.user, config.database) == ("ann",) * 3
    assert (config.password, config.gsslib) == ("ann", "gssapi")
    assert config.sslmode is SSLMode.require
    for text in config.hosts[0].host, config.user, config.password, config.gsslib:
        assert type(text) is str


class Changing(UserDict):
    """An environment that another thread deletes from while it is read."""

    def __iter__(self):
        return iter(["HOME", "PGUSER", "PGAPPNAME"])


def test_variable_that_goes_meanwhile_is_not_set():
    """It is no KeyError without a word of what is wrong."""
    config = parse_config(environ=Changing({"HOME": "/nowhere", "PGUSER": "ann"}))
    assert config.user == "ann"
    assert "application_name" not in config.server_settings
