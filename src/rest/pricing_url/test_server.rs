//! A server for the tests: how it answers is in the path.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::store::tls::crypto_provider;

/// How much its largest answer has that is not too large.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// Answers by path until the test ends; gives the port on 127.0.0.1.
pub(super) async fn server() -> u16 {
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
pub(super) async fn tls_server() -> (u16, CertificateDer<'static>) {
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
    let redirect =
        |to: String| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
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
