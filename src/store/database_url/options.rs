//! The options of a URL that tokio-postgres does not know, or does not read as libpq does;
//! and the environment variables for them.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::{InvalidDatabaseUrl, PORT, invalid, located, parsed};

const DEFAULT_PORT: u16 = 5432;

/// The value of an environment variable.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The options that are read here, as they are written.
pub(in crate::store) struct Options<'a> {
    values: HashMap<String, String>,
    environment: Environment<'a>,
}

impl<'a> Options<'a> {
    /// Takes its options out of those behind a URL's `?`. Gives those that
    /// tokio-postgres is to read, in its words.
    pub(super) fn take(
        options: &str,
        environment: Environment<'a>,
    ) -> Result<(Self, String), InvalidDatabaseUrl> {
        let mut values = HashMap::new();
        let mut others = String::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| invalid("an option has no value"))?;
            // Whatever else stands here may be part of a password that was not encoded.
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(invalid("the name of an option is malformed"));
            }
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| invalid(format!("option `{name}` is not UTF-8")))?;
            let must_be = |allowed| Err(must_be(name, &value, allowed));
            match (name, &*value) {
                ("host" | "port" | "sslmode" | "sslrootcert" | "sslcert" | "sslkey", _) => {
                    values.insert(name.to_owned(), value.into_owned());
                }
                // JDBC's word, which libpq takes too.
                ("ssl", "true") => {
                    values.insert("sslmode".to_owned(), "require".to_owned());
                }
                ("hostaddr", _) => {
                    return Err(invalid("option `hostaddr` is not supported; use `host`"));
                }
                ("gssencmode", "require") => return must_be("disable or prefer"),
                // Without effect here: the name is ours, and the encoding always UTF-8.
                ("application_name" | "fallback_application_name", _)
                | ("client_encoding" | "gssencmode", _)
                | ("target_session_attrs", "primary") => {}
                ("target_session_attrs", other) if !["any", "read-write"].contains(&other) => {
                    return must_be("any, primary or read-write, since a standby is never used");
                }
                ("channel_binding", other)
                    if !["disable", "prefer", "require"].contains(&other) =>
                {
                    return must_be("disable, prefer or require");
                }
                ("sslnegotiation", other) if other != "postgres" => {
                    return Err(invalid("option `sslnegotiation` must be postgres"));
                }
                ("keepalives_count" | "tcp_user_timeout", number) => match number.parse::<u32>() {
                    Err(_) => return must_be("a whole number"),
                    Ok(number) if name == "keepalives_count" => {
                        others += &format!("keepalives_retries={number}&");
                    }
                    // libpq's are milliseconds.
                    Ok(number) => others += &format!("{name}={}&", number.div_ceil(1000)),
                },
                // An `@` would end the user and the password.
                _ => others += &format!("{}&", option.replace('@', "%40")),
            }
        }
        let options = Self {
            values,
            environment,
        };
        Ok((options, others))
    }

    fn given(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned()
    }

    /// The value of an environment variable. As in libpq, an empty one is none.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    /// The value that the URL gives, else that of a variable; an empty one is none.
    pub(in crate::store) fn or_variable(&self, name: &str, variable: &str) -> Option<String> {
        let given = self.given(name).or_else(|| self.variable(variable));
        given.filter(|value| !value.is_empty())
    }

    /// The hosts and their ports: as in libpq, options come before the address that is
    /// written in a URL, and that before the environment.
    pub(super) fn hosts(&self, written: &str) -> Result<Vec<(Host, u16)>, InvalidDatabaseUrl> {
        let mut address = Config::new();
        match self.given("host") {
            None if !written.is_empty() => address = parsed(written)?,
            given => {
                let hosts = given.or_else(|| self.variable("PGHOST"));
                for host in hosts.unwrap_or_default().split(',') {
                    address.host(host);
                }
            }
        }
        let (hosts, mut ports) = (address.get_hosts(), address.get_ports().to_vec());
        if ports.is_empty() || self.values.contains_key("port") {
            let given = self.or_variable("port", "PGPORT").unwrap_or_default();
            let port = |text: &str| match text {
                "" => Ok(DEFAULT_PORT),
                text => text.parse().map_err(|_| invalid(PORT)),
            };
            ports = given.split(',').map(port).collect::<Result<_, _>>()?;
        }
        if ports.len() > 1 && ports.len() != hosts.len() {
            return Err(invalid("there must be one port, or as many as hosts"));
        }
        let hosts = hosts.iter().zip(ports.into_iter().cycle());
        hosts.map(|(host, port)| located(host, port)).collect()
    }
}

pub(in crate::store) fn must_be(name: &str, value: &str, allowed: &str) -> InvalidDatabaseUrl {
    invalid(format!(
        "option `{name}` is `{value}`; it must be {allowed}"
    ))
}
