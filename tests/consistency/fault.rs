//! What may go wrong: Postgres, an instance, the connections between them.
//!
//! All reach the primary by one address; where that leads changes when a standby takes
//! over.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::API_KEYS;
use crate::support::postgres::Session;
use crate::support::{End, Program, Proxy, Server};

/// The number of this fault; those below are the others.
const FAILOVER: u8 = 12;

/// A Postgres, and three instances: one that lives on, one behind a proxy, one
/// that is killed now and then.
pub struct Scene {
    server: Server,
    primary: Proxy,
    proxy: Proxy,
    steady: (Program, SocketAddr),
    proxied: (Program, SocketAddr),
    doomed: (Program, SocketAddr),
    rng: fastrand::Rng,
    faults: usize,
    failover_at: usize,
}

impl Scene {
    pub async fn start(server: Server, mut rng: fastrand::Rng) -> Self {
        let primary = Proxy::start(&server).await;
        let proxy = Proxy::start(&server).await;
        Self {
            steady: start(&primary.url, "0"),
            proxied: start(&proxy.url, "0"),
            doomed: start(&primary.url, &free_port()),
            server,
            primary,
            proxy,
            failover_at: rng.usize(2..5),
            rng,
            faults: 0,
        }
    }

    /// Where the primary is reached, whichever server that is.
    pub fn url(&self) -> &str {
        &self.primary.url
    }

    pub fn addresses(&self) -> [SocketAddr; 3] {
        [self.steady.1, self.proxied.1, self.doomed.1]
    }

    /// How many there were.
    pub fn faults(&self) -> usize {
        self.faults
    }

    pub async fn pause(&mut self) {
        sleep(Duration::from_millis(self.rng.u64(200..1500))).await;
    }

    /// One of them. A failover takes longer than the others, and comes now and then.
    pub async fn fault(&mut self) {
        self.faults += 1;
        let begun = Instant::now();
        let which = if self.faults == self.failover_at {
            self.failover_at += self.rng.usize(20..40);
            FAILOVER
        } else {
            self.rng.u8(..FAILOVER)
        };
        match which {
            0..3 => self.terminate().await,
            3 => self.server.restart(End::Fast).await,
            4..6 => self.server.restart(End::Immediate).await,
            6 => self.server.restart(End::Kill).await,
            7..9 => {
                self.doomed.0.kill();
                self.doomed = start(&self.primary.url, &self.doomed.1.port().to_string());
            }
            9 => self.proxy.silence(),
            10 => {
                self.proxy.hold();
                sleep(Duration::from_millis(self.rng.u64(..3000))).await;
                self.proxy.resume();
            }
            FAILOVER => self.fail_over().await,
            _ => {
                // As if it were away for longer.
                self.server.stop(End::Immediate).await;
                sleep(Duration::from_millis(self.rng.u64(..2000))).await;
                self.server.start_again().await;
            }
        }
        println!("fault {which}, {:?}", begun.elapsed());
    }

    /// To a standby that has all that was answered.
    async fn fail_over(&mut self) {
        let standby = self.server.standby().await;
        if self.rng.bool() {
            let session = self.server.connect().await;
            session
                .sql("alter system set synchronous_commit = remote_apply")
                .await;
        }
        self.server.wait_for_standby().await;
        self.server.is_followed().await;
        self.pause().await;
        self.server.stop(End::Machine).await;
        standby.promote().await;
        self.primary.switch_to(&standby);
        self.proxy.switch_to(&standby);
        self.server = standby;
    }

    async fn terminate(&self) {
        if let Ok(session) = Session::try_connect(&self.server.url).await {
            // The writers' too, and this one's last.
            let _ = session
                .try_sql(
                    "select pg_terminate_backend(pid) from pg_stat_activity
                    where application_name like 'space-events%' and pid <> pg_backend_pid()
                    and (application_name <> 'space-events test' or random() < 0.5)",
                )
                .await;
        }
    }
}

/// An instance, and where it listens.
pub fn start(url: &str, port: &str) -> (Program, SocketAddr) {
    let mut program = Program::start(&[
        ("DATABASE_URL", url),
        ("PORT", port),
        ("API_KEYS", API_KEYS),
    ]);
    let address = program.address();
    (program, address)
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    address.port().to_string()
}
