//! Writers that go on through whatever happens to Postgres, and know what they
//! committed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::LIMIT;
use super::hearing::Hearing;
use super::postgres::Session;

/// Writers under way, each with a service of its own.
pub struct Load {
    url: String,
    stop: CancellationToken,
    writers: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Starts so many writers.
    pub async fn start(url: &str, writers: usize) -> Self {
        let stop = CancellationToken::new();
        let session = Session::connect(url).await;
        for writer in 0..writers {
            session
                .sql(&format!(
                    "insert into services (name) values ('w{writer}') on conflict do nothing"
                ))
                .await;
        }
        Self {
            url: url.to_owned(),
            writers: (0..writers)
                .map(|writer| tokio::spawn(write(url.to_owned(), writer, stop.clone())))
                .collect(),
            stop,
        }
    }

    /// Stops the writers, and says one thing last; checks that each client heard
    /// exactly what they committed, in their order.
    pub async fn end(self, clients: &[&Hearing]) {
        self.end_with(clients, &[]).await;
    }

    /// As [`Load::end`], where others committed events of other services.
    pub async fn end_with(self, clients: &[&Hearing], others: &[&str]) {
        self.stop.cancel();
        let mut committed = BTreeMap::<String, Vec<String>>::new();
        for event in others {
            let service = event.split(' ').nth(1).expect("a service");
            let events = committed.entry(service.to_owned()).or_default();
            events.push((*event).to_owned());
        }
        for (number, writer) in self.writers.into_iter().enumerate() {
            let events = writer.await.expect("a writer that ends well");
            assert!(!events.is_empty(), "w{number} could write nothing");
            committed.insert(format!("w{number}"), events);
        }
        let session = Session::connect(&self.url).await;
        session.add_service("end").await;
        session.add_pricing("end", "1").await;
        for client in clients {
            let heard = client.hears_all_up_to("CREATED end 1").await;
            check(client.name(), &heard, &committed);
        }
    }
}

fn check(client: &str, heard: &[String], committed: &BTreeMap<String, Vec<String>>) {
    for (service, events) in committed {
        let of_it = |event: &&String| event.split(' ').nth(1) == Some(service);
        let heard: Vec<&String> = heard.iter().filter(of_it).collect();
        let same = heard.iter().zip(events).take_while(|(a, b)| **a == *b);
        let same = same.count();
        assert!(
            same == heard.len() && same == events.len(),
            "{client} heard {} of {} events of {service}; after {same} it heard {:?}, where {:?} was committed",
            heard.len(),
            events.len(),
            heard.get(same..heard.len().min(same + 3)),
            events.get(same..events.len().min(same + 3)),
        );
    }
    let all: usize = committed.values().map(Vec::len).sum();
    assert_eq!(heard.len(), all + 1, "{client} heard of other services");
}

/// One transaction after another: a new version, and often the end of the one
/// before it. Every fifth is rolled back.
async fn write(url: String, writer: usize, stop: CancellationToken) -> Vec<String> {
    let service = format!("w{writer}");
    let mut events = Vec::new();
    let mut session = None;
    let mut before = None;
    let mut version = 0;
    while !stop.is_cancelled() {
        version += 1;
        let mut sql = format!(
            "begin; insert into pricings (service_name, version) values ('{service}', '{version}');"
        );
        let ends: Option<u64> = before.filter(|_| version % 3 == 0);
        if let Some(before) = ends {
            sql += &format!(
                "savepoint s; delete from pricings where service_name = '{service}'; rollback to s; update pricings set availability = 'archived' where service_name = '{service}' and version = '{before}';"
            );
        }
        sql += if version % 5 == 0 {
            "rollback"
        } else {
            "commit"
        };
        let committed = match run(&mut session, &url, &sql).await {
            Ok(_) => version % 5 != 0,
            // Its answer was lost, or it was never sent.
            Err(_) => exists(&url, &service, version).await,
        };
        if committed {
            events.push(format!("CREATED {service} {version}"));
            events.extend(ends.map(|before| format!("ARCHIVED {service} {before}")));
            before = Some(version);
        }
        // Others share the machine.
        sleep(Duration::from_millis(2)).await;
    }
    events
}

async fn run(session: &mut Option<Session>, url: &str, sql: &str) -> Result<Vec<String>, String> {
    if session.is_none() {
        *session = Some(Session::try_connect(url).await?);
    }
    let Some(open) = session.as_ref() else {
        return Ok(Vec::new());
    };
    match open.try_sql(sql).await {
        Ok(rows) => Ok(rows),
        Err(error) => {
            *session = None;
            Err(format!("{error:?}"))
        }
    }
}

/// Asks until there is an answer.
async fn exists(url: &str, service: &str, version: u64) -> bool {
    let question = format!(
        "select count(*) from pricings where service_name = '{service}' and version = '{version}'"
    );
    let begun = Instant::now();
    loop {
        match run(&mut None, url, &question).await {
            Ok(rows) => return rows == ["1"],
            Err(error) => assert!(begun.elapsed() < LIMIT, "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}
