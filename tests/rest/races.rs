//! Many requests at once.

use std::sync::Arc;

use super::Server;
use crate::support::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn parallel_uploads_of_one_version_succeed_once() {
    let server = Arc::new(Server::start().await);
    let mut client = server.join().await;
    for (path, version) in [("/services", "1"), ("/services/Race/pricings", "2")] {
        let uploads: Vec<_> = (0..200)
            .map(|_| {
                let server = Arc::clone(&server);
                tokio::spawn(async move { server.upload(path, "Race", version).await.0 })
            })
            .collect();
        let mut statuses = Vec::new();
        for upload in uploads {
            statuses.push(upload.await.expect("an upload"));
        }
        statuses.sort_unstable();
        assert_eq!(
            (statuses[0], &statuses[1..]),
            (201, &[409; 199][..]),
            "{path}"
        );
        assert_eq!(client.next_event().await, format!("CREATED Race {version}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_writers_never_meet_a_fault() {
    let server = Arc::new(Server::start().await);
    let mut writers = Vec::new();
    for seed in 0..24 {
        let server = Arc::clone(&server);
        writers.push(tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..40 {
                let name = ["Ant", "bee", "Cow"][random.usize(..3)];
                let version = ["1", "2"][random.usize(..2)];
                let service = format!("/services/{name}");
                let pricing = format!("{service}/pricings/{version}");
                let (status, body) = match random.u8(..40) {
                    0..8 => server.upload("/services", name, version).await,
                    8..16 => {
                        server
                            .upload(&format!("{service}/pricings"), name, version)
                            .await
                    }
                    16..20 => server.call("DELETE", &service).await,
                    20..24 => server.call("PUT", &pricing).await,
                    24..28 => {
                        server
                            .call("PUT", &format!("{pricing}?availability=active"))
                            .await
                    }
                    28..32 => server.call("DELETE", &pricing).await,
                    32..36 => {
                        server
                            .rename(&service, ["ant", "Bee", "cow"][random.usize(..3)])
                            .await
                    }
                    36 => server.call("DELETE", "/services").await,
                    _ => server.call("GET", "/services").await,
                };
                // 400: the service was renamed, and the pricing is one of another.
                assert!(
                    matches!(status, 200 | 201 | 204 | 400 | 404 | 409),
                    "seed {seed}: {status} {body}"
                );
            }
        }));
    }
    for writer in writers {
        writer.await.expect("only expected answers");
    }
}

/// One of them is stuck, and holds what it holds; the others are done meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_pricings_of_one_service_do_not_wait_for_each_other() {
    let server = Arc::new(Server::start().await);
    server.create("Zoom", "stuck").await;
    server
        .upload("/services/Zoom/pricings", "Zoom", "archived")
        .await;
    server.call("PUT", "/services/Zoom/pricings/archived").await;
    let blocker = server.database.connect().await;
    let waiters = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    for round in 0..3 {
        blocker
            .sql("begin; select id from pricings where version in ('stuck', 'archived') for update")
            .await;
        let stuck: Vec<_> = (0..2)
            .map(|nth| {
                let server = Arc::clone(&server);
                let path = match (nth, round % 2) {
                    (0, 0) => "/services/Zoom/pricings/stuck?availability=archived",
                    (0, _) => "/services/Zoom/pricings/stuck?availability=active",
                    _ => "/services/Zoom/pricings/archived",
                };
                let method = ["PUT", "DELETE"][nth];
                tokio::spawn(async move { server.call(method, path).await.0 })
            })
            .collect();
        wait_until("both wait", async || {
            server.database.sql(waiters).await == ["2"]
        })
        .await;
        let before = server.get("/services/Zoom").await;
        let version = format!("{round}.new");
        let (status, service) = server
            .upload("/services/Zoom/pricings", "Zoom", &version)
            .await;
        assert_eq!(status, 201);
        assert!(service["updatedAt"].as_str() > before["updatedAt"].as_str());
        let path = format!("/services/zoom/pricings/{version}");
        let (status, archived) = server.call("PUT", &path).await;
        assert_eq!(status, 200);
        assert!(archived["updatedAt"].as_str() > service["updatedAt"].as_str());
        assert_eq!(archived, server.get("/services/Zoom").await);
        assert_eq!(server.call("DELETE", &path).await.0, 204);
        blocker.sql("rollback").await;
        let mut statuses = Vec::new();
        for stuck in stuck {
            statuses.push(stuck.await.expect("an answer"));
        }
        assert_eq!(statuses, [200, 204]);
        server
            .upload("/services/Zoom/pricings", "Zoom", "archived")
            .await;
        server.call("PUT", "/services/Zoom/pricings/archived").await;
    }
}
