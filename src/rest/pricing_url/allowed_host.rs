//! The hosts that `PRICING_URL_ALLOW` names.

use std::net::Ipv6Addr;
use std::str::FromStr;

use url::Host;

/// One entry of `PRICING_URL_ALLOW`: `host`, or `host:port` for that port alone.
/// The host is a name, an IPv4 address, or an IPv6 address (in brackets before a port),
/// and matches URLs that are written with it, not names that lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    host: Host,
    port: Option<u16>,
}

/// An entry of `PRICING_URL_ALLOW` that is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither `host` nor `host:port`")]
pub struct InvalidAllowedHost(String);

impl AllowedHost {
    /// Reads `PRICING_URL_ALLOW`: entries with commas between them, blank ones skipped.
    ///
    /// # Errors
    ///
    /// The first entry that is no host.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, InvalidAllowedHost> {
        let entries = text.split(',').filter(|entry| !entry.trim().is_empty());
        entries.map(str::parse).collect()
    }

    pub(super) fn allows(&self, host: &Host<&str>, port: u16) -> bool {
        let same_host = match (&self.host, host) {
            (Host::Domain(ours), Host::Domain(theirs)) => ours == theirs.trim_end_matches('.'),
            (Host::Ipv4(ours), Host::Ipv4(theirs)) => ours == theirs,
            (Host::Ipv6(ours), Host::Ipv6(theirs)) => ours == theirs,
            _ => false,
        };
        same_host && self.port.is_none_or(|ours| ours == port)
    }
}

impl FromStr for AllowedHost {
    type Err = InvalidAllowedHost;

    fn from_str(text: &str) -> Result<Self, InvalidAllowedHost> {
        let text = text.trim();
        let invalid = || InvalidAllowedHost(text.to_owned());
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self {
                host: Host::Ipv6(address),
                port: None,
            });
        }
        // The last colon, unless it is inside the brackets of an IPv6 address.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().ok().filter(|&port| port != 0);
                (host, Some(port.ok_or_else(invalid)?))
            }
            _ => (text, None),
        };
        // As the URLs' hosts are read: lower case, `0x7f.1` as 127.0.0.1.
        let host = match Host::parse(host).map_err(|_| invalid())? {
            Host::Domain(name) if name.contains('*') => return Err(invalid()),
            Host::Domain(name) => Host::Domain(name.trim_end_matches('.').to_owned()),
            address => address,
        };
        Ok(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_hosts_are_names_or_addresses_with_or_without_a_port() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            (" Example.COM.:8080 ", "example.com", Some(8080)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("0x7f.1", "127.0.0.1", None),
            ("::1", "[::1]", None),
            ("[::1]", "[::1]", None),
            ("[::1]:81", "[::1]", Some(81)),
        ] {
            let allowed: AllowedHost = text.parse().expect(text);
            assert_eq!(
                (allowed.host.to_string().as_str(), allowed.port),
                (host, port),
                "{text}"
            );
        }
        for text in [
            "",
            ":80",
            "host:",
            "host:0",
            "host:65536",
            "http://host",
            "a b",
            "host/path",
            "[::1",
            "*",
        ] {
            let error = text.parse::<AllowedHost>().expect_err(text).to_string();
            assert_eq!(error, format!("`{text}` is neither `host` nor `host:port`"));
        }
    }
}
