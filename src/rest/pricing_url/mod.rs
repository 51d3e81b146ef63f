//! Fetches a pricing from a URL that a client gave, but not from a private network.
//!
//! Whoever may upload can make this program send a GET. So only public addresses are
//! asked, unless `PRICING_URL_ALLOW` names the host. Names are resolved here, every
//! address is checked, and the connection goes to the addresses that were checked: a
//! name cannot lead elsewhere between the check and the connection. Redirects are
//! followed here too, since each is a new URL to check.
//!
//! The number of fetches at a time is limited: the system's resolver takes a thread for
//! each name, and may keep it long after the fetch was given up.

mod allowed_host;
mod public_address;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
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

pub use allowed_host::{AllowedHost, InvalidAllowedHost};

use crate::store::tls::{crypto_provider, system_roots};
use public_address::is_public;

const MAX_REDIRECTS: usize = 5;
/// How many fetches are under way at a time.
const MAX_FETCHES: usize = 32;

/// Fetches pricings. Made once; a fetch borrows it.
#[derive(Debug)]
pub struct PricingFetcher {
    allowed: Vec<AllowedHost>,
    max_bytes: usize,
    limit: Duration,
    tls: ClientConfig,
    trusts_any: bool,
    permits: Arc<Semaphore>,
    look_up: LookUp,
}

/// Finds the addresses of a name, on a thread that may wait.
type LookUp = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// A fetch holds one until the last of its lookups has ended too.
type Permit = Arc<OwnedSemaphorePermit>;

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
    /// On a network that is not public.
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
    /// https, on a machine without CA certificates.
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
            permits: Arc::new(Semaphore::new(MAX_FETCHES)),
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
        let permit = timeout(self.limit, Arc::clone(&self.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(FetchError::Busy);
        };
        match timeout(self.limit, self.follow(url, &Arc::new(permit))).await {
            Ok(fetched) => fetched,
            Err(_) => Err(FetchError::TooSlow(self.limit)),
        }
    }

    async fn follow(&self, mut url: Url, permit: &Permit) -> Result<Bytes, FetchError> {
        for _ in 0..=MAX_REDIRECTS {
            let host = url.host_str().unwrap_or_default().to_owned();
            let addresses = self.checked_addresses(&url, permit).await?;
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
                // A server that does not encode it as it should sends UTF-8.
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
            // The length that was announced may be wrong or missing, so the bytes are counted.
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
        permit: &Permit,
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
            Host::Domain(name) => self.looked_up(name, port, permit).await?,
        };
        if addresses.is_empty() {
            return Err(FetchError::HostNotFound(host.to_string()));
        }
        let allowed = self.allowed.iter().any(|entry| entry.allows(&host, port));
        // One private address among public ones is a trick or a mistake, and is refused too.
        if !allowed && !addresses.iter().all(|address| is_public(address.ip())) {
            return Err(FetchError::NotPublic(host.to_string()));
        }
        Ok(addresses)
    }

    /// The lookup goes on when nobody waits for it any more, and keeps the permit.
    async fn looked_up(
        &self,
        name: &str,
        port: u16,
        permit: &Permit,
    ) -> Result<Vec<SocketAddr>, FetchError> {
        let (look_up, host, permit) = (self.look_up, name.to_owned(), Arc::clone(permit));
        let looking = tokio::task::spawn_blocking(move || {
            let found = look_up(&host, port);
            drop(permit);
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

/// The last cause in the chain; those before it repeat the URL or say "error sending request".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
