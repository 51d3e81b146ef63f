//! One connection that reads the journal from a position.
//!
//! The statements are in `store/journal/sql`, each with what it reads and why.

use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, RowStream, Statement};
use tokio_util::task::AbortOnDropHandle;

use super::batch::Batch;
use super::bounds::{Gap, JournalBounds};
use super::key::JournalKey;
use super::page::{Page, Rows};
use super::position::{Position, Within};
use super::recorded::{Recorded, RowChange};
use super::watermark::Watermark;
use super::witness::{Witness, WrittenRow};
use crate::organization::Organization;
use crate::store::journal::{BEFORE, KEY, LATER, NEWEST, NOW, REST, UNSEEN};

/// Compiling and planning anew cost more than they save in statements that find a
/// few rows by an index, whatever the parameters; and the branches come in order only
/// if one process reads them. A plan that was made while the journal was small would
/// go on reading all of it, a million rows that are not committed too.
const SESSION: &str = "set jit = off; set plan_cache_mode = force_generic_plan; \
    set max_parallel_workers_per_gather = 0; \
    set enable_seqscan = off; set enable_bitmapscan = off";

/// Reads the journal over one connection.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    _driver: AbortOnDropHandle<()>,
    now: Statement,
    newest: Statement,
    later: Statement,
    unseen: Statement,
    rest: Statement,
}

impl Reader {
    /// Prepares the statements on a connection, which `driver` keeps going.
    ///
    /// # Errors
    ///
    /// The connection is lost, or the journal is not there.
    pub async fn prepare(client: Client, driver: AbortOnDropHandle<()>) -> anyhow::Result<Self> {
        let context = "prepare to read the journal";
        client.batch_execute(SESSION).await.context(context)?;
        let now = client.prepare(NOW).await.context(context)?;
        let newest = client.prepare(NEWEST).await.context(context)?;
        let later = client.prepare(LATER).await.context(context)?;
        let unseen = client.prepare(UNSEEN).await.context(context)?;
        let rest = client.prepare(REST).await.context(context)?;
        Ok(Self {
            client,
            _driver: driver,
            now,
            newest,
            later,
            unseen,
            rest,
        })
    }

    /// The connection itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether its connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The key of the journal: another key is another journal.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn key(&self) -> anyhow::Result<JournalKey> {
        let row = self.client.query_one(KEY, &[]).await;
        let row = row.context("read the key of the journal")?;
        Ok(JournalKey::new(row.try_get("key")?))
    }

    /// Where the journal is now, and how far back it goes; and which rows with these
    /// ids it has.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn bounds(&self, ids: &[i64]) -> anyhow::Result<JournalBounds> {
        let row = self.client.query_one(&self.now, &[&ids]).await;
        header(&row.context("read the place of the journal")?)
    }

    /// The page behind a position: at most `limit` rows, in order, as part of the
    /// batch numbered `number`.
    ///
    /// From the middle of a batch it reads on in that batch, and no further.
    ///
    /// # Errors
    ///
    /// The connection is lost, or a row cannot be read.
    pub async fn page(
        &self,
        from: &Position,
        limit: usize,
        number: u64,
    ) -> anyhow::Result<Result<Page, Gap>> {
        let page = self.read(from, limit, number, None).await?;
        Ok(page.map(|(_, page)| page))
    }

    /// As [`Reader::page`], and with it each of its rows, those too that mean no event.
    ///
    /// # Errors
    ///
    /// As [`Reader::page`].
    pub async fn page_and_rows(
        &self,
        from: &Position,
        limit: usize,
    ) -> anyhow::Result<Result<(Page, Vec<Recorded>), Gap>> {
        let mut rows = Vec::new();
        let page = self.read(from, limit, 0, Some(&mut rows)).await?;
        Ok(page.map(|(batch, page)| {
            let rows = rows.into_iter().map(|row| {
                let position = Position::within(&batch.base, &batch.next, row.witness.id);
                Recorded::new(row, position)
            });
            (page, rows.collect())
        }))
    }

    async fn read(
        &self,
        from: &Position,
        limit: usize,
        number: u64,
        mut recorded: Option<&mut Vec<RowChange>>,
    ) -> anyhow::Result<Result<(Arc<Batch>, Page), Gap>> {
        let context = "read the journal";
        let mut stream = self.rows(from, limit).await.context(context)?;
        let first = stream.next().await.context(context)?.context(context)?;
        let bounds = header(&first)?;
        if let Err(gap) = bounds.leads_on_from(from) {
            return Ok(Err(gap));
        }
        let mut rows = Rows::default();
        while rows.count < limit
            && let Some(row) = stream.next().await
        {
            let row = RowChange::read(&row.context("read a row of the journal")?)?;
            if let Some(recorded) = &mut recorded {
                recorded.push(row.clone());
            }
            rows.take(row)?;
        }
        let is_end = rows.count < limit;
        let next = match &from.within {
            Some(Within { next, .. }) => Arc::clone(next),
            None => Arc::new(self.end(&from.base, bounds.now, &mut rows, is_end).await?),
        };
        let batch = Arc::new(Batch {
            base: Arc::clone(&from.base),
            next,
            number,
        });
        let reached_now = is_end && from.within.is_none();
        let page = rows.into_page(&batch, is_end, reached_now, bounds.kept_from)?;
        Ok(Ok((batch, page)))
    }

    /// Where a batch ends whose first rows, or if `is_end` all, were read: at what was
    /// visible.
    async fn end(
        &self,
        base: &Watermark,
        now: Watermark,
        rows: &mut Rows,
        is_end: bool,
    ) -> anyhow::Result<Watermark> {
        let mut max_id = base.max_id.max(rows.last_id);
        let mut witnesses = std::mem::take(&mut rows.witnesses);
        if !is_end {
            for WrittenRow { xid, witness } in self.newest(rows.last_id, &now).await? {
                max_id = max_id.max(witness.id);
                witnesses.take(xid, witness);
            }
        }
        Ok(Watermark {
            max_id,
            witnesses: witnesses.kept(&base.witnesses),
            ..now
        })
    }

    /// The newest rows of an organisation that had been seen at a position, at most
    /// `limit`, the newest first; of the service of a name, in any case, if one is given.
    ///
    /// # Errors
    ///
    /// The connection is lost, or a row cannot be read.
    pub async fn rows_before(
        &self,
        position: &Position,
        organization: &Organization,
        service_name: Option<&str>,
        limit: usize,
    ) -> anyhow::Result<Vec<Recorded>> {
        let context = "read the journal backwards";
        let organization = organization.as_str();
        let (base_id, base) = (position.base.max_id, &position.base.snapshot);
        let (next_id, next) = match &position.within {
            Some(Within { next, id }) => (*id, &next.snapshot),
            None => (base_id, base),
        };
        // Postgres knows no snapshot that sees nothing.
        let seen = [(base_id, base), (next_id, next)].map(|(id, snapshot)| {
            let snapshot = (snapshot.xmax() > 0).then(|| snapshot.to_string());
            (id, snapshot)
        });
        let [(base_id, base), (next_id, next)] = seen;
        let parameters: [&(dyn ToSql + Sync); 6] = [
            &base_id,
            &base,
            &next_id,
            &next,
            &service_name,
            &organization,
        ];
        // The limit is in the text, so that the plan is made for it.
        let statement = format!("{BEFORE} limit {limit}");
        let rows = self.client.query(&statement, &parameters).await;
        let rows = rows.context(context)?;
        rows.iter()
            .map(|row| {
                let row = RowChange::read(row)?;
                let position = position.up_to(row.witness.id);
                Ok(Recorded::new(row, position))
            })
            .collect()
    }

    /// The newest rows that were visible at a place, of those from an id on, and the
    /// transactions that wrote them.
    async fn newest(&self, from_id: i64, now: &Watermark) -> anyhow::Result<Vec<WrittenRow>> {
        let context = "read the newest rows of the journal";
        let snapshot = now.snapshot.to_string();
        let parameters: [&(dyn ToSql + Sync); 2] = [&from_id, &snapshot];
        let rows = self.client.query(&self.newest, &parameters).await;
        let rows = rows.context(context)?;
        rows.iter()
            .rev()
            .map(|row| {
                let (id, changed_at_us) = (row.try_get("id")?, row.try_get("changed_at_us")?);
                let xid = row.try_get::<_, &str>("xid")?.parse()?;
                let witness = Witness::new(id, xid, changed_at_us);
                Ok(WrittenRow { xid, witness })
            })
            .collect()
    }

    /// At most `limit` late rows, and as many others behind them.
    async fn rows(&self, from: &Position, limit: usize) -> anyhow::Result<Pin<Box<RowStream>>> {
        let Watermark {
            snapshot,
            next_xid,
            max_id,
            ..
        } = &*from.base;
        let limit = i64::try_from(limit)?;
        let witnesses: Vec<i64> = from
            .witnessed()
            .witnesses
            .iter()
            .map(|row| row.id)
            .collect();
        if from.within.is_none() && from.base.is_settled() {
            let parameters: [&(dyn ToSql + Sync); 3] = [max_id, &limit, &witnesses];
            return Ok(Box::pin(
                self.client.query_raw(&self.later, parameters).await?,
            ));
        }
        let in_progress: Vec<String> = snapshot
            .in_progress()
            .iter()
            .map(ToString::to_string)
            .collect();
        let (xmax, next_xid) = (snapshot.xmax().to_string(), next_xid.to_string());
        let mut parameters: Vec<&(dyn ToSql + Sync)> =
            vec![max_id, &in_progress, &limit, &xmax, &next_xid, &witnesses];
        let rest = from.within.as_ref();
        let rest = rest.map(|Within { next, id }| (id, next.snapshot.to_string(), &next.max_id));
        let statement = match &rest {
            None => &self.unseen,
            Some((id, snapshot, max_id)) => {
                parameters.extend([*id as &(dyn ToSql + Sync), snapshot, *max_id]);
                &self.rest
            }
        };
        Ok(Box::pin(
            self.client.query_raw(statement, parameters).await?,
        ))
    }
}

fn header(row: &Row) -> anyhow::Result<JournalBounds> {
    JournalBounds::parse(row.try_get("header")?)
}
