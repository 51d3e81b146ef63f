//! Connecting to the one of several hosts that is the primary.

use std::time::Duration;

use anyhow::Context as _;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;
use tokio_postgres::config::{ChannelBinding, Host, LoadBalanceHosts, TargetSessionAttrs};
use tokio_postgres::{Client, SimpleQueryMessage, Socket};

use super::DatabaseUrl;
use crate::store::tls::TlsStream;

/// What drives a [`Client`]: poll it as a future, or by `poll_message` for
/// notifications. One type with and without TLS.
pub type Connection = tokio_postgres::Connection<Socket, TlsStream>;

/// Why a server that answers is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It answers nothing.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// It copies a primary.
    #[error("it is a standby")]
    Standby,
    /// Its sessions do not write, where `target_session_attrs=read-write` asks for it.
    #[error("it is read-only, and target_session_attrs is read-write")]
    ReadOnly,
}

impl DatabaseUrl {
    /// Connects with tokio-postgres to the first host that is a primary. Nothing
    /// happens on the connection until the second part is polled. Cancel safe.
    ///
    /// # Errors
    ///
    /// As those of [`connect_to_primary`](Self::connect_to_primary).
    pub async fn connect(&self, application_name: &str) -> anyhow::Result<(Client, Connection)> {
        let (_, client, connection) = self.connect_to_primary(application_name).await?;
        Ok((client, connection))
    }

    /// Connects with sqlx to the first host that is a primary.
    ///
    /// # Errors
    ///
    /// As those of [`connect_to_primary`](Self::connect_to_primary).
    pub async fn connect_sqlx(&self, application_name: &str) -> anyhow::Result<PgConnection> {
        let (primary, ..) = self.connect_to_primary(application_name).await?;
        let connecting = primary.sqlx_options(application_name).connect().await;
        connecting.with_context(|| format!("connect to {primary}"))
    }

    /// As [`connect`](Self::connect); the URL that is returned names the host alone.
    ///
    /// # Errors
    ///
    /// What the last host answered, or that one is [`Unusable::Standby`], since then
    /// the primary may come: the server cannot be reached, refuses, has no TLS or an
    /// untrusted certificate where `sslmode` asks for them, or takes longer than
    /// `connect_timeout`; a certificate file that cannot be read.
    pub async fn connect_to_primary(
        &self,
        application_name: &str,
    ) -> anyhow::Result<(Self, Client, Connection)> {
        let mut hosts = self.hosts.clone();
        if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            fastrand::shuffle(&mut hosts);
        }
        // The drivers' own limit is for the TCP connection alone: a server that accepts
        // and says nothing would hold us for ever.
        let limit = self.config.get_connect_timeout();
        let limit = *limit.expect("a URL has a limit on connecting");
        let mut why: Option<anyhow::Error> = None;
        for host in hosts {
            let url = Self {
                hosts: vec![host],
                ..self.clone()
            };
            let connected = match timeout(limit, url.connect_to_host(application_name)).await {
                Ok(connected) => connected,
                Err(_) => Err(Unusable::Silent(limit).into()),
            };
            match connected.with_context(|| format!("connect to {url}")) {
                Ok((client, connection)) => return Ok((url, client, connection)),
                Err(error) => {
                    if why.as_ref().is_none_or(|why| !is_standby(why)) {
                        why = Some(error);
                    }
                }
            }
        }
        Err(why.expect("a URL has a host"))
    }

    async fn connect_to_host(
        &self,
        application_name: &str,
    ) -> anyhow::Result<(Client, Connection)> {
        let (host, port) = self.host();
        let tls = self.tls.on(host);
        let mut config = self.config.clone();
        config
            .port(*port)
            .application_name(application_name)
            .ssl_mode(tls.tokio_postgres_mode())
            // sqlx cannot bind channels.
            .channel_binding(ChannelBinding::Disable)
            // It is asked below, with more.
            .target_session_attrs(TargetSessionAttrs::Any);
        match host {
            Host::Tcp(host) => config.host(host),
            Host::Unix(directory) => config.host_path(directory),
        };
        if let Some(options) = self.sqlx_options(application_name).get_options() {
            config.options(options);
        }
        let (client, mut connection) = config.connect(tls.connector().await?).await?;
        let answer = tokio::select! {
            answer = client.simple_query(
                "select pg_is_in_recovery(), current_setting('transaction_read_only')",
            ) => answer?,
            ended = &mut connection => {
                ended?;
                anyhow::bail!("the server ended the connection");
            }
        };
        let writes = self.config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((row.get(0), row.get(1))),
            _ => None,
        });
        match row {
            Some((Some("f"), Some("off"))) => {}
            Some((Some("f"), _)) if !writes => {}
            Some((Some("f"), _)) => return Err(Unusable::ReadOnly.into()),
            _ => return Err(Unusable::Standby.into()),
        }
        Ok((client, connection))
    }
}

fn is_standby(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Unusable>() == Some(&Unusable::Standby)
}
