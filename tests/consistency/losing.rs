//! A standby that lagged takes over, under load: what it does not have was heard, and
//! exists nowhere from then on.
//!
//! Two servers tell what was committed: the one that was lost, started once more where
//! no client reaches it, and the one that took over. Up to the end of its connection a
//! client heard what the first tells, behind it what the second tells.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::fault::start;
use super::oracle::{Committed, Counts, Oracle};
use super::writer::Writers;
use super::{SERVICES, from_environment, seed};
use crate::support::client::since;
use crate::support::hearing::{BEGINS_ANEW, Habits, WENT_BACK, addresses};
use crate::support::{Client, End, Hearing, Proxy, Server};

/// How many places are tried, of those before the fork and of those beyond it.
const PLACES: usize = 5;
/// How many events come from the lost server alone, and from the new one.
const SOME: usize = 100;
/// What is heard when the standby hears no more.
const LOST: &str = "CREATED lost 1";

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_that_lost_commits_each_client_hears_exactly_what_is_left() {
    let mut seed = seed();
    let duration = Duration::from_secs(from_environment("SOAK_SECONDS").unwrap_or_default());
    let begun = Instant::now();
    loop {
        failover(seed).await;
        if begun.elapsed() >= duration {
            return;
        }
        seed += 1;
        println!("SEED={seed}");
    }
}

async fn failover(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut lost = Server::start(&["max_prepared_transactions = 20"]).await;
    let primary = Proxy::start(&lost).await;
    let instances = [start(&primary.url, "0"), start(&primary.url, "0")];
    let places = instances.each_ref().map(|(_, address)| *address);
    let oracle = Oracle::create(&primary.url, SERVICES).await;
    let live = live(places).await;
    let returning = returning(places).await;
    oracle.say(&primary.url, "begin").await;
    for client in live.iter().chain(&returning) {
        client.hears_all_up_to("CREATED begin 1").await;
    }
    let writers = Writers::start(&primary.url, seed);

    // What is kept, and then what is lost.
    let new = lost.standby().await;
    for client in live.iter().chain(&returning) {
        client.hears_more(SOME).await;
    }
    let kept: Vec<_> = returning
        .iter()
        .map(Hearing::heard_with_positions)
        .collect();
    lost.is_followed().await;
    new.cut_off().await;
    oracle.say(&primary.url, "lost").await;
    for client in live.iter().chain(&returning) {
        client.has_heard(LOST).await;
        client.hears_more(SOME).await;
    }
    sleep(Duration::from_millis(rng.u64(..1000))).await;
    lost.stop(End::Machine).await;
    new.promote().await;
    roll_back_what_is_prepared(&new).await;
    let fork = Counts::read(&new.url).await;
    primary.switch_to(&new);

    // Live clients are disconnected, and come back.
    let mut before = Vec::new();
    for client in &live {
        before.push(client.is_left().await);
    }
    let live_again = self::live(places).await;
    let mut early = Vec::new();
    for nth in 0..PLACES {
        let kept = &kept[rng.usize(..kept.len())];
        let kept = &kept[..rng.usize(1..=kept.len())];
        let name = format!("from before, {nth}");
        let instances = addresses(&places);
        early.push(Hearing::resuming(&name, &instances, Habits::default(), kept).await);
    }
    for client in returning.iter().chain(&live_again) {
        client.hears_more(SOME).await;
    }
    let all_are_back = Counts::read(&new.url).await;
    let spans = writers.end().await;
    oracle.say(&new.url, "end").await;
    let kept_and_new = oracle.committed(&new.url, &spans).await;
    lost.start_again().await;
    let kept_and_lost = oracle.committed(&lost.url, &spans).await;

    let well = |name: &str, outcome: Result<(), String>| {
        if let Err(difference) = outcome {
            panic!("SEED={seed}: {name}: {difference}");
        }
    };
    for (client, heard) in live.iter().zip(&before) {
        well(
            client.name(),
            kept_and_lost.check_beginning(heard).map(drop),
        );
        assert!(
            kept_and_new.check_beginning(heard).is_err(),
            "SEED={seed}: nothing was lost"
        );
    }
    for client in &live_again {
        let heard = client.hears_all_up_to("CREATED end 1").await;
        assert!(!heard.iter().any(|event| event == LOST));
        let checked = kept_and_new.check_end(&heard, &fork, &all_are_back);
        well(client.name(), checked);
    }
    for client in &early {
        let heard = client.hears_all_up_to("CREATED end 1").await;
        well(client.name(), kept_and_new.check(&heard));
    }
    for (client, kept) in returning.iter().zip(&kept) {
        let heard = client.hears_all_up_to("CREATED end 1").await;
        let lost = heard.iter().filter(|event| *event == LOST).count();
        assert_eq!(lost, 1, "{}", client.name());
        let parts: Vec<_> = heard.split(|event| event == BEGINS_ANEW).collect();
        let [first, between @ .., last] = &parts[..] else {
            panic!(
                "SEED={seed}: {} went on behind what was lost",
                client.name()
            );
        };
        // It may be back before its instance knows, and has to come once more.
        let heard_between = between.iter().any(|part| !part.is_empty());
        assert!(!heard_between, "{}: {between:?}", client.name());
        assert!(first.len() > kept.len(), "{} was refused", client.name());
        well(
            client.name(),
            kept_and_lost.check_beginning(first).map(drop),
        );
        let checked = kept_and_new.check_end(last, &fork, &all_are_back);
        well(client.name(), checked);
        beyond_is_refused(client, first.len(), &kept_and_new, places, &mut rng).await;
    }
    println!(
        "{} events on the server that was lost, {} on the one that took over",
        kept_and_lost.events(),
        kept_and_new.events()
    );
}

async fn live([first, second]: [SocketAddr; 2]) -> Vec<Hearing> {
    vec![
        Hearing::live("live on the first", first).await,
        Hearing::live("live on the second", second).await,
    ]
}

async fn returning(instances: [SocketAddr; 2]) -> Vec<Hearing> {
    let mut clients = Vec::new();
    for (name, leaves_after, pause_ms) in [
        ("staying", 0, 0),
        ("coming and going", 100, 0),
        ("pausing", 1000, 300),
    ] {
        let habits = Habits {
            leaves_after,
            pauses: Duration::from_millis(pause_ms),
            begins_anew: true,
            ..Habits::default()
        };
        clients.push(Hearing::returning(name, &addresses(&instances), habits).await);
    }
    clients
}

/// A writer may have committed on the lost server what is prepared here for ever.
async fn roll_back_what_is_prepared(server: &Server) {
    let session = server.connect().await;
    for name in session.sql("select gid from pg_prepared_xacts").await {
        session.sql(&format!("rollback prepared '{name}'")).await;
    }
}

/// The places of a client behind what is lost.
async fn beyond_is_refused(
    client: &Hearing,
    count: usize,
    left: &Committed,
    instances: [SocketAddr; 2],
    rng: &mut fastrand::Rng,
) {
    let heard = &client.heard()[..count];
    let counts: Vec<usize> = (1..=count).collect();
    let fork = counts.partition_point(|count| left.check_beginning(&heard[..*count]).is_ok());
    for _ in 0..PLACES {
        let (event, position) = &client.heard_with_positions()[rng.usize(fork..count)];
        let refused = Client::try_join(instances[0], &since(position)).await.err();
        assert!(
            refused.as_ref().is_some_and(|why| why.contains(WENT_BACK)),
            "{} goes on behind {event}: {refused:?}",
            client.name()
        );
    }
}
