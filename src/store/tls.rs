//! TLS to Postgres for tokio-postgres, with the meaning that sqlx gives each `sslmode`.
//!
//! Both drivers open the same database, so a URL must not be encrypted, checked
//! or refused by one of them alone. What sqlx does is the measure, since its
//! TLS cannot be replaced: the certificates of `sslrootcert` are trusted beside
//! those of the system, and `prefer` does not fall back once the server has
//! agreed to TLS. The cryptography is ring's, named here, so that nothing needs
//! a provider that is installed for the whole process.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, bail};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};

/// Whether a connection is encrypted, and what of the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Never encrypted: `disable`, `allow`, and every unix socket.
    Off,
    /// Encrypted, unchecked, if the server offers it; else plain: `prefer`.
    Preferred,
    /// Always encrypted, the certificate unchecked: `require`.
    Unchecked,
    /// Always encrypted; the certificate's chain is checked, its host name is not: `verify-ca`.
    Chain,
    /// Always encrypted; chain and host name are checked: `verify-full`.
    ChainAndHost,
}

/// What TLS needs to know. Files are PEM and are read anew for each connection,
/// so that a renewed certificate needs no restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whether to encrypt and what to check.
    pub mode: TlsMode,
    /// Certificates to trust beside those of the system.
    pub root_cert: Option<PathBuf>,
    /// Our own certificate and its key, for servers that ask for one.
    pub client_cert: Option<ClientCert>,
}

/// A certificate with which we show who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    /// The certificate's chain, ours first.
    pub cert: PathBuf,
    /// Its private key, unencrypted.
    pub key: PathBuf,
}

impl TlsSettings {
    /// Reads the files and makes what [`tokio_postgres::Config::connect`] asks for.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or holds no certificate or key, named with its
    /// option; a chain to be checked where no certificate is trusted.
    pub async fn connector(&self) -> anyhow::Result<TlsConnector> {
        let provider = crypto_provider();
        let verifier: Arc<dyn ServerCertVerifier> = match self.mode {
            TlsMode::Off | TlsMode::Preferred | TlsMode::Unchecked => Arc::new(AnyCertificate {
                provider: provider.clone(),
            }),
            TlsMode::Chain => Arc::new(AnyHost {
                chain_and_host: self.chain_and_host(&provider).await?,
            }),
            TlsMode::ChainAndHost => self.chain_and_host(&provider).await?,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &self.client_cert {
            // Not read where it cannot be used: the files may well be missing.
            Some(client) if self.mode != TlsMode::Off => {
                let chain = certificates("sslcert", &client.cert).await?;
                let key = PrivateKeyDer::from_pem_slice(&read("sslkey", &client.key).await?)
                    .with_context(|| {
                        format!("no private key in sslkey `{}`", client.key.display())
                    })?;
                config
                    .with_client_auth_cert(chain, key)
                    .context("sslcert and sslkey")?
            }
            _ => config.with_no_client_auth(),
        };
        Ok(TlsConnector {
            config: Arc::new(config),
        })
    }

    async fn chain_and_host(
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

/// Accepts every certificate, but still asks the server to prove that it has the key.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Checks all but the host name.
#[derive(Debug)]
struct AnyHost {
    chain_and_host: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let checked = self.chain_and_host.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match checked {
            // The name is looked at last: whoever gets here has a good chain.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            checked => checked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain_and_host
            .verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain_and_host
            .verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain_and_host.supported_verify_schemes()
    }
}

/// Makes the TLS session of a tokio-postgres connection.
#[derive(Clone, Debug)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
}

impl<S> MakeTlsConnect<S> for TlsConnector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = TlsStream<S>;
    type TlsConnect = HostConnector;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<HostConnector> {
        // Also called where there will be no TLS, for a unix socket with an empty
        // host, so a host that TLS cannot name is refused only when it connects.
        Ok(HostConnector {
            config: self.config.clone(),
            host: host.to_owned(),
        })
    }
}

/// A [`TlsConnector`] for one host.
#[derive(Debug)]
pub struct HostConnector {
    config: Arc<ClientConfig>,
    host: String,
}

impl<S> TlsConnect<S> for HostConnector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = TlsStream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TlsStream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let host = ServerName::try_from(self.host)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let connector = tokio_rustls::TlsConnector::from(self.config);
            Ok(TlsStream(connector.connect(host, stream).await?))
        })
    }
}

/// An encrypted connection to Postgres. Gives no channel binding, as in sqlx.
#[derive(Debug)]
pub struct TlsStream<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for TlsStream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(task, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
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
