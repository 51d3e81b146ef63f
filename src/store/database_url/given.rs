//! The options of a URL that tokio-postgres does not read.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::{InvalidDatabaseUrl, PORT, invalid, local_host, parsed};
use crate::store::tls::TlsOptions;

const DEFAULT_PORT: u16 = 5432;

/// What tokio-postgres does not know, or reads otherwise than libpq.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) hosts: Option<String>,
    pub(super) ports: Option<String>,
    pub(super) tls: TlsOptions,
    pub(super) writes: bool,
    pub(super) tcp_user_timeout: Option<Duration>,
    pub(super) keepalives_count: Option<u32>,
}

impl Given {
    /// Whether the option is one of these.
    pub(super) fn take(&mut self, option: &str) -> Result<bool, InvalidDatabaseUrl> {
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| invalid("an option has no value"))?;
        // Whatever else stands here may be part of a password that was not encoded.
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(invalid("the name of an option is malformed"));
        }
        let value = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| invalid(format!("option `{name}` is not UTF-8")))?
            .into_owned();
        let must_be = |allowed: &str| {
            invalid(format!(
                "option `{name}` is `{value}`; it must be {allowed}"
            ))
        };
        match name {
            "host" => self.hosts = Some(value),
            "port" => self.ports = Some(value),
            "sslmode" => self.tls.mode = Some(value),
            "sslrootcert" => self.tls.root_cert = Some(value),
            "sslcert" => self.tls.cert = Some(value),
            "sslkey" => self.tls.key = Some(value),
            // JDBC's word, which libpq takes too.
            "ssl" if value == "true" => self.tls.mode = Some("require".to_owned()),
            "channel_binding" => match value.as_str() {
                "disable" | "prefer" => self.tls.binds_channel = false,
                "require" => self.tls.binds_channel = true,
                _ => return Err(must_be("disable, prefer or require")),
            },
            "target_session_attrs" => match value.as_str() {
                "any" | "primary" => self.writes = false,
                "read-write" => self.writes = true,
                _ => {
                    return Err(must_be(
                        "any, primary or read-write, since a standby is never used",
                    ));
                }
            },
            "tcp_user_timeout" => {
                let milliseconds = value.parse().map_err(|_| must_be("a whole number"))?;
                self.tcp_user_timeout =
                    Some(Duration::from_millis(milliseconds)).filter(|limit| !limit.is_zero());
            }
            "keepalives_count" => {
                self.keepalives_count = Some(value.parse().map_err(|_| must_be("a whole number"))?);
            }
            "gssencmode" if value == "require" => return Err(must_be("disable or prefer")),
            "hostaddr" => return Err(invalid("option `hostaddr` is not supported; use `host`")),
            // Without effect here: the name is ours, and the encoding always UTF-8.
            "application_name" | "fallback_application_name" | "client_encoding" | "gssencmode" => {
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The hosts: those of options before those of the address, as in libpq.
    pub(super) fn hosts(
        &self,
        authority: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<(Host, u16)>, InvalidDatabaseUrl> {
        let mut config = match (&self.hosts, authority) {
            (Some(_), _) => Config::new(),
            (None, authority) => parsed(authority)?,
        };
        let hosts = self.hosts.clone().or_else(|| environment("PGHOST"));
        let hosts = hosts.filter(|_| config.get_hosts().is_empty());
        for host in hosts.iter().flat_map(|hosts| hosts.split(',')) {
            config.host(host);
        }
        let no_port = config.get_ports().is_empty();
        let ports = self
            .ports
            .clone()
            .or_else(|| environment("PGPORT").filter(|_| no_port));
        let ports: Vec<u16> = match &ports {
            None => config.get_ports().to_vec(),
            Some(ports) => ports
                .split(',')
                .map(|port| {
                    if port.is_empty() {
                        Ok(DEFAULT_PORT)
                    } else {
                        port.parse()
                    }
                })
                .collect::<Result<_, _>>()
                .map_err(|_| invalid(PORT))?,
        };
        if ports.contains(&0) {
            return Err(invalid(PORT));
        }
        let first = ports.first().copied().unwrap_or(DEFAULT_PORT);
        if config.get_hosts().is_empty() {
            config.host(local_host(first));
        }
        let hosts = config.get_hosts();
        if ports.len() > 1 && ports.len() != hosts.len() {
            return Err(invalid("there must be one port, or as many as hosts"));
        }
        let located = hosts.iter().enumerate().map(|(i, host)| {
            let port = ports.get(i).copied().unwrap_or(first);
            match host {
                Host::Tcp(name) if name.is_empty() => Ok((Host::Tcp(local_host(port)), port)),
                Host::Tcp(name)
                    if name.contains(|c: char| !c.is_alphanumeric() && !"-._:".contains(c)) =>
                {
                    Err(invalid("a host is malformed"))
                }
                host => Ok((host.clone(), port)),
            }
        });
        located.collect()
    }
}
