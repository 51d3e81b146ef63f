//! What a delivery costs as the clients grow, and as what they ask for does.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::{DELIVERY_LIMIT, insert_versions};
use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::swarm::{Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &[
    figure("CPU time of the server per delivery, to 100 clients", 0),
    figure("the same to 1,000", 1),
    figure("the same to 10,000", 2),
    figure("the same to 1,000 that ask for one service", 3),
    figure("the same to 1,000 that ask for 100 services", 4),
    figure("the same to 1,000 that ask for 1,000 services", 5),
];

const fn figure(title: &'static str, value: usize) -> Figure {
    Figure::of_ours(title, value, Unit::Microseconds, Target::Report)
}

/// Between two commits.
const INTERVAL: Duration = Duration::from_millis(100);

pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    for (clients, services) in [
        (bench.size(100, 10), 0),
        (bench.size(1_000, 100), 0),
        (bench.size(10_000, 500), 0),
        (bench.size(1_000, 100), 1),
        (bench.size(1_000, 100), 100),
        (bench.size(1_000, 100), 1_000),
    ] {
        values.push(per_delivery(bench, side, clients, services).await?);
    }
    Ok(values)
}

/// The service that is heard stands last in the list of those that are asked for.
async fn per_delivery(bench: &Bench, side: Side, clients: u64, services: usize) -> Result<f64> {
    let clients = clients.min(bench.most_clients());
    // As many deliveries for each number of clients, within reason.
    let commits = (bench.size(100_000, 1_000) / clients).clamp(20, 200);
    let running = bench.start(side, &[SERVICE]).await?;
    let mut names: Vec<String> = (1..services)
        .map(|nth| format!("\"other {nth}\""))
        .collect();
    names.push(format!("\"{SERVICE}\""));
    let connect = match services {
        0 => "40/pricings,".to_owned(),
        _ => format!("40/pricings,{{\"services\":[{}]}}", names.join(",")),
    };
    let expected = Expected::Created(0..commits);
    let address = running.server.address;
    let swarm = Swarm::begin(address, clients as usize, &connect, expected, None);
    swarm.all_joined().await?;
    sleep(INTERVAL * 10).await;
    let before = running.server.cpu_seconds()?;
    for version in 0..commits {
        let insert = insert_versions(version, version + 1);
        running.database.sql.run(&insert).await?;
        sleep(INTERVAL).await;
    }
    swarm.all_received(DELIVERY_LIMIT).await?;
    let took = running.server.cpu_seconds()? - before;
    swarm.check()?;
    Ok(took * 1e6 / (clients * commits) as f64)
}
