//! Random writers and random faults: what each client heard is exactly what was
//! committed, in an order that was possible.
//!
//! The oracle is independent of the journal. Each transaction writes the events
//! that it should cause, by a model of its own, into a table of the test: so they
//! are committed or lost together with their cause, whatever becomes of the answer
//! to the COMMIT. Transactions take turns by service, which is the order of their
//! commits.
//!
//! The writers write in two organisations, with services of the same names, and move
//! them between the two; each client hears one of them.
//!
//! A failover that loses commits is a scene of its own, with the same writers.
//!
//! `SEED=…` plays the same changes and faults again (not their exact timing);
//! `SOAK_SECONDS=…` says for how long.

#![expect(
    clippy::print_stdout,
    reason = "figures, for whoever looks at them with --nocapture"
)]

mod fault;
mod losing;
mod model;
mod oracle;
mod writer;

use std::time::{Duration, Instant};

use crate::support::hearing::{Habits, addresses};
use crate::support::{Hearing, Server};
use fault::Scene;
use oracle::Oracle;
use writer::Writers;

const SERVICES: usize = 40;
/// The organisation beside the default one, and its key.
const ACME: &str = "acme";
const API_KEYS: &str = "key:EVALUATION@acme";
const AS_ACME: &str = r#","apiKey":"key""#;
const USUAL_SECONDS: u64 = 15;
/// Beginnings and ends of transactions.
const ENOUGH: u64 = 400;
/// What the client asks for that hears a part.
const PART: &str = concat!(
    r#","codes":["PRICING_CREATED","PRICING_ARCHIVED","SERVICE_DISABLED"]"#,
    r#","services":["begin","END","S1","s3","S5","s7","S9","s11","S13","s15","S17","s19"]"#
);

#[tokio::test(flavor = "multi_thread")]
async fn what_each_client_hears_is_exactly_what_committed() {
    let seed = seed();
    let duration = Duration::from_secs(from_environment("SOAK_SECONDS").unwrap_or(USUAL_SECONDS));
    let server = Server::start(&["max_prepared_transactions = 20"]).await;
    let mut scene = Scene::start(server, fastrand::Rng::with_seed(seed)).await;
    let oracle = Oracle::create(scene.url(), SERVICES).await;

    let [first, second, doomed] = scene.addresses();
    let mut clients = vec![
        Hearing::live("live on the first", first).await,
        Hearing::live("live on the second", second).await,
    ];
    let instances = addresses(&[first, second, doomed]);
    let restless = Habits {
        leaves_after: 200,
        ..Habits::default()
    };
    let pausing = Habits {
        leaves_after: 2000,
        pauses: Duration::from_millis(500),
        ..Habits::default()
    };
    for (name, instances, habits) in [
        ("coming and going", &instances, restless),
        ("pausing", &instances, pausing),
        ("staying", &addresses(&[doomed]), Habits::default()),
    ] {
        clients.push(Hearing::returning(name, instances, habits).await);
    }
    let choosy = Habits {
        leaves_after: 30,
        part: PART,
        ..Habits::default()
    };
    let choosy = Hearing::returning("hearing a part", &instances, choosy).await;
    let mut of_acme = Vec::new();
    for (name, instances, leaves_after) in [
        ("of acme, staying", &addresses(&[first]), 0),
        ("of acme, coming and going", &instances, 50),
    ] {
        let habits = Habits {
            leaves_after,
            part: AS_ACME,
            ..Habits::default()
        };
        of_acme.push(Hearing::returning(name, instances, habits).await);
    }
    oracle.say(scene.url(), "begin").await;
    for client in clients.iter().chain([&choosy]).chain(&of_acme) {
        client.hears_all_up_to("CREATED begin 1").await;
    }

    let writers = Writers::start(scene.url(), seed);
    let begun = Instant::now();
    // On a busy machine longer, so that enough happens.
    while begun.elapsed() < duration || writers.clock() < ENOUGH {
        scene.pause().await;
        scene.fault().await;
    }
    let spans = writers.end().await;
    oracle.say(scene.url(), "end").await;
    let committed = oracle.committed(scene.url(), &spans).await;
    let acme = oracle.committed_in(ACME, scene.url(), &spans).await;
    let part = committed.part(is_of_the_part);
    let all = clients.iter().map(|client| (client, &committed));
    let of_acme = of_acme.iter().map(|client| (client, &acme));
    for (client, committed) in all.chain([(&choosy, &part)]).chain(of_acme) {
        let heard = client.hears_all_up_to("CREATED end 1").await;
        if let Err(difference) = committed.check(&heard) {
            panic!("SEED={seed}: {}: {difference}", client.name());
        }
    }
    println!(
        "{} transactions with {} events, heard by {} clients through {} faults",
        committed.transactions(),
        committed.events(),
        clients.len() + 3,
        scene.faults()
    );
    println!("{} of these events are of the part", part.events());
    println!(
        "{} others are of acme; {} services moved",
        acme.events(),
        oracle.moves(scene.url()).await
    );
    assert!(acme.events() > 50, "hardly anything of acme was written");
    assert!(committed.events() > 100, "hardly anything was written");
    assert!(
        part.events() > 10,
        "hardly anything of the part was written"
    );
}

/// Whether an event is of [`PART`].
fn is_of_the_part(event: &str) -> bool {
    let mut words = event.split(' ');
    let kind = words.next().expect("a kind");
    let service = words.next().expect("a service").strip_prefix('s');
    let number = service.and_then(|number| number.parse::<usize>().ok());
    kind != "ACTIVED" && number.is_some_and(|number| number % 2 == 1 && number < 20)
}

/// What all randomness comes from.
fn seed() -> u64 {
    let seed = from_environment("SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("SEED={seed}");
    seed
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}
