//! Clients that go on hearing while a test does other things.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::client::{Client, in_short, position_of};
use super::{LIMIT, wait_until};

/// Where the program listens; a test may move it.
pub type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

/// What a client that [begins anew](Habits::begins_anew) has between what it heard
/// before and what it hears from then on.
pub const BEGINS_ANEW: &str = "(begins anew)";

/// A client and what it has heard, in short: `CREATED Zoom 2024`.
pub struct Hearing {
    name: String,
    heard: Heard,
    task: AbortOnDropHandle<()>,
}

/// Why a position is refused from whose journal something is gone.
pub const WENT_BACK: &str = "POSITION_INVALID: the journal went back";

/// Each event, and the position behind it, if it was told.
type Heard = Arc<Mutex<Vec<(String, String)>>>;

/// How a client that comes back leaves by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// It leaves after up to so many events; 0: never.
    pub leaves_after: u64,
    /// It stops reading now and then, for up to so long.
    pub pauses: Duration,
    /// The part that it asks for, with a comma before it: `,"services":["Zoom"]`.
    pub part: &'static str,
    /// Where its position is refused since the journal went back, it goes on from now;
    /// else that is a fault.
    pub begins_anew: bool,
}

impl Hearing {
    /// A client without positions that never leaves, and must never be left.
    pub async fn live(name: &str, address: SocketAddr) -> Self {
        let mut client = Client::join(address, "40/pricings,").await;
        Self::spawn(name, Vec::new(), async move |heard| {
            while let Some(frame) = client.frame_or_end().await {
                take(&heard, in_short(&frame), "");
            }
        })
    }

    /// A client that comes back with its position whenever its connection ends,
    /// to one of the addresses.
    pub async fn returning(name: &str, addresses: &Addresses, habits: Habits) -> Self {
        Self::resuming(name, addresses, habits, &[]).await
    }

    /// As [`Hearing::returning`], to one address; it leaves after up to so many events.
    pub async fn restless(name: &str, address: SocketAddr, leaves_after: u64) -> Self {
        let habits = Habits {
            leaves_after,
            ..Habits::default()
        };
        Self::returning(name, &addresses(&[address]), habits).await
    }

    /// As [`Hearing::returning`], with what it heard before, to go on behind that.
    pub async fn resuming(
        name: &str,
        addresses: &Addresses,
        habits: Habits,
        before: &[(String, String)],
    ) -> Self {
        let addresses = Arc::clone(addresses);
        let connect = move |position: &str| {
            format!("40/pricings,{{\"since\":\"{position}\"{}}}", habits.part)
        };
        let last = before.last();
        let mut position = last.map_or_else(String::new, |(_, position)| position.clone());
        // The first place is taken before this returns.
        let mut joined = Some(Client::join(one_of(&addresses), &connect(&position)).await);
        Self::spawn(name, before.to_vec(), async move |heard| {
            loop {
                let joining = match joined.take() {
                    Some(client) => Ok(client),
                    None => Client::try_join(one_of(&addresses), &connect(&position)).await,
                };
                let mut client = match joining {
                    Ok(client) => client,
                    Err(why) if habits.begins_anew && why.contains(WENT_BACK) => {
                        position.clear();
                        take(&heard, BEGINS_ANEW.to_owned(), "");
                        continue;
                    }
                    Err(why) => {
                        assert!(!why.contains("POSITION"), "{why}");
                        sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                };
                let mut left = match habits.leaves_after {
                    0 => u64::MAX,
                    most => fastrand::u64(1..=most),
                };
                while left > 0
                    && let Some(frame) = client.frame_or_end().await
                {
                    // What a stop says on its way out is no event.
                    if !frame.starts_with("42") {
                        continue;
                    }
                    position = position_of(&frame);
                    take(&heard, in_short(&frame), &position);
                    left -= 1;
                    if !habits.pauses.is_zero() && fastrand::u8(..) < 2 {
                        sleep(habits.pauses.mul_f64(fastrand::f64())).await;
                    }
                }
                if position.is_empty() {
                    position = client.position;
                }
            }
        })
    }

    fn spawn<F>(name: &str, before: Vec<(String, String)>, hear: impl FnOnce(Heard) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let heard = Arc::new(Mutex::new(before));
        Self {
            name: name.to_owned(),
            task: AbortOnDropHandle::new(tokio::spawn(hear(Arc::clone(&heard)))),
            heard,
        }
    }

    /// Who it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has heard so far.
    pub fn heard(&self) -> Vec<String> {
        let heard = self.heard.lock().expect("no panic");
        heard.iter().map(|(event, _)| event.clone()).collect()
    }

    /// The same, each with the position behind it.
    pub fn heard_with_positions(&self) -> Vec<(String, String)> {
        self.heard.lock().expect("no panic").clone()
    }

    /// How many events it has heard so far.
    pub fn count(&self) -> usize {
        self.heard.lock().expect("no panic").len()
    }

    /// Waits until it has heard so many events more.
    pub async fn hears_more(&self, count: usize) {
        let target = self.count() + count;
        self.hears(&format!("{} hears {count} more", self.name), async || {
            self.count() >= target
        })
        .await;
    }

    /// Waits until it has heard an event, and perhaps others behind it.
    pub async fn has_heard(&self, event: &str) {
        let what = format!("{} hears {event}", self.name);
        self.hears(&what, async || {
            let heard = self.heard.lock().expect("no panic");
            heard.iter().any(|(heard, _)| heard == event)
        })
        .await;
    }

    /// Waits until it has heard an event as the last; all that it has heard then.
    pub async fn hears_all_up_to(&self, last: &str) -> Vec<String> {
        let what = format!("{} hears {last}", self.name);
        self.hears(&what, async || {
            let heard = self.heard.lock().expect("no panic");
            heard.last().is_some_and(|(event, _)| event == last)
        })
        .await;
        self.heard()
    }

    /// Waits until it is disconnected, as one that is live; all that it has heard then.
    pub async fn is_left(&self) -> Vec<String> {
        let what = format!("{} is disconnected", self.name);
        wait_until(&what, async || self.task.is_finished()).await;
        self.heard()
    }

    /// Waits as long as it hears anything at all.
    async fn hears(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let (mut count, mut since) = (self.count(), Instant::now());
        while !is_so().await {
            assert!(!self.task.is_finished(), "{} has ended", self.name);
            if self.count() > count {
                (count, since) = (self.count(), Instant::now());
            }
            assert!(since.elapsed() < LIMIT, "waited in vain: {what}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn take(heard: &Heard, event: String, position: &str) {
    let mut heard = heard.lock().expect("no panic");
    heard.push((event, position.to_owned()));
}

fn one_of(addresses: &Addresses) -> SocketAddr {
    let addresses = addresses.lock().expect("no panic");
    addresses[fastrand::usize(..addresses.len())]
}

/// The list of addresses that [`Hearing::returning`] takes.
pub fn addresses(addresses: &[SocketAddr]) -> Addresses {
    Arc::new(Mutex::new(addresses.to_vec()))
}
