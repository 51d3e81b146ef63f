//! Clients that take less than they are sent, beside healthy ones.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::sleep;

use crate::slow_clients::join_by_hand;
use crate::support::postgres::insert_pricings;
use crate::support::{Client, Database, Program, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_but_moves_slows_nobody() {
    const ROWS: usize = 150_000;
    // Of about 110 bytes for each event. What the program and the system keep for a
    // client is a fifth of it: a healthy one that had to wait for the slow one would
    // not be through before that one has read four fifths.
    const MOST_BYTES: usize = ROWS * 110 * 3 / 5;
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut slow = join_by_hand(app.address).await;
    let mut healthy = app.join().await;
    database.add_service("Zoom").await;
    let insert = insert_pricings("Zoom", 0..ROWS);
    let writing = database.sql_meanwhile(&insert).await;
    let read_slowly = async {
        let mut buffer = [0; 400];
        let mut bytes = 0;
        loop {
            match slow.read(&mut buffer).await {
                Ok(read @ 1..) => bytes += read,
                // A busy machine may not get to its heartbeat in time.
                _ => return bytes,
            }
            if bytes > MOST_BYTES {
                return bytes;
            }
            sleep(Duration::from_millis(3)).await;
        }
    };
    let hear_all = healthy.hears_created("Zoom", 0..ROWS);
    tokio::pin!(hear_all);
    tokio::select! {
        () = &mut hear_all => {}
        bytes = read_slowly => {
            assert!(bytes < MOST_BYTES, "the slow one has read {bytes} bytes already");
            hear_all.await;
        }
    }
    writing.await.expect("all is written");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_do_not_fill_the_memory() {
    const ROWS: usize = 150_000;
    const STUCK: usize = 20;
    let database = Database::create().await;
    let mut program = Program::start(&[("DATABASE_URL", &database.url)]);
    let address = program.address();
    let mut stuck = Vec::new();
    for _ in 0..STUCK {
        stuck.push(join_by_hand(address).await);
    }
    let mut healthy = Client::join(address, "40/pricings,").await;
    let before = program.peak_resident_mib();
    database.add_service("Zoom").await;
    let insert = insert_pricings("Zoom", 0..ROWS);
    let writing = database.sql_meanwhile(&insert).await;
    healthy.hears_created("Zoom", 0..ROWS).await;
    writing.await.expect("all is written");
    let added = program.peak_resident_mib() - before;
    println!("{added} MiB more than before the burst");
    assert!(added < 100, "{added} MiB more than before the burst");
    drop(stuck);
    program.signal("-TERM");
    assert_eq!(program.wait(), Some(0));
}
