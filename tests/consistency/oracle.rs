//! What was committed, and whether a client heard exactly that.

use std::collections::{BTreeMap, HashMap};

use super::ACME;
use crate::support::postgres::Session;

/// The test's own tables.
pub struct Oracle;

/// A transaction in the test's own time: before its BEGIN was sent, and after the
/// answer to its COMMIT, if there was one.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub token: u64,
    pub began: u64,
    pub ended: Option<u64>,
}

/// An event that was committed.
#[derive(Clone, Debug)]
pub struct Expected {
    token: u64,
    statement: u32,
    event: String,
}

/// All that was committed.
pub struct Committed {
    /// By service, in the order of the turns.
    by_service: BTreeMap<String, Vec<Expected>>,
    spans: HashMap<u64, Span>,
}

/// How many events of each service had been committed at some time.
pub struct Counts(HashMap<String, usize>);

impl Oracle {
    pub async fn create(url: &str, services: usize) -> Self {
        let session = Session::connect(url).await;
        session
            .sql(&format!(
                "create schema test;
                create table test.turns (organization text, service text, turn bigint not null default 0, primary key (service, organization));
                create table test.expected (token bigint, statement int, organization text, service text, turn bigint, event text);
                insert into test.turns (organization, service)
                    select organization, 's' || n from unnest(array['', '{ACME}']) organization, generate_series(0, {services} - 1) n"
            ))
            .await;
        Self
    }

    /// One event in each organisation that belongs to no writer.
    pub async fn say(&self, url: &str, service: &str) {
        let session = Session::connect(url).await;
        for organization in ["", ACME] {
            session
                .sql(&format!(
                    "set space_events.organization = '{organization}';
                    insert into services (name) values ('{service}') on conflict do nothing;
                    insert into pricings (service_name, version) values ('{service}', '1')"
                ))
                .await;
        }
    }

    /// What was committed in the default organisation.
    pub async fn committed(&self, url: &str, spans: &[Span]) -> Committed {
        self.committed_in("", url, spans).await
    }

    /// What was committed in an organisation.
    pub async fn committed_in(&self, organization: &str, url: &str, spans: &[Span]) -> Committed {
        let session = Session::connect(url).await;
        let rows = session
            .sql(&format!(
                "select concat_ws(';', token, statement, service, event)
                from test.expected
                where organization = '{organization}'
                order by service, turn, statement"
            ))
            .await;
        let mut by_service = BTreeMap::<String, Vec<Expected>>::new();
        for row in rows {
            let [token, statement, service, event] = row.splitn(4, ';').collect::<Vec<_>>()[..]
            else {
                panic!("{row}");
            };
            let expected = Expected {
                token: token.parse().expect("a number"),
                statement: statement.parse().expect("a number"),
                event: event.to_owned(),
            };
            by_service
                .entry(service.to_owned())
                .or_default()
                .push(expected);
        }
        Committed {
            by_service,
            spans: spans.iter().map(|span| (span.token, *span)).collect(),
        }
    }
}

impl Oracle {
    /// How many services moved from one organisation to the other, heard by both.
    pub async fn moves(&self, url: &str) -> String {
        let session = Session::connect(url).await;
        let count = "select count(distinct (one.token, one.statement))
            from test.expected one
            join test.expected other using (token, statement, service)
            where one.organization <> other.organization
            and one.event like 'DISABLED %' and other.event like 'ACTIVED %'";
        session.sql(count).await.remove(0)
    }
}

impl Counts {
    pub async fn read(url: &str) -> Self {
        let session = Session::connect(url).await;
        let rows = session
            .sql("select service || ' ' || count(*) from test.expected where organization = '' group by service")
            .await;
        let counts = rows.iter().map(|row| {
            let (service, count) = row.split_once(' ').expect("two words");
            (service.to_owned(), count.parse().expect("a number"))
        });
        Self(counts.collect())
    }

    fn of(&self, service: &str) -> usize {
        self.0.get(service).copied().unwrap_or_default()
    }
}

impl Committed {
    pub fn events(&self) -> usize {
        self.by_service.values().map(Vec::len).sum()
    }

    pub fn transactions(&self) -> usize {
        let tokens = self
            .by_service
            .values()
            .flatten()
            .map(|expected| expected.token);
        tokens.collect::<std::collections::HashSet<_>>().len()
    }

    /// The events that a client hears which hears a part.
    pub fn part(&self, is_of_it: impl Fn(&str) -> bool) -> Self {
        let mut by_service = self.by_service.clone();
        for expected in by_service.values_mut() {
            expected.retain(|expected| is_of_it(&expected.event));
        }
        Self {
            by_service,
            spans: self.spans.clone(),
        }
    }

    /// What is wrong with what a client heard.
    pub fn check(&self, heard: &[String]) -> Result<(), String> {
        for (service, waiting) in self.check_beginning(heard)? {
            if let Some(first) = waiting.last() {
                return Err(format!(
                    "{} events of {service} were not heard, the first is {first:?}",
                    waiting.len()
                ));
            }
        }
        Ok(())
    }

    /// What is wrong with what a client heard that began some time between two others,
    /// and heard all from there on.
    pub fn check_end(
        &self,
        heard: &[String],
        earliest: &Counts,
        latest: &Counts,
    ) -> Result<(), String> {
        let mut end = Self {
            by_service: self.by_service.clone(),
            spans: self.spans.clone(),
        };
        for (service, expected) in &mut end.by_service {
            let of_it = |event: &&String| service_of(event) == service;
            let count = heard.iter().filter(of_it).count();
            let begin = expected
                .len()
                .checked_sub(count)
                .ok_or_else(|| format!("{count} of {} events of {service}", expected.len()))?;
            let (earliest, latest) = (earliest.of(service), latest.of(service));
            if !(earliest..=latest).contains(&begin) {
                return Err(format!(
                    "{count} events of {service}, so it began behind {begin}; that was to be \
                     behind {earliest} to {latest}"
                ));
            }
            expected.drain(..begin);
        }
        end.check(heard)
    }

    /// What is wrong with what a client heard that did not hear all; else what was still
    /// to come, the next last.
    pub fn check_beginning(
        &self,
        heard: &[String],
    ) -> Result<HashMap<&str, Vec<&Expected>>, String> {
        let mut causes = Vec::new();
        let mut next: HashMap<&str, Vec<&Expected>> = HashMap::new();
        for (service, expected) in &self.by_service {
            // The next to come is the last.
            next.insert(service, expected.iter().rev().collect());
        }
        for (nth, event) in heard.iter().enumerate() {
            let service = service_of(event);
            // Said by nobody among the writers; a TRUNCATE may take them too.
            if ["begin", "lost", "end"].contains(&service) {
                continue;
            }
            let wrong = |why: &str, waited: &[&Expected]| {
                let waited: Vec<_> = waited.iter().rev().take(3).collect();
                let around = &heard[nth.saturating_sub(3)..heard.len().min(nth + 4)];
                format!("event {nth}, {event}: {why}; expected {waited:?}, heard {around:?}")
            };
            let waiting = next
                .get_mut(service)
                .ok_or_else(|| wrong("of no service", &[]))?;
            let Some(first) = waiting.last() else {
                return Err(wrong("more than was committed", &[]));
            };
            // Within a statement in any order.
            let (token, statement) = (first.token, first.statement);
            let found = (0..waiting.len())
                .rev()
                .take_while(|at| waiting[*at].token == token && waiting[*at].statement == statement)
                .find(|at| waiting[*at].event == *event);
            match found {
                Some(at) => causes.push((waiting.remove(at), nth)),
                None => return Err(wrong("another was to come", waiting)),
            }
        }
        self.check_order(&causes, heard)?;
        Ok(next)
    }

    /// Across services: within a transaction as made; what began after another
    /// had committed comes after it.
    fn check_order(&self, causes: &[(&Expected, usize)], heard: &[String]) -> Result<(), String> {
        let mut statements: HashMap<u64, u32> = HashMap::new();
        for (cause, nth) in causes {
            let last = statements.entry(cause.token).or_default();
            if cause.statement < *last {
                return Err(format!(
                    "event {nth}, {}: its transaction made it earlier",
                    heard[*nth]
                ));
            }
            *last = cause.statement;
        }
        let mut first_end = (u64::MAX, 0);
        for (cause, nth) in causes.iter().rev() {
            let Some(span) = self.spans.get(&cause.token) else {
                continue;
            };
            if span.began > first_end.0 {
                return Err(format!(
                    "event {nth}, {}: began after event {}, {} had committed, and came before it",
                    heard[*nth], first_end.1, heard[first_end.1]
                ));
            }
            if let Some(ended) = span.ended.filter(|ended| *ended < first_end.0) {
                first_end = (ended, *nth);
            }
        }
        Ok(())
    }
}

fn service_of(event: &str) -> &str {
    event.split(' ').nth(1).unwrap_or_default()
}
