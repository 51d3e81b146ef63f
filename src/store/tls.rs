//! TLS to Postgres as `sslmode` says, for both drivers.
//!
//! Both open the same database, so both must encrypt, check or refuse a URL in the same
//! way. sqlx sets the standard, because its TLS cannot be replaced: the certificates of
//! `sslrootcert` are trusted beside those of the system, and `prefer` does not fall back
//! once the server has agreed to TLS. The cryptography is that of the crate ring, named
//! here, so that no provider has to be installed for the whole process.
//!
//! - `sslmode=require` with `sslrootcert` checks the chain, as in libpq;
//!   `sslrootcert=system` means the system's certificates and `verify-full`.
//! - Neither driver can bind channels. So `channel_binding=require` raises `sslmode` to
//!   `verify-full`, which keeps the same attacker out.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, bail};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::config::{ChannelBinding, Host, SslMode};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::database_url::options::{Options, must_be};
use super::database_url::{InvalidDatabaseUrl, invalid};

/// What TLS needs to know. Files are PEM and are read anew for each connection,
/// so that a renewed certificate needs no restart.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Never `Allow`, which sqlx takes for `Disable`.
    pub(super) mode: PgSslMode,
    /// Certificates to trust beside those of the system.
    pub(super) root_cert: Option<PathBuf>,
    /// Our own certificate with its chain, and its unencrypted key, for servers that
    /// ask for one.
    pub(super) client_cert: Option<(PathBuf, PathBuf)>,
}

impl TlsSettings {
    pub(super) fn read(
        options: &Options<'_>,
        binding: ChannelBinding,
    ) -> Result<Self, InvalidDatabaseUrl> {
        let root_cert = options.or_variable("sslrootcert", "PGSSLROOTCERT");
        let system = root_cert.as_deref() == Some("system");
        let default = if system { "verify-full" } else { "prefer" };
        let word = options.or_variable("sslmode", "PGSSLMODE");
        let word = word.as_deref().unwrap_or(default);
        let mode = match word {
            "disable" | "allow" => PgSslMode::Disable,
            "prefer" => PgSslMode::Prefer,
            "require" if root_cert.is_some() && !system => PgSslMode::VerifyCa,
            "require" => PgSslMode::Require,
            "verify-ca" => PgSslMode::VerifyCa,
            "verify-full" => PgSslMode::VerifyFull,
            _ => {
                let allowed = "one of disable, allow, prefer, require, verify-ca, verify-full";
                return Err(must_be("sslmode", word, allowed));
            }
        };
        // Anyone can have a certificate of a public CA, so its chain alone says nothing.
        if system && !matches!(mode, PgSslMode::VerifyFull) {
            return Err(invalid(format!(
                "sslrootcert=system needs sslmode=verify-full, not `{word}`"
            )));
        }
        let binds = binding == ChannelBinding::Require;
        if binds && matches!(mode, PgSslMode::Disable) {
            return Err(invalid(format!(
                "channel_binding=require needs TLS, which sslmode={word} turns off"
            )));
        }
        let cert = options.or_variable("sslcert", "PGSSLCERT");
        let key = options.or_variable("sslkey", "PGSSLKEY");
        if cert.is_some() != key.is_some() {
            return Err(invalid("sslcert and sslkey must be given together"));
        }
        Ok(Self {
            mode: if binds { PgSslMode::VerifyFull } else { mode },
            root_cert: root_cert.filter(|_| !system).map(PathBuf::from),
            client_cert: cert.map(PathBuf::from).zip(key.map(PathBuf::from)),
        })
    }

    /// The same for one host: a unix socket has no TLS.
    pub(super) fn on(&self, host: &Host) -> Self {
        match host {
            Host::Tcp(_) => self.clone(),
            Host::Unix(_) => Self {
                mode: PgSslMode::Disable,
                ..self.clone()
            },
        }
    }

    pub(super) fn set(&self, options: PgConnectOptions) -> PgConnectOptions {
        let options = options.ssl_mode(self.mode);
        let options = match &self.root_cert {
            Some(path) => options.ssl_root_cert(path),
            // sqlx has taken PGSSLROOTCERT, which `sslrootcert=system` must outdo.
            None => options.ssl_root_cert_from_pem(Vec::new()),
        };
        match &self.client_cert {
            Some((cert, key)) => options.ssl_client_cert(cert).ssl_client_key(key),
            None => options,
        }
    }

    pub(super) fn tokio_postgres_mode(&self) -> SslMode {
        match self.mode {
            PgSslMode::Disable | PgSslMode::Allow => SslMode::Disable,
            PgSslMode::Prefer => SslMode::Prefer,
            PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull => SslMode::Require,
        }
    }

    /// Reads the files and makes what [`tokio_postgres::Config::connect`] asks for.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or holds no certificate or key, named with its
    /// option; a chain to be checked where no certificate is trusted.
    pub(super) async fn connector(&self) -> anyhow::Result<TlsConnector> {
        let provider = crypto_provider();
        let chain = match self.mode {
            PgSslMode::VerifyCa | PgSslMode::VerifyFull => Some(self.chain(&provider).await?),
            _ => None,
        };
        let verifier = Verifier {
            algorithms: provider.signature_verification_algorithms,
            chain,
            checks_host: matches!(self.mode, PgSslMode::VerifyFull),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &self.client_cert {
            // Not read where it cannot be used: the files may well be missing.
            Some((cert, key)) if !matches!(self.mode, PgSslMode::Disable) => {
                let chain = certificates("sslcert", cert).await?;
                let key = PrivateKeyDer::from_pem_slice(&read("sslkey", key).await?)
                    .with_context(|| format!("no private key in sslkey `{}`", key.display()))?;
                config
                    .with_client_auth_cert(chain, key)
                    .context("sslcert and sslkey")?
            }
            _ => config.with_no_client_auth(),
        };
        Ok(TlsConnector(Arc::new(config), String::new()))
    }

    async fn chain(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> anyhow::Result<Arc<WebPkiServerVerifier>> {
        let mut roots = tokio::task::spawn_blocking(system_roots).await?;
        if let Some(path) = &self.root_cert {
            for certificate in certificates("sslrootcert", path).await? {
                roots
                    .add(certificate)
                    .with_context(|| format!("sslrootcert `{}`", path.display()))?;
            }
        }
        if roots.is_empty() {
            bail!("this machine has no CA certificates; name some with `sslrootcert`");
        }
        Ok(
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()?,
        )
    }
}

/// The cryptography that all of the program's own TLS uses.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The CA certificates of this machine; none where it has none. Those that
/// cannot be read are left out. Reads files: not for an async task.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

async fn read(option: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    tokio::fs::read(path)
        .await
        .with_context(|| format!("read {option} `{}`", path.display()))
}

async fn certificates(option: &str, path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = read(option, path).await?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("{option} `{}` is not PEM", path.display()))?;
    if certificates.is_empty() {
        bail!("no certificate in {option} `{}`", path.display());
    }
    Ok(certificates)
}

/// Checks as much of a certificate as `sslmode` asks for. That the server has the
/// certificate's key is always checked.
#[derive(Debug)]
struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    /// None: any certificate will do.
    chain: Option<Arc<WebPkiServerVerifier>>,
    checks_host: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last: whoever gets here has a good chain.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_host => Ok(ServerCertVerified::assertion()),
            checked => checked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Makes the TLS session of a tokio-postgres connection: for any host, and once that
/// is known, for this one.
#[derive(Clone, Debug)]
pub struct TlsConnector(Arc<ClientConfig>, String);

impl MakeTlsConnect<Socket> for TlsConnector {
    type Stream = TlsStream;
    type TlsConnect = Self;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Self> {
        // Also called where there will be no TLS, for a unix socket with an empty
        // host, so a host that TLS cannot name is refused only when it connects.
        Ok(Self(Arc::clone(&self.0), host.to_owned()))
    }
}

impl TlsConnect<Socket> for TlsConnector {
    type Stream = TlsStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TlsStream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let host = ServerName::try_from(self.1)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let connector = tokio_rustls::TlsConnector::from(self.0);
            Ok(TlsStream(connector.connect(host, socket).await?))
        })
    }
}

/// An encrypted connection to Postgres. Gives no channel binding, as in sqlx.
#[derive(Debug)]
pub struct TlsStream(tokio_rustls::client::TlsStream<Socket>);

impl tokio_postgres::tls::TlsStream for TlsStream {
    fn channel_binding(&self) -> tokio_postgres::tls::ChannelBinding {
        tokio_postgres::tls::ChannelBinding::none()
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(task, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(task)
    }
}
