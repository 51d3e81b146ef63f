//! Fetches a pricing that a client gave by URL, without becoming its way into our network.
//!
//! Whoever may upload may make this program send a GET. So only public addresses
//! are asked, unless `PRICING_URL_ALLOW` names the host; names are resolved here,
//! every address is checked, and the connection goes to those very addresses, so
//! that a name cannot change its mind between the check and the connection.
//! Redirects are followed by hand, since each is a new URL to check.
//!
//! So many fetches are under way at a time: the system's resolver takes a thread for
//! each name, and keeps it for long after nobody waits for the answer any more.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::LOCATION;
use reqwest::{Client, StatusCode, redirect};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use url::{Host, Url};

use crate::store::tls::{crypto_provider, system_roots};

const MAX_REDIRECTS: usize = 5;
/// How many fetches are under way at a time.
const MAX_FETCHES: usize = 32;
/// The network that embeds IPv4 addresses for machines with IPv6 alone.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Fetches pricings. Made once; a fetch borrows it.
#[derive(Debug)]
pub struct PricingFetcher {
    allowed: Vec<AllowedHost>,
    max_bytes: usize,
    limit: Duration,
    tls: ClientConfig,
    trusts_any: bool,
    places: Arc<Semaphore>,
    look_up: LookUp,
}

/// Finds the addresses of a name, on a thread that may wait.
type LookUp = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// A fetch's place, until the last of its lookups has ended too.
type Place = Arc<OwnedSemaphorePermit>;

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

/// Why there is no pricing at a URL: a sentence for the client who gave it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// As many fetches are under way as there may be.
    #[error("many pricings are being fetched by URL; try again in a moment")]
    Busy,
    /// Not a URL at all.
    #[error("the pricing URL is not a URL: {0}")]
    Malformed(#[from] url::ParseError),
    /// A scheme that is not fetched, perhaps that of a redirect.
    #[error("a pricing URL starts with http:// or https://, not {0}:")]
    Scheme(String),
    /// `user:password@` in it, which would end up in logs and responses.
    #[error("a pricing URL must not contain a user or password")]
    Credentials,
    /// On a network that strangers are not led into.
    #[error("the pricing URL leads to `{0}`, which is not on the public internet")]
    NotPublic(String),
    /// No such name, or no answer about it.
    #[error("the pricing URL's host `{0}` cannot be found")]
    HostNotFound(String),
    /// The connection, its TLS, or the HTTP on it failed.
    #[error("the pricing URL's host `{host}` cannot be read from: {reason}")]
    Unreachable {
        /// The host that was asked.
        host: String,
        /// The innermost cause.
        reason: String,
    },
    /// https, on a machine that trusts nobody.
    #[error("this server has no CA certificates, so it cannot fetch https:// URLs")]
    NoCaCertificates,
    /// A redirect whose `Location` cannot be read.
    #[error("the pricing URL redirects to something that is not a URL")]
    BadRedirect,
    /// More redirects than are followed.
    #[error("the pricing URL redirects more than {MAX_REDIRECTS} times")]
    TooManyRedirects,
    /// Any status that is neither success nor a redirect to somewhere.
    #[error("the pricing URL answered {}", .0.as_u16())]
    Status(StatusCode),
    /// More bytes than a pricing may have.
    #[error("the pricing URL's answer is larger than {0} bytes")]
    TooLarge(usize),
    /// All of it, from the name to the last byte, took too long.
    #[error("the pricing URL took longer than {} seconds", .0.as_secs_f32())]
    TooSlow(Duration),
}

impl PricingFetcher {
    /// Fetches at most `max_bytes`, within `limit` for everything together, after it
    /// has waited no longer than that for its turn.
    /// Reads the machine's CA certificates; where it has none, only https fails.
    pub fn new(allowed: Vec<AllowedHost>, max_bytes: usize, limit: Duration) -> Self {
        Self::with_roots(allowed, max_bytes, limit, system_roots())
    }

    fn with_roots(
        allowed: Vec<AllowedHost>,
        max_bytes: usize,
        limit: Duration,
        roots: RootCertStore,
    ) -> Self {
        let trusts_any = !roots.is_empty();
        let tls = ClientConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            allowed,
            max_bytes,
            limit,
            tls,
            trusts_any,
            places: Arc::new(Semaphore::new(MAX_FETCHES)),
            look_up: |name, port| Ok((name, port).to_socket_addrs()?.collect()),
        }
    }

    /// The bytes behind `url`, whatever they are. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`FetchError`], each the fault of the URL or of the server behind it, but for
    /// [`FetchError::Busy`].
    pub async fn fetch(&self, url: &str) -> Result<Bytes, FetchError> {
        let url = Url::parse(url.trim())?;
        let place = timeout(self.limit, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(FetchError::Busy);
        };
        let place = Arc::new(place);
        match timeout(self.limit, self.follow(url, &place)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(FetchError::TooSlow(self.limit)),
        }
    }

    async fn follow(&self, mut url: Url, place: &Place) -> Result<Bytes, FetchError> {
        for _ in 0..=MAX_REDIRECTS {
            let host = url.host_str().unwrap_or_default().to_owned();
            let addresses = self.checked_addresses(&url, place).await?;
            let unreachable = |error| FetchError::Unreachable {
                host: host.clone(),
                reason: innermost(&error),
            };
            let client = self.client(addresses).map_err(unreachable)?;
            let mut response = client.get(url.clone()).send().await.map_err(unreachable)?;

            let status = response.status();
            // Without a Location, the status itself is the answer.
            let location = response
                .headers()
                .get(LOCATION)
                .filter(|_| is_redirect(status));
            if let Some(location) = location {
                // UTF-8, where a server does not encode it as it should.
                let location = String::from_utf8_lossy(location.as_bytes());
                url = url.join(&location).map_err(|_| FetchError::BadRedirect)?;
                continue;
            }
            if !status.is_success() {
                return Err(FetchError::Status(status));
            }
            let announced = response.content_length().unwrap_or(0);
            if announced > self.max_bytes as u64 {
                return Err(FetchError::TooLarge(self.max_bytes));
            }
            // What was announced may be a lie, or nothing: the bytes count.
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
                if body.len() + chunk.len() > self.max_bytes {
                    return Err(FetchError::TooLarge(self.max_bytes));
                }
                body.extend_from_slice(&chunk);
            }
            return Ok(body.freeze());
        }
        Err(FetchError::TooManyRedirects)
    }

    /// Where to connect for `url`: all addresses of its host, each of them allowed.
    async fn checked_addresses(
        &self,
        url: &Url,
        place: &Place,
    ) -> Result<Vec<SocketAddr>, FetchError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(FetchError::Credentials);
        }
        if url.scheme() == "https" && !self.trusts_any {
            return Err(FetchError::NoCaCertificates);
        }
        let host = url.host().ok_or(url::ParseError::EmptyHost)?;
        let port = url.port_or_known_default().unwrap_or(80);
        let addresses: Vec<SocketAddr> = match host {
            Host::Ipv4(address) => vec![(address, port).into()],
            Host::Ipv6(address) => vec![(address, port).into()],
            Host::Domain(name) => self.looked_up(name, port, place).await?,
        };
        if addresses.is_empty() {
            return Err(FetchError::HostNotFound(host.to_string()));
        }
        let allowed = self.allowed.iter().any(|entry| entry.allows(&host, port));
        // One private address among public ones is a trick or a mistake: neither is followed.
        if !allowed && !addresses.iter().all(|address| is_public(address.ip())) {
            return Err(FetchError::NotPublic(host.to_string()));
        }
        Ok(addresses)
    }

    /// The lookup goes on when nobody waits for it any more, and keeps the place.
    async fn looked_up(
        &self,
        name: &str,
        port: u16,
        place: &Place,
    ) -> Result<Vec<SocketAddr>, FetchError> {
        let (look_up, host, place) = (self.look_up, name.to_owned(), Arc::clone(place));
        let looking = tokio::task::spawn_blocking(move || {
            let found = look_up(&host, port);
            drop(place);
            found
        });
        match looking.await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(_)) | Err(_) => Err(FetchError::HostNotFound(name.to_owned())),
        }
    }

    /// A client for one request: it knows these addresses and no other way to resolve a name.
    fn client(&self, addresses: Vec<SocketAddr>) -> reqwest::Result<Client> {
        Client::builder()
            .user_agent(concat!("space-events/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(Resolved(addresses.into()))
            .redirect(redirect::Policy::none())
            // A proxy would resolve the name again.
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(0)
            .build()
    }
}

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

    fn allows(&self, host: &Host<&str>, port: u16) -> bool {
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

/// Answers every name with the addresses that were checked.
#[derive(Debug)]
struct Resolved(Arc<[SocketAddr]>);

impl Resolve for Resolved {
    fn resolve(&self, _name: Name) -> Resolving {
        let addresses = self.0.to_vec();
        Box::pin(async { Ok(Box::new(addresses.into_iter()) as Addrs) })
    }
}

// 300 offers a choice and 304 refers to a cache: neither says where the pricing is.
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Whether an address is one that anybody on the internet could ask.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By the registry of special addresses (RFC 6890 and what came later).
fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This host, private, loopback.
        [0 | 10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] => false,
        // Carriers' NAT.
        [100, 64..=127, ..] => false,
        // Link-local, where clouds keep their metadata.
        [169, 254, ..] => false,
        // Protocols; relays of 6to4.
        [192, 0, 0, _] | [192, 88, 99, _] => false,
        // Documentation, benchmarks.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18 | 19, ..] => false,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => false,
        _ => true,
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded_v4 =
        |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    match segments {
        [a, b, c, d, e, f, high, low] if [a, b, c, d, e, f] == NAT64 => {
            is_public_v4(embedded_v4(high, low))
        }
        // 6to4
        [0x2002, high, low, ..] => is_public_v4(embedded_v4(high, low)),
        // Protocols, among them Teredo, which embeds IPv4 addresses too; documentation, twice.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // All that is given out is in here; outside are loopback, `::a.b.c.d`,
        // unique-local, link-local, site-local and multicast.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

/// The last cause in the chain; those before it repeat the URL or say "error sending request".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{
        AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
    };
    use tokio::net::TcpListener;
    use tokio::sync::Mutex;
    use tokio::time::sleep;
    use tokio_rustls::TlsAcceptor;

    const MAX_BYTES: usize = 64 * 1024;
    /// Long enough for any answer on this machine, unless a test wants it shorter.
    const LIMIT: Duration = Duration::from_secs(20);

    /// Answers by path until the test ends; gives the port on 127.0.0.1.
    async fn server() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, port));
            }
        });
        port
    }

    /// The same over TLS; gives also the certificate, which is for `localhost`.
    async fn tls_server() -> (u16, CertificateDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params
            .self_signed(&key)
            .expect("a certificate")
            .der()
            .clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("a server");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let accepting = acceptor.accept(stream);
                tokio::spawn(async move { answer(accepting.await?, port).await });
            }
        });
        (port, certificate)
    }

    async fn answer<S>(stream: S, port: u16) -> std::io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let redirect = |to: String| {
            format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        };
        let text = match path.as_str() {
            "/pricing" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
            // What the server was sent, but for the first line.
            "/echo" => {
                let sent = head.split_once("\r\n").map_or("", |(_, headers)| headers);
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{sent}",
                    sent.len()
                )
            }
            "/relative" => redirect("/pricing".into()),
            "/to-loopback" => redirect(format!("http://127.0.0.1:{port}/pricing")),
            "/to-metadata" => redirect("http://169.254.169.254/latest".into()),
            "/to-file" => redirect("file:///etc/passwd".into()),
            "/to-credentials" => redirect("http://a:b@example.com/".into()),
            "/to-nonsense" => redirect("http://[".into()),
            "/for-ever" => redirect("/for-ever".into()),
            "/without-location" => "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n".into(),
            "/announced" => format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                MAX_BYTES + 1
            ),
            "/full" => format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {MAX_BYTES}\r\n\r\n{}",
                "x".repeat(MAX_BYTES)
            ),
            "/endless" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b'x'; 1024]).await?;
                }
            }
            "/silent-body" => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx")
                    .await?;
                stream.read_u8().await?;
                return Ok(());
            }
            "/silent" => {
                stream.read_u8().await?;
                return Ok(());
            }
            "/cut" => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_owned(),
            path => match path
                .strip_prefix("/redirects/")
                .and_then(|left| left.parse().ok())
            {
                Some(0_u32) => redirect("/pricing".into()),
                Some(left) => redirect(format!("/redirects/{}", left - 1)),
                None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
            },
        };
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    }

    fn fetcher(allowed: &[&str], limit: Duration) -> PricingFetcher {
        let allowed = AllowedHost::parse_list(&allowed.join(", ,")).expect("hosts");
        PricingFetcher::with_roots(allowed, MAX_BYTES, limit, RootCertStore::empty())
    }

    async fn refusal(fetcher: &PricingFetcher, url: &str) -> String {
        match fetcher.fetch(url).await {
            Ok(body) => panic!("{url} gave {} bytes", body.len()),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn an_allowed_host_is_fetched_through_its_redirects() {
        let port = server().await;
        let fetcher = fetcher(&["127.0.0.1"], LIMIT);
        for path in ["pricing", "relative", "to-loopback", "redirects/4"] {
            let body = fetcher
                .fetch(&format!("http://127.0.0.1:{port}/{path}"))
                .await;
            assert_eq!(body.expect(path), "hello", "{path}");
        }
        let full = fetcher
            .fetch(&format!("http://127.0.0.1:{port}/full"))
            .await;
        assert_eq!(full.expect("as large as allowed").len(), MAX_BYTES);
    }

    #[tokio::test]
    async fn an_entry_with_a_port_allows_that_port_alone() {
        let (port, other) = (server().await, server().await);
        let fetcher = fetcher(&[&format!("LocalHost:{port}")], LIMIT);
        let fetched = fetcher
            .fetch(&format!("http://LOCALHOST:{port}/pricing"))
            .await;
        assert_eq!(fetched.expect("allowed"), "hello");
        assert_eq!(
            refusal(&fetcher, &format!("http://localhost:{other}/pricing")).await,
            "the pricing URL leads to `localhost`, which is not on the public internet"
        );
        // Each redirect is checked anew: the host that sent us does not vouch for the next.
        assert_eq!(
            refusal(&fetcher, &format!("http://localhost:{port}/to-loopback")).await,
            "the pricing URL leads to `127.0.0.1`, which is not on the public internet"
        );
    }

    #[tokio::test]
    async fn what_a_server_may_answer_is_refused_in_one_sentence() {
        let port = server().await;
        let fetcher = fetcher(&["127.0.0.1"], LIMIT);
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let closed_port = closed.local_addr().expect("address").port();
        drop(closed);
        for (path, expected) in [
            ("missing", "the pricing URL answered 404"),
            ("without-location", "the pricing URL answered 302"),
            ("redirects/5", "the pricing URL redirects more than 5 times"),
            ("for-ever", "the pricing URL redirects more than 5 times"),
            (
                "to-nonsense",
                "the pricing URL redirects to something that is not a URL",
            ),
            (
                "to-file",
                "a pricing URL starts with http:// or https://, not file:",
            ),
            (
                "to-credentials",
                "a pricing URL must not contain a user or password",
            ),
            (
                "to-metadata",
                "the pricing URL leads to `169.254.169.254`, which is not on the public internet",
            ),
            (
                "announced",
                "the pricing URL's answer is larger than 65536 bytes",
            ),
            (
                "endless",
                "the pricing URL's answer is larger than 65536 bytes",
            ),
            (
                "cut",
                "the pricing URL's host `127.0.0.1` cannot be read from: \
                 end of file before message length reached",
            ),
        ] {
            let url = format!("http://127.0.0.1:{port}/{path}");
            assert_eq!(refusal(&fetcher, &url).await, expected, "{path}");
        }
        let refused = refusal(&fetcher, &format!("http://127.0.0.1:{closed_port}/")).await;
        assert!(
            refused.contains("cannot be read from: Connection refused"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn https_asks_for_a_certificate_that_is_trusted_and_names_the_host() {
        let (port, certificate) = tls_server().await;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a root");
        let with_roots = |roots| {
            let allowed = ["localhost", "127.0.0.1"].map(|host| host.parse().expect("a host"));
            PricingFetcher::with_roots(allowed.into(), MAX_BYTES, LIMIT, roots)
        };
        let trusting = with_roots(roots);
        let body = trusting
            .fetch(&format!("https://localhost:{port}/relative"))
            .await;
        assert_eq!(body.expect("trusted"), "hello");

        let refused = refusal(&trusting, &format!("https://127.0.0.1:{port}/pricing")).await;
        assert!(
            refused.contains("certificate not valid for name"),
            "{refused}"
        );

        let (_, another) = tls_server().await;
        let mut roots = RootCertStore::empty();
        roots.add(another).expect("a root");
        let refused = refusal(&with_roots(roots), &format!("https://localhost:{port}/")).await;
        assert!(refused.contains("invalid peer certificate"), "{refused}");
    }

    #[tokio::test]
    async fn a_server_that_stalls_is_given_up() {
        let port = server().await;
        let fetcher = fetcher(&["127.0.0.1"], Duration::from_millis(200));
        for path in ["silent", "silent-body"] {
            assert_eq!(
                refusal(&fetcher, &format!("http://127.0.0.1:{port}/{path}")).await,
                "the pricing URL took longer than 0.2 seconds",
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn a_fetch_waits_for_its_turn_and_not_for_ever() {
        let port = server().await;
        let fetcher = PricingFetcher {
            places: Arc::new(Semaphore::new(1)),
            ..fetcher(&["127.0.0.1"], Duration::from_millis(500))
        };
        let silent = format!("http://127.0.0.1:{port}/silent");
        let good = format!("http://127.0.0.1:{port}/pricing");
        // Its turn comes when the first is given up, before it gives up itself.
        let (first, second) = tokio::join!(fetcher.fetch(&silent), async {
            sleep(Duration::from_millis(100)).await;
            fetcher.fetch(&good).await
        });
        assert!(matches!(first, Err(FetchError::TooSlow(_))), "{first:?}");
        assert_eq!(second.expect("a pricing"), "hello");

        let _place = fetcher.places.acquire().await.expect("a place");
        let refused = fetcher.fetch(&good).await;
        assert!(matches!(refused, Err(FetchError::Busy)), "{refused:?}");
    }

    #[tokio::test]
    async fn a_lookup_that_goes_on_keeps_its_place() {
        static HELD: Mutex<()> = Mutex::const_new(());
        let fetcher = PricingFetcher {
            places: Arc::new(Semaphore::new(1)),
            look_up: |_, _| {
                drop(HELD.blocking_lock());
                Err(io::ErrorKind::TimedOut.into())
            },
            ..fetcher(&[], Duration::from_millis(100))
        };
        let held = HELD.lock().await;
        let slow = fetcher.fetch("http://slow.example/").await;
        assert!(matches!(slow, Err(FetchError::TooSlow(_))), "{slow:?}");
        assert_eq!(fetcher.places.available_permits(), 0);
        drop(held);
        let place = timeout(LIMIT, fetcher.places.acquire()).await;
        place.expect("it ends").expect("a place").forget();
    }

    #[tokio::test]
    async fn urls_that_are_not_asked_at_all() {
        let fetcher = fetcher(&["127.0.0.2"], LIMIT);
        let not_public = |host| {
            format!("the pricing URL leads to `{host}`, which is not on the public internet")
        };
        for (url, expected) in [
            ("http://127.0.0.1/", not_public("127.0.0.1")),
            ("http://2130706433/", not_public("127.0.0.1")),
            ("http://0x7f.1/", not_public("127.0.0.1")),
            ("http://017700000001/", not_public("127.0.0.1")),
            ("http://127.1./", not_public("127.0.0.1")),
            ("http://\u{ff11}27.0.0.1/", not_public("127.0.0.1")),
            ("http://%31%32%37.0.0.1/", not_public("127.0.0.1")),
            ("http://0/", not_public("0.0.0.0")),
            ("http://[::]/", not_public("[::]")),
            ("http://[::1]/", not_public("[::1]")),
            ("http://[::ffff:127.0.0.1]/", not_public("[::ffff:7f00:1]")),
            ("http://[::127.0.0.1]/", not_public("[::7f00:1]")),
            (
                "http://[64:ff9b::10.0.0.1]/",
                not_public("[64:ff9b::a00:1]"),
            ),
            ("http://[fe80::1]/", not_public("[fe80::1]")),
            ("http://localhost/", not_public("localhost")),
            (
                "ftp://example.com/",
                "a pricing URL starts with http:// or https://, not ftp:".to_owned(),
            ),
            (
                "file:///etc/passwd",
                "a pricing URL starts with http:// or https://, not file:".to_owned(),
            ),
            (
                "http://user@example.com/",
                "a pricing URL must not contain a user or password".to_owned(),
            ),
            (
                "http://:secret@example.com/",
                "a pricing URL must not contain a user or password".to_owned(),
            ),
            (
                "https://127.0.0.2/",
                "this server has no CA certificates, so it cannot fetch https:// URLs".to_owned(),
            ),
            (
                "pricing.yml",
                "the pricing URL is not a URL: relative URL without a base".to_owned(),
            ),
            (
                "http://",
                "the pricing URL is not a URL: empty host".to_owned(),
            ),
            (
                "http://pricings.invalid/",
                "the pricing URL's host `pricings.invalid` cannot be found".to_owned(),
            ),
        ] {
            assert_eq!(refusal(&fetcher, url).await, expected, "{url}");
        }
    }

    #[tokio::test]
    async fn the_connection_goes_to_the_addresses_that_were_checked() {
        let port = server().await;
        let client = fetcher(&[], LIMIT).client(vec![([127, 0, 0, 1], port).into()]);
        // A name that no other resolver knows.
        let url = format!("http://pricings.invalid:{port}/pricing");
        let response = client.expect("client").get(url).send().await;
        let body = response.expect("response").text().await;
        assert_eq!(body.expect("body"), "hello");
    }

    #[tokio::test]
    async fn a_request_tells_who_asks_and_nothing_else() {
        let port = server().await;
        let fetcher = fetcher(&["127.0.0.1"], LIMIT);
        let body = fetcher
            .fetch(&format!("http://127.0.0.1:{port}/echo"))
            .await;
        let body = String::from_utf8(body.expect("body").to_vec()).expect("UTF-8");
        let mut headers: Vec<_> = body.trim_end().lines().collect();
        headers.sort_unstable();
        let user_agent = concat!("user-agent: space-events/", env!("CARGO_PKG_VERSION"));
        let host = format!("host: 127.0.0.1:{port}");
        assert_eq!(headers, ["accept: */*", &host, user_agent]);
    }

    #[test]
    fn addresses_are_public_or_not() {
        for address in "1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 \
             128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 \
             192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 \
             2001:4860:4860::8888 2a00:1450::1 2001:200:: 3fff:1000:: ::ffff:1.1.1.1 \
             64:ff9b::1.1.1.1 2002:101:101::"
            .split_ascii_whitespace()
        {
            assert!(is_public(address.parse().expect(address)), "{address}");
        }
        for address in "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 \
             127.0.0.1 127.255.255.255 169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.1 \
             192.0.2.1 192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 \
             198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.0 255.255.255.255 \
             :: ::1 ::10.0.0.1 ::ffff:10.0.0.1 ::ffff:0:10.0.0.1 64:ff9b::169.254.169.254 \
             64:ff9b:1::1 100::1 2001::1 2001:2::1 2001:20::1 2001:db8::1 2002:7f00:1:: \
             2002:a00:1:: 3fff::1 4000::1 5f00::1 fc00::1 fdff::1 fe80::1 febf::1 fec0::1 \
             ff02::1"
            .split_ascii_whitespace()
        {
            assert!(!is_public(address.parse().expect(address)), "{address}");
        }
    }

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
