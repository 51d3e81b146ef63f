//! What a database URL is read as, and what is refused.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::TargetSessionAttrs;

use sqlx::postgres::PgSslMode;

use super::*;

const ENVIRONMENT: [(&str, &str); 3] = [
    ("PGUSER", "ada"),
    ("PGHOST", "db.example"),
    ("PGPASSWORD", ""),
];

fn read(url: &str) -> Result<DatabaseUrl, InvalidDatabaseUrl> {
    read_with(url, &ENVIRONMENT)
}

fn read_with(url: &str, pairs: &[(&str, &str)]) -> Result<DatabaseUrl, InvalidDatabaseUrl> {
    DatabaseUrl::read(url, &|name| {
        let pair = pairs.iter().find(|(variable, _)| *variable == name);
        pair.map(|(_, value)| (*value).to_owned())
    })
}

fn password_of(url: &DatabaseUrl) -> &str {
    let password = url.config.get_password().unwrap_or_default();
    std::str::from_utf8(password).expect("UTF-8")
}

#[test]
fn a_url_is_read_into_its_parts() {
    for (url, shown, password) in [
        (
            "postgresql://ada:secret@h:5433/space",
            "ada@h:5433/space",
            "secret",
        ),
        ("postgres://", "ada@db.example:5432/ada", ""),
        ("postgres://h", "ada@h:5432/ada", ""),
        ("postgres://bob@h", "bob@h:5432/bob", ""),
        ("postgres://bob:@h/", "bob@h:5432/bob", ""),
        ("postgres://bob@/space", "bob@db.example:5432/space", ""),
        ("postgres://127.0.0.1:1/x", "ada@127.0.0.1:1/x", ""),
        ("postgres://[::1]/x", "ada@[::1]:5432/x", ""),
        ("postgres://[::1]:9/x", "ada@[::1]:9/x", ""),
        ("postgres://h/x?host=::1", "ada@[::1]:5432/x", ""),
        ("postgres://%2Frun%2Fpg/x", "ada@/run/pg:5432/x", ""),
        ("postgres://%2frun:7/x", "ada@/run:7/x", ""),
        ("postgres:///x?host=/run/pg", "ada@/run/pg:5432/x", ""),
        ("postgres://h/x?host=g&port=8", "ada@g:8/x", ""),
        ("postgres://b%40d:p%3a%2F%25@h", "b@d@h:5432/b@d", "p:/%"),
        ("postgres://bob:p:w#r?d@h", "bob@h:5432/bob", "p:w#r?d"),
        ("postgres://:secret@h/x", "ada@h:5432/x", "secret"),
        ("postgres://bob:p+q@h", "bob@h:5432/bob", "p+q"),
        (
            "postgres:///?user=bob&password=a%26b%40&dbname=y&host=h",
            "bob@h:5432/y",
            "a&b@",
        ),
        ("postgres://h/%C3%A9t%C3%A9", "ada@h:5432/été", ""),
        (
            "postgres://h1,h2:2,[::3]:3/x",
            "ada@h1:5432,h2:2,[::3]:3/x",
            "",
        ),
        (
            "postgres:///x?host=a,%2Frun&port=1,2",
            "ada@a:1,/run:2/x",
            "",
        ),
        ("postgres://h/x?host=a,b&port=7", "ada@a:7,b:7/x", ""),
        (
            "postgres://h:1,[::2]:3,[::4]/x?port=7,8,",
            "ada@h:7,[::2]:8,[::4]:5432/x",
            "",
        ),
    ] {
        let read = read(url).expect(url);
        assert_eq!(read.to_string(), shown, "{url}");
        assert_eq!(password_of(&read), password, "{url}");
        let shown = format!("{read} {read:?}");
        assert!(password.is_empty() || !shown.contains(password), "{shown}");
    }
}

#[test]
fn sqlx_is_given_what_tokio_postgres_has_read() {
    let url = "postgres://bob:pw@[::1]:9/x?options=-c%20search_path%3Da%5C%20b%20--work-mem%3D1MB";
    let options = DatabaseUrl::parse(url)
        .expect(url)
        .sqlx_options("space-events reader");
    assert_eq!(options.get_host(), "::1");
    assert_eq!(options.get_port(), 9);
    assert_eq!(options.get_username(), "bob");
    assert_eq!(options.get_database(), Some("x"));
    assert_eq!(options.get_application_name(), Some("space-events reader"));
    let settings = options.get_options().unwrap_or_default();
    assert!(
        settings.ends_with("-c search_path=a\\ b --work-mem=1MB"),
        "{settings}"
    );

    let socket = DatabaseUrl::parse("postgres://bob@%2Frun/x").expect("a socket");
    let options = socket.sqlx_options("");
    assert_eq!(options.get_socket(), Some(&PathBuf::from("/run")));
    // Not even an empty text: PgBouncer refuses it.
    if std::env::var_os("PGOPTIONS").is_none() {
        assert_eq!(options.get_options(), None);
    }
}

#[test]
fn tls_is_what_sslmode_and_its_companions_say() {
    for (options, mode, root) in [
        ("", PgSslMode::Prefer, None),
        ("sslmode=disable", PgSslMode::Disable, None),
        ("sslmode=allow", PgSslMode::Disable, None),
        (
            "sslmode=prefer&sslrootcert=/ca",
            PgSslMode::Prefer,
            Some("/ca"),
        ),
        ("sslmode=require", PgSslMode::Require, None),
        ("ssl=true", PgSslMode::Require, None),
        (
            "sslmode=require&sslrootcert=/ca",
            PgSslMode::VerifyCa,
            Some("/ca"),
        ),
        ("sslmode=verify-ca", PgSslMode::VerifyCa, None),
        (
            "sslmode=verify-full&sslrootcert=/ca",
            PgSslMode::VerifyFull,
            Some("/ca"),
        ),
        ("sslrootcert=system", PgSslMode::VerifyFull, None),
        (
            "sslmode=require&channel_binding=require",
            PgSslMode::VerifyFull,
            None,
        ),
        (
            "sslmode=require&channel_binding=prefer",
            PgSslMode::Require,
            None,
        ),
        ("sslmode=verify-full&host=/run", PgSslMode::Disable, None),
    ] {
        let read = read(&format!("postgres://h/?{options}")).expect(options);
        let tls = read.tls.on(&read.host().0);
        assert_eq!(format!("{:?}", tls.mode), format!("{mode:?}"), "{options}");
        assert_eq!(tls.root_cert.as_deref(), root.map(Path::new), "{options}");
    }
}

#[test]
fn options_that_other_programs_want_are_taken() {
    let url = "postgres://h/?application_name=x&fallback_application_name=y&client_encoding=UTF8\
               &load_balance_hosts=random&sslnegotiation=postgres&gssencmode=prefer\
               &target_session_attrs=read-write&connect_timeout=3&tcp_user_timeout=4000\
               &keepalives=1&keepalives_idle=30&keepalives_interval=0&keepalives_count=9&";
    let url = read(url).expect(url);
    let config = &url.config;
    assert_eq!(
        config.get_target_session_attrs(),
        TargetSessionAttrs::ReadWrite
    );
    assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(3)));
    assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(4)));
    assert_eq!(config.get_keepalives_idle(), Duration::from_secs(30));
    assert_eq!(
        config.get_keepalives_interval(),
        Some(Duration::from_secs(2))
    );
    assert_eq!(config.get_keepalives_retries(), Some(9));
    assert!(
        !read("postgres://h/?keepalives=0")
            .expect("off")
            .config
            .get_keepalives()
    );
}

#[test]
fn a_server_that_is_gone_is_noticed_soon_unless_the_url_says_otherwise() {
    let seconds = Duration::from_secs;
    for (url, connect, unacknowledged, idle, interval, count) in [
        ("postgres://h", 10, 10, 5, 2, 3),
        ("postgres://h,i", 2, 10, 5, 2, 3),
        (
            "postgres://h?connect_timeout=0&tcp_user_timeout=0&keepalives_idle=0",
            10,
            10,
            5,
            2,
            3,
        ),
        (
            "postgres://h,i?connect_timeout=7&tcp_user_timeout=1&keepalives_idle=7200&keepalives_interval=9&keepalives_count=0",
            7,
            1,
            7200,
            9,
            0,
        ),
    ] {
        let config = read(url).expect(url).config;
        assert_eq!(
            config.get_connect_timeout(),
            Some(&seconds(connect)),
            "{url}"
        );
        assert_eq!(
            config.get_tcp_user_timeout(),
            Some(&seconds(unacknowledged)),
            "{url}"
        );
        assert_eq!(config.get_keepalives_idle(), seconds(idle), "{url}");
        assert_eq!(
            config.get_keepalives_interval(),
            Some(seconds(interval)),
            "{url}"
        );
        assert_eq!(config.get_keepalives_retries(), Some(count), "{url}");
    }
}

#[test]
fn what_a_url_leaves_out_comes_from_the_environment() {
    let environment = [
        ("PGUSER", "ada"),
        ("PGPASSWORD", "pw"),
        ("PGHOST", "/run/pg"),
        ("PGPORT", "7"),
        ("PGDATABASE", "space"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/ca"),
        ("PGSSLCERT", "/cert"),
        ("PGSSLKEY", "/key"),
    ];
    let all = read_with("postgres://", &environment).expect("all from there");
    assert_eq!(all.to_string(), "ada@/run/pg:7/space");
    assert_eq!(password_of(&all), "pw");
    let nothing = read_with("postgres://", &[("PGUSER", "ada")]).expect("this machine");
    assert!(nothing.to_string().ends_with(":5432/ada"), "{nothing}");
    let some = read_with("postgres://bob:mine@h:1/x", &environment).expect("some from there");
    assert_eq!(some.to_string(), "bob@h:1/x");
    assert_eq!(password_of(&some), "mine");
    assert!(matches!(some.tls.mode, PgSslMode::VerifyFull));
    assert_eq!(some.tls.root_cert, Some("/ca".into()));
    assert!(some.tls.client_cert.is_some());
}

#[test]
fn a_bad_url_is_refused_in_one_sentence_without_its_password() {
    let scheme = "it must start with postgres:// or postgresql://";
    let encode = "`/` and `@` must be written %2F and %40 in the user, password and database";
    for (url, expected) in [
        ("", scheme),
        ("mysql://ada:secret@h/x", scheme),
        ("host=h password=secret", scheme),
        ("postgres://h:0/x", PORT),
        ("postgres://h:65536/x", PORT),
        ("postgres://h/x?port=1x", PORT),
        ("postgres://ada:secret/x", PORT),
        ("postgres://ada:secret/more@h/x", encode),
        ("postgres://ada:secr@et/more@h/x", encode),
        ("postgres://ada:secr@et@h/x", encode),
        (
            "postgres://ada?se-cret=1",
            "the name of an option is malformed",
        ),
        (
            "postgres://h1:1,h2:2/x?port=1,2,3",
            "there must be one port, or as many as hosts",
        ),
        ("postgres://[::1/x", "invalid value for option `host`"),
        ("postgres://[::1]x/x", "invalid value for option `host`"),
        ("postgres://a%20b/x", "a host is malformed"),
        ("postgres://ada:%ff@h", "the password is not UTF-8"),
        ("postgres://h/x?connect_timeout", "an option has no value"),
        (
            "postgres://h/x?sslmode=on",
            "option `sslmode` is `on`; it must be one of disable, allow, prefer, require, verify-ca, verify-full",
        ),
        (
            "postgres://h/x?sslcert=/c",
            "sslcert and sslkey must be given together",
        ),
        (
            "postgres://h/x?sslrootcert=system&sslmode=require",
            "sslrootcert=system needs sslmode=verify-full, not `require`",
        ),
        (
            "postgres://h/x?channel_binding=require&sslmode=allow",
            "channel_binding=require needs TLS, which sslmode=allow turns off",
        ),
        (
            "postgres://h/x?channel_binding=maybe",
            "option `channel_binding` is `maybe`; it must be disable, prefer or require",
        ),
        (
            "postgres://h/x?sslnegotiation=direct",
            "option `sslnegotiation` must be postgres",
        ),
        (
            "postgres://h/x?gssencmode=require",
            "option `gssencmode` is `require`; it must be disable or prefer",
        ),
        (
            "postgres://h/x?target_session_attrs=standby",
            "option `target_session_attrs` is `standby`; it must be any, primary or read-write, since a standby is never used",
        ),
        (
            "postgres://h/x?connect_timeout=soon",
            "invalid value for option `connect_timeout`",
        ),
        (
            "postgres://h/x?keepalives=yes",
            "invalid value for option `keepalives`",
        ),
        ("postgres://h/x?schema=public", "unknown option `schema`"),
        (
            "postgres://h/x?password=secret&pgbouncer=true",
            "unknown option `pgbouncer`",
        ),
        (
            "postgres://h/x?hostaddr=::1",
            "option `hostaddr` is not supported; use `host`",
        ),
    ] {
        let error = read(url).expect_err(url).to_string();
        assert_eq!(error, expected, "{url}");
    }
}
