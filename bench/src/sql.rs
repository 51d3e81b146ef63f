//! A connection for SQL.

use anyhow::{Context as _, Result};
use tokio_postgres::{Client, NoTls};

/// A connection; it ends when this is dropped.
pub(crate) struct Session {
    client: Client,
}

impl Session {
    /// Connects.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls)
            .await
            .context("connect to Postgres")?;
        // What went wrong shows at the client.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { client })
    }

    /// Runs statements.
    pub(crate) async fn run(&self, sql: &str) -> Result<()> {
        self.client
            .batch_execute(sql)
            .await
            .with_context(|| format!("run `{}`", sql.chars().take(80).collect::<String>()))
    }

    /// The first column of the first row, as text.
    pub(crate) async fn text(&self, sql: &str) -> Result<String> {
        let messages = self.client.simple_query(sql).await?;
        let row = messages.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        row.map(str::to_owned).context("a row")
    }

    /// The driver's client.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}
