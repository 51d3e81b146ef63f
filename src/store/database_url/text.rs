//! The text of a database URL, taken apart and decoded.
//!
//! By hand rather than by a URL parser: a password with a `#` in it, a socket's
//! directory as the host and the absence of `+` for a space are as in libpq, and
//! no message shows text that may be a password which was not encoded.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::TargetSessionAttrs;

use super::super::tls::{ClientCert, TlsMode, TlsSettings};
use super::{Host, InvalidDatabaseUrl, Keepalive};

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long sent data may stay unacknowledged before the connection counts as dead.
const DEFAULT_TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
const SSL_MODES: &str = "one of disable, allow, prefer, require, verify-ca, verify-full";

/// What a URL says itself, decoded; the environment and the defaults come after.
pub(super) struct Given {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<String>,
    pub(super) database: Option<String>,
    pub(super) sslmode: Option<String>,
    pub(super) sslrootcert: Option<String>,
    pub(super) sslcert: Option<String>,
    pub(super) sslkey: Option<String>,
    pub(super) channel_binding_required: bool,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) target_session_attrs: TargetSessionAttrs,
    pub(super) connect_timeout: Duration,
    pub(super) tcp_user_timeout: Duration,
    pub(super) keepalives: bool,
    pub(super) keepalive: Keepalive,
    pub(super) statement_cache_capacity: Option<usize>,
}

impl Given {
    pub(super) fn read(url: &str) -> Result<Self, InvalidDatabaseUrl> {
        let mut given = Self {
            user: None,
            password: None,
            host: None,
            port: None,
            database: None,
            sslmode: None,
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
            channel_binding_required: false,
            parameters: Vec::new(),
            target_session_attrs: TargetSessionAttrs::Any,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            tcp_user_timeout: DEFAULT_TCP_USER_TIMEOUT,
            keepalives: true,
            keepalive: Keepalive {
                idle: Duration::from_secs(5),
                interval: Duration::from_secs(2),
                retries: 3,
            },
            statement_cache_capacity: None,
        };
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or_else(|| invalid("it must start with postgres:// or postgresql://"))?;
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        // A name with these is rather the rest of a password with a `/` in it.
        if database.contains(['/', '@']) {
            return Err(invalid(
                "`/`, `?` and `@` must be written %2F, %3F and %40 in the user, password and database",
            ));
        }
        // The last `@`, since people forget to encode the one in a password.
        let host_and_port = match authority.rsplit_once('@') {
            Some((credentials, host_and_port)) => {
                given.read_credentials(credentials)?;
                host_and_port
            }
            None => authority,
        };
        given.read_host_and_port(host_and_port)?;
        given.database = Some(decoded("database", database)?).filter(|name| !name.is_empty());
        for option in options.split('&').filter(|option| !option.is_empty()) {
            given.read_option(option)?;
        }
        Ok(given)
    }

    fn read_credentials(&mut self, credentials: &str) -> Result<(), InvalidDatabaseUrl> {
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        self.user = Some(decoded("user", user)?);
        self.password = Some(decoded("password", password)?).filter(|word| !word.is_empty());
        Ok(())
    }

    fn read_host_and_port(&mut self, text: &str) -> Result<(), InvalidDatabaseUrl> {
        if text.contains(',') {
            return Err(several_hosts());
        }
        let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((address, port))) => {
                if address.parse::<Ipv6Addr>().is_err() {
                    return Err(invalid("the host in brackets is not an IPv6 address"));
                }
                match port.strip_prefix(':') {
                    Some(port) => (address, port),
                    None if port.is_empty() => (address, ""),
                    None => return Err(invalid("the host is malformed")),
                }
            }
            Some(None) => return Err(invalid("the host is malformed")),
            None => text.split_once(':').unwrap_or((text, "")),
        };
        self.host = Some(decoded("host", host)?).filter(|host| !host.is_empty());
        self.port = Some(decoded("port", port)?).filter(|port| !port.is_empty());
        // Before any option, whose name is shown: it may be a password with a `?` in it.
        self.port.as_deref().map(read_port).transpose()?;
        Ok(())
    }

    fn read_option(&mut self, option: &str) -> Result<(), InvalidDatabaseUrl> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let name = decoded("name of an option", name)?;
        // Whatever else stands here may be part of a password that was not encoded.
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.[]".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(invalid("the name of an option is malformed"));
        }
        if !option.contains('=') {
            return Err(invalid(format!("option `{name}` has no value")));
        }
        let value = decoded(&format!("option `{name}`"), value)?;
        match name.as_str() {
            // Empty as in libpq: as if not there. Only an empty user is a mistake.
            "user" => self.user = Some(value),
            "password" => self.password = Some(value).filter(|word| !word.is_empty()),
            "host" => self.host = Some(value).filter(|host| !host.is_empty()),
            "port" => self.port = Some(value).filter(|port| !port.is_empty()),
            "dbname" => self.database = Some(value).filter(|name| !name.is_empty()),

            // With the spellings that sqlx takes and writes.
            "sslmode" | "ssl-mode" => self.sslmode = Some(value),
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" => self.sslrootcert = Some(value),
            "sslcert" | "ssl-cert" => self.sslcert = Some(value),
            "sslkey" | "ssl-key" => self.sslkey = Some(value),
            // JDBC's word, which libpq takes too.
            "ssl" => match value.as_str() {
                "true" => self.sslmode = Some("require".to_owned()),
                _ => return Err(must_be(&name, &value, "true")),
            },
            // Only one kind of TLS start is known to both drivers.
            "sslnegotiation" if value != "postgres" => {
                return Err(must_be(&name, &value, "postgres"));
            }
            "gssencmode" if value != "disable" && value != "prefer" => {
                return Err(must_be(&name, &value, "disable or prefer"));
            }
            "channel_binding" => match value.as_str() {
                "disable" | "prefer" => self.channel_binding_required = false,
                "require" => self.channel_binding_required = true,
                _ => return Err(must_be(&name, &value, "one of disable, prefer, require")),
            },

            "options" => self.parameters.extend(session_settings(&value)?),
            "target_session_attrs" => {
                self.target_session_attrs = match value.as_str() {
                    "any" => TargetSessionAttrs::Any,
                    "read-write" => TargetSessionAttrs::ReadWrite,
                    _ => return Err(must_be(&name, &value, "any or read-write")),
                }
            }
            "statement-cache-capacity" => {
                self.statement_cache_capacity = Some(number(&name, &value)?);
            }
            "connect_timeout" => {
                self.connect_timeout = seconds(&name, &value, DEFAULT_CONNECT_TIMEOUT)?;
            }
            "tcp_user_timeout" => {
                self.tcp_user_timeout = match number(&name, &value)? {
                    0 => DEFAULT_TCP_USER_TIMEOUT,
                    milliseconds => Duration::from_millis(milliseconds),
                }
            }
            "keepalives" => {
                self.keepalives = match value.as_str() {
                    "0" => false,
                    "1" => true,
                    _ => return Err(must_be(&name, &value, "0 or 1")),
                }
            }
            "keepalives_idle" => {
                self.keepalive.idle = seconds(&name, &value, self.keepalive.idle)?;
            }
            "keepalives_interval" => {
                self.keepalive.interval = seconds(&name, &value, self.keepalive.interval)?;
            }
            // libpq's word and tokio-postgres's.
            "keepalives_count" | "keepalives_retries" => {
                self.keepalive.retries = number(&name, &value)?;
            }

            // Without effect here: the name is ours, the encoding always UTF-8,
            // and there is one host.
            "application_name"
            | "fallback_application_name"
            | "client_encoding"
            | "load_balance_hosts"
            | "sslnegotiation"
            | "gssencmode" => {}

            other => match other
                .strip_prefix("options[")
                .and_then(|n| n.strip_suffix(']'))
            {
                Some(parameter) => self.parameters.push((parameter.to_owned(), value)),
                None => return Err(invalid(format!("unknown option `{other}`"))),
            },
        }
        Ok(())
    }

    pub(super) fn tls(&self, host: &Host) -> Result<TlsSettings, InvalidDatabaseUrl> {
        let filled = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let sslrootcert = filled(&self.sslrootcert);
        let system = sslrootcert.as_deref() == Some("system");
        let default = if system { "verify-full" } else { "prefer" };
        let sslmode = filled(&self.sslmode).unwrap_or_else(|| default.to_owned());
        let mode = match sslmode.as_str() {
            "disable" | "allow" => TlsMode::Off,
            "prefer" => TlsMode::Preferred,
            "require" if sslrootcert.is_some() && !system => TlsMode::Chain,
            "require" => TlsMode::Unchecked,
            "verify-ca" => TlsMode::Chain,
            "verify-full" => TlsMode::ChainAndHost,
            _ => return Err(must_be("sslmode", &sslmode, SSL_MODES)),
        };
        // Anyone can have a certificate of a public CA, so its chain alone says nothing.
        if system && mode != TlsMode::ChainAndHost {
            return Err(invalid(format!(
                "sslrootcert=system needs sslmode=verify-full, not `{sslmode}`"
            )));
        }
        let mode = match (self.channel_binding_required, host, mode) {
            (_, Host::Socket(_), _) => TlsMode::Off,
            (true, _, TlsMode::Off) => {
                return Err(invalid(format!(
                    "channel_binding=require needs TLS, which sslmode={sslmode} turns off"
                )));
            }
            (true, ..) => TlsMode::ChainAndHost,
            (false, ..) => mode,
        };
        let client_cert = match (filled(&self.sslcert), filled(&self.sslkey)) {
            (Some(cert), Some(key)) => Some(ClientCert {
                cert: cert.into(),
                key: key.into(),
            }),
            (None, None) => None,
            _ => return Err(invalid("sslcert and sslkey must be given together")),
        };
        let root_cert = sslrootcert.filter(|_| !system).map(PathBuf::from);
        Ok(TlsSettings {
            mode,
            root_cert,
            client_cert,
        })
    }
}

/// The settings in a command line for the server: `-c name=value`, `-cname=value`
/// or `--name=value`, spaces in values escaped by a backslash.
fn session_settings(options: &str) -> Result<Vec<(String, String)>, InvalidDatabaseUrl> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.extend(characters.next()),
            space if space.is_ascii_whitespace() => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);

    let mut settings = Vec::new();
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let (setting, long) = match (word.strip_prefix("-c"), word.strip_prefix("--")) {
            (Some(""), _) => (words.next(), false),
            (Some(setting), _) => (Some(setting.to_owned()), false),
            (_, long) => (long.map(str::to_owned), true),
        };
        let setting = setting
            .as_deref()
            .and_then(|setting| setting.split_once('='));
        let Some((name, value)) = setting.filter(|(name, _)| !name.is_empty()) else {
            return Err(invalid(
                "option `options` takes settings, each written `-c name=value`",
            ));
        };
        let name = if long {
            name.replace('-', "_")
        } else {
            name.to_owned()
        };
        settings.push((name, value.to_owned()));
    }
    Ok(settings)
}

// The text is not shown: where the `@` was forgotten, it is the password.
pub(super) fn read_port(text: &str) -> Result<u16, InvalidDatabaseUrl> {
    if text.contains(',') {
        return Err(several_hosts());
    }
    let port = text.parse().ok().filter(|&port| port != 0);
    port.ok_or_else(|| invalid("the port must be a number from 1 to 65535"))
}

fn number<N: FromStr>(option: &str, value: &str) -> Result<N, InvalidDatabaseUrl> {
    value
        .parse()
        .map_err(|_| must_be(option, value, "a whole number"))
}

fn seconds(option: &str, value: &str, zero: Duration) -> Result<Duration, InvalidDatabaseUrl> {
    match number(option, value)? {
        0 => Ok(zero),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

/// Decodes `%2F` and the like. `+` is itself, as in libpq.
fn decoded(part: &str, text: &str) -> Result<String, InvalidDatabaseUrl> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or_default(),
                _ => {
                    return Err(invalid(format!(
                        "`%` in the {part} must be followed by two hexadecimal digits; write %25 for `%`"
                    )));
                }
            }
        } else {
            byte
        };
        if byte == 0 {
            return Err(invalid(format!("a zero byte in the {part}")));
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).map_err(|_| invalid(format!("the {part} is not UTF-8")))
}

pub(super) fn invalid(message: impl Into<String>) -> InvalidDatabaseUrl {
    InvalidDatabaseUrl(message.into())
}

fn must_be(option: &str, value: &str, allowed: &str) -> InvalidDatabaseUrl {
    invalid(format!(
        "option `{option}` is `{value}`; it must be {allowed}"
    ))
}

pub(super) fn several_hosts() -> InvalidDatabaseUrl {
    invalid("several hosts are named; only one is supported")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_session_are_read_as_the_server_reads_them() {
        for (options, expected) in [
            ("", vec![]),
            ("-c a=b", vec![("a", "b")]),
            (
                "  -ca=b --work-mem=1MB  ",
                vec![("a", "b"), ("work_mem", "1MB")],
            ),
            (r"-c a=b\ c\\d=e", vec![("a", r"b c\d=e")]),
        ] {
            let settings = session_settings(options).expect(options);
            let settings: Vec<_> = settings
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect();
            assert_eq!(settings, expected, "{options}");
        }
        for options in ["-c", "-c a", "-c =b", "a=b", "-d 5", "-c+a=b c"] {
            let error = session_settings(options).expect_err(options).to_string();
            assert_eq!(
                error,
                "option `options` takes settings, each written `-c name=value`"
            );
        }
    }
}
