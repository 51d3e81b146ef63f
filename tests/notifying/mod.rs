//! Writers notify only while a reader sleeps, and no commit waits for the poll.
//!
//! Whether a transaction has notified shows when it is prepared: Postgres refuses to.

mod hammer;
mod told;

use crate::support::postgres::Session;
use crate::support::{End, Program, Server, wait_until};

/// Whether a transaction that changes `how` notifies.
async fn notifies(session: &Session, how: &str) -> bool {
    session.sql(&format!("begin; {how}")).await;
    match session.try_sql("prepare transaction 'probe'").await {
        Ok(_) => {
            session.sql("rollback prepared 'probe'").await;
            false
        }
        Err(error) => {
            let why = error.as_db_error().expect("an answer").message();
            assert!(why.contains("NOTIFY"), "{why}");
            true
        }
    }
}

/// Each way to record a change.
const CHANGES: [&str; 7] = [
    "insert into pricings (service_name, version) values ('Zoom', 'one')",
    "insert into pricings (service_name, version) values ('Zoom', 'one'), ('Zoom', 'two')",
    "update pricings set availability = 'archived'",
    "delete from pricings",
    "update services set disabled = true",
    "truncate services cascade",
    "set local session_replication_role = replica; update pricings set availability = 'archived'",
];

const SLEEPERS: &str = "select count(*) from pg_locks
    where locktype = 'advisory' and classid = 959289095 and mode = 'ShareLock' and granted";

#[tokio::test(flavor = "multi_thread")]
async fn writers_notify_only_while_a_reader_sleeps() {
    let mut server = Server::start(&["max_prepared_transactions = 2"]).await;
    let mut program = Program::start(&[("DATABASE_URL", &server.url)]);
    program.address();
    let mut session = server.connect().await;
    session.add_service("Zoom").await;
    session.add_pricing("Zoom", "1").await;
    for round in 0..3 {
        // A program, whose feed has nothing to do.
        wait_until("the feed falls asleep", async || {
            session.sql(SLEEPERS).await == ["1"]
        })
        .await;
        for change in CHANGES {
            assert!(notifies(&session, change).await, "{round}: {change}");
        }
        // However it ends.
        if round < 2 {
            program.kill();
        } else {
            program.signal("-TERM");
            program.wait();
            break;
        }
        wait_until("its session ends", async || {
            session.sql(SLEEPERS).await == ["0"]
        })
        .await;
        for change in CHANGES {
            assert!(!notifies(&session, change).await, "{round}: {change}");
        }
        server.restart(End::Immediate).await;
        session = server.connect().await;
        program = Program::start(&[("DATABASE_URL", &server.url)]);
    }
}

/// Writers that look for a sleeper in each of their transactions.
#[tokio::test(flavor = "multi_thread")]
async fn while_many_write_the_feed_is_awake_and_nobody_notifies() {
    let server = Server::start(&["max_prepared_transactions = 2"]).await;
    let mut program = Program::start(&[("DATABASE_URL", &server.url)]);
    program.address();
    let session = server.connect().await;
    session
        .sql("insert into services (name) select 'Service ' || n from generate_series(0, 8) n")
        .await;
    for round in 0..3 {
        let writers: Vec<_> = (0..8)
            .map(|number| {
                let url = server.url.clone();
                tokio::spawn(async move {
                    let session = Session::connect(&url).await;
                    for version in 0.. {
                        let insert = format!(
                            "insert into pricings (service_name, version) values ('Service {number}', '{round}.{version}')"
                        );
                        session.sql(&insert).await;
                    }
                })
            })
            .collect();
        let one =
            format!("insert into pricings (service_name, version) values ('Service 8', '{round}')");
        wait_until(
            "the feed wakes up, and a writer does not notify",
            async || session.sql(SLEEPERS).await == ["0"] && !notifies(&session, &one).await,
        )
        .await;
        for writer in writers {
            writer.abort();
        }
        wait_until("the feed falls asleep, and a writer notifies", async || {
            session.sql(SLEEPERS).await == ["1"] && notifies(&session, &one).await
        })
        .await;
    }
}
