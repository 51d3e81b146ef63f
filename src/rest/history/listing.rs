//! What of the journal is listed: a page from a position on, or back from it.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use crate::journal::batch::time_text;
use crate::journal::catch_up::PAGE_ROWS;
use crate::journal::{Position, PositionRefused, Recorded, Since};
use crate::organization::Organization;
use crate::rest::request::{Order, QueryParams};
use crate::rest::transactions::read_rows;
use crate::rest::{Api, Error};
use crate::store;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// What to list.
pub(super) struct Listing<'q> {
    organization: &'q Organization,
    since: Since,
    limit: usize,
    order: Order,
    service: Option<&'q str>,
}

/// What was found.
pub(super) struct Listed {
    pub(super) rows: Vec<Recorded>,
    /// When transactions committed, where Postgres knows it.
    commit_times: HashMap<u64, DateTime<Utc>>,
    /// The newest position that the rows show.
    pub(super) newest: Position,
    /// Where the next page begins.
    pub(super) next: Position,
}

impl Listed {
    /// When the transaction of a row committed.
    pub(super) fn committed_at(&self, row: &Recorded) -> Option<String> {
        self.commit_times.get(&row.xid).copied().map(time_text)
    }
}

impl<'q> Listing<'q> {
    pub(super) fn parse(
        api: &Api,
        organization: &'q Organization,
        query: &'q QueryParams,
        usual_order: Order,
    ) -> Result<Self, Error> {
        let limit = match query.get("limit").map(str::parse) {
            None => DEFAULT_LIMIT,
            Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => limit,
            Some(_) => {
                return Err(Error::Invalid(format!(
                    "the parameter `limit` must be a whole number from 1 to {MAX_LIMIT}"
                )));
            }
        };
        let order = query.choice("order", [("asc", Order::Asc), ("desc", Order::Desc)])?;
        let service = query.storable("service")?;
        Ok(Self {
            organization,
            since: Since::parse(query.get("since"), &api.catch_up.key())?,
            limit,
            order: order.unwrap_or(usual_order),
            service,
        })
    }

    /// Reads the rows of a page that `keep` keeps.
    pub(super) async fn read(
        &self,
        api: &Api,
        keep: impl Fn(&Recorded) -> bool,
    ) -> Result<Listed, Error> {
        let mut listed = match self.order {
            Order::Asc => self.read_on(api, keep).await?,
            Order::Desc => self.read_back(api, keep).await?,
        };
        let xids: BTreeSet<u64> = listed.rows.iter().map(|row| row.xid).collect();
        if !xids.is_empty() {
            let xids = Vec::from_iter(xids);
            listed.commit_times = read_rows(&api.pool, async |mut tx| {
                Ok(store::journal::commit_times(&mut tx, &xids).await?)
            })
            .await?;
        }
        Ok(listed)
    }

    async fn read_on(&self, api: &Api, keep: impl Fn(&Recorded) -> bool) -> Result<Listed, Error> {
        let mut position = match &self.since {
            Since::Unsaid => api.catch_up.beginning().await.map_err(Error::Journal)?,
            Since::Now => api.catch_up.end().await.map_err(Error::Journal)?,
            Since::Position(position) => {
                api.catch_up.check(position).await?;
                position.clone()
            }
        };
        let service = self.service.map(str::to_lowercase);
        let mut rows: Vec<Recorded> = Vec::new();
        let mut reached_now = self.since == Since::Now;
        let mut page_rows = self.limit;
        while !reached_now && rows.len() < self.limit {
            let (page, found) = api
                .catch_up
                .page_and_rows(&position, page_rows)
                .await
                .map_err(Error::Journal)?
                .map_err(PositionRefused::from)?;
            // The first page was as small as the limit; now few rows may be kept of each.
            page_rows = PAGE_ROWS;
            let mut found = found.into_iter();
            let wanted = found.by_ref().filter(|row| {
                self.organization.has(&row.organization)
                    && keep(row)
                    && service
                        .as_ref()
                        .is_none_or(|name| row.service_name.to_lowercase() == *name)
            });
            rows.extend(wanted.take(self.limit - rows.len()));
            match (found.next(), rows.last()) {
                // The list is full before the end of the page.
                (Some(_), Some(last)) => position = last.position.clone(),
                _ => {
                    position = page.end;
                    reached_now = page.reached_now;
                }
            }
        }
        Ok(Listed {
            rows,
            commit_times: HashMap::new(),
            newest: position.clone(),
            next: position,
        })
    }

    async fn read_back(
        &self,
        api: &Api,
        keep: impl Fn(&Recorded) -> bool,
    ) -> Result<Listed, Error> {
        let newest = match &self.since {
            Since::Unsaid | Since::Now => api.catch_up.end().await.map_err(Error::Journal)?,
            Since::Position(position) => match api.catch_up.check(position).await {
                // Rows that were removed are not listed.
                Ok(()) | Err(PositionRefused::Expired) => position.clone(),
                Err(refused) => return Err(refused.into()),
            },
        };
        let mut position = newest.clone();
        let mut rows = Vec::new();
        let mut page_rows = self.limit.min(PAGE_ROWS);
        loop {
            let found = api
                .catch_up
                .rows_before(&position, self.organization, self.service, page_rows)
                .await
                .map_err(Error::Journal)?;
            let is_all = found.len() < page_rows;
            page_rows = PAGE_ROWS;
            for row in found {
                position = newest.up_to(row.row.id - 1);
                if keep(&row) {
                    rows.push(row);
                }
                if rows.len() == self.limit {
                    break;
                }
            }
            if is_all || rows.len() == self.limit {
                break;
            }
        }
        Ok(Listed {
            rows,
            commit_times: HashMap::new(),
            newest,
            next: position,
        })
    }
}
