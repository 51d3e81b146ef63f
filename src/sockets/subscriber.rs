//! The task of one client that is not in the lane: what it gets next, and what happens
//! when it is slow.
//!
//! A client that keeps up takes from the replay buffer. One that fell behind it, or
//! came back with a position, reads the journal page by page until it reaches what is
//! visible now. Then it takes from the replay buffer again, without the events that the
//! journal showed it already. Once a client on a websocket has everything, it enters the
//! [lane](super::lane), and its task ends.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::futures::Notified;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, error, warn};

use super::client::Client;
use super::delivery::{Delivery, Outgoing};
use super::lane::Lane;
use super::link::Gone;
use super::session::Session;
use super::subscription::{Joined, Mode, Subscription};
use crate::journal::JournalEvent;
use crate::journal::bounds::Gap;
use crate::journal::catch_up::SharedPage;
use crate::journal::replay_buffer::Missed;
use crate::metrics::{CatchUpCause, Ended, Metrics};

/// How many events are taken, and written, at a time.
const TAKE_EVENTS: usize = 64;
/// The pause after the journal could not be read.
const PAUSE: Duration = Duration::from_millis(500);

/// Serves one client until it is in the lane or gone. Should that fail through a fault
/// of ours, its session ends: it comes back, where it would have been connected and
/// silent.
pub(super) async fn serve(client: Arc<Client>, subscription: Subscription, lane: Arc<Lane>) {
    let sources = Arc::clone(&lane.sources);
    let subscriber = Subscriber {
        delivery: Delivery::new(Arc::clone(&client), Arc::clone(&sources)),
        client: Arc::clone(&client),
        subscription,
        lane,
    };
    let serving = async {
        tokio::select! {
            biased;
            // It is in the lane, or gone.
            _ = subscriber.run() => {}
            () = client.session.link().gone(client.turn) => {}
        }
    };
    unless_it_panics(serving, &client.session, &sources.metrics).await;
}

async fn unless_it_panics(serving: impl Future<Output = ()>, session: &Session, metrics: &Metrics) {
    // All that it held is dropped, so nobody sees it half changed.
    let served = AssertUnwindSafe(serving).catch_unwind().await;
    if served.is_err() {
        error!("serving a client failed; ending its session");
        metrics.ended(Ended::Panic);
        session.end();
    }
}

struct Subscriber {
    client: Arc<Client>,
    delivery: Delivery,
    subscription: Subscription,
    lane: Arc<Lane>,
}

/// What serves a client that took from the replay buffer.
enum Next {
    /// The journal, since it fell behind.
    Journal,
    /// The lane, since it has everything.
    Lane,
}

impl Subscriber {
    async fn run(mut self) -> Result<(), Gone> {
        self.delivery.written().await?;
        loop {
            self.tell_position().await?;
            match self.subscription.mode {
                Mode::Live(..) => match self.take_live().await? {
                    Next::Lane => return Ok(()),
                    // The feed waits for it no more.
                    Next::Journal => self.subscription.mode = Mode::Journal,
                },
                // Large, and most clients never need it.
                Mode::Journal => Box::pin(self.catch_up()).await?,
            }
        }
    }

    /// Returns when the client has all that could be seen in the journal.
    async fn catch_up(&mut self) -> Result<(), Gone> {
        let sources = Arc::clone(&self.lane.sources);
        let _reading = sources.metrics.reading_journal(self.subscription.cause);
        self.subscription.cause = CatchUpCause::FellBehind;
        while matches!(self.subscription.mode, Mode::Journal) {
            self.read_journal().await?;
        }
        Ok(())
    }

    /// Reads a page, and joins the replay buffer if it was the last.
    async fn read_journal(&mut self) -> Result<(), Gone> {
        let catch_up = &self.lane.sources.catch_up;
        let SharedPage { page, head } = match catch_up.shared_page(&self.subscription.place).await {
            Ok(Ok(shared)) => shared,
            Ok(Err(Gap::WentBack)) => return Err(self.end(Ended::JournalWentBack)),
            Ok(Err(Gap::Pruned)) => {
                // It is refused when it comes back, and so told of the gap.
                warn!("a client fell behind what the journal keeps; disconnecting it");
                let _ = self.client.socket.clone().disconnect();
                return Err(Gone);
            }
            Err(error) => {
                // One line for each client would be too many; the feed says it too.
                debug!(error = format!("{error:#}"), "a client cannot catch up yet");
                sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
                return Ok(());
            }
        };
        for events in page.events.chunks(TAKE_EVENTS) {
            let mut outgoing = Outgoing::default();
            for event in events {
                outgoing.add(&self.client, event, None);
            }
            self.send(outgoing).await?;
            self.delivery.go_over();
        }
        self.lane.sources.metrics.replayed(page.events.len());
        self.subscription.place = page.end.clone();
        if page.reached_now {
            // What was published before `head` was visible to the page. Later events may
            // have been too.
            if let Some(cursor) = self.lane.sources.replay_buffer.join_at(head) {
                let joined = Joined {
                    seen: Arc::clone(&self.subscription.place.base),
                };
                self.subscription.mode = Mode::Live(cursor, Some(joined));
            }
        }
        Ok(())
    }

    /// Takes from the replay buffer as long as the client can and needs to.
    async fn take_live(&mut self) -> Result<Next, Gone> {
        let replay_buffer = Arc::clone(&self.lane.sources.replay_buffer);
        let client = Arc::clone(&self.client);
        let mut published = replay_buffer.watch();
        loop {
            published.mark_unchanged();
            let progress = client.session.link().progress();
            self.delivery.go_over();
            let Mode::Live(cursor, _) = &self.subscription.mode else {
                return Ok(Next::Journal);
            };
            let taken = match replay_buffer.take(cursor.next(), TAKE_EVENTS) {
                Ok(taken) => taken,
                Err(Missed::FellBehind) => return Ok(Next::Journal),
                Err(Missed::BeganAnew) => return Err(self.end(Ended::JournalWentBack)),
            };
            self.send_live(&taken.events).await?;
            if let Some(seen) = taken.seen {
                self.subscription.come_to(seen);
            }
            self.tell_position().await?;
            if !taken.is_all || !taken.events.is_empty() {
                continue;
            }
            match &self.subscription.mode {
                Mode::Live(cursor, None) if !self.delivery.polls() => {
                    self.delivery.written().await?;
                    // Not if there are new events.
                    if self.lane.join(&client, cursor.next())? {
                        return Ok(Next::Lane);
                    }
                }
                _ => self.wait(&mut published, progress).await?,
            }
        }
    }

    async fn send_live(&mut self, events: &[Arc<JournalEvent>]) -> Result<(), Gone> {
        // The feed waits for clients that move: one that polls does with each event.
        let at_a_time = if self.delivery.polls() {
            1
        } else {
            TAKE_EVENTS
        };
        for events in events.chunks(at_a_time) {
            let outgoing = self.outgoing(events);
            let first = outgoing.first();
            self.send(outgoing).await?;
            if let Mode::Live(cursor, _) = &self.subscription.mode {
                cursor.move_to(cursor.next() + events.len() as u64);
            }
            if let Some(first) = first.filter(|_| !self.delivery.polls()) {
                self.lane.sources.metrics.written(first.changed_at);
            }
        }
        Ok(())
    }

    /// What the client hears from the replay buffer, less what the journal showed it.
    fn outgoing<'e>(&mut self, events: &'e [Arc<JournalEvent>]) -> Outgoing<'e> {
        let mut outgoing = Outgoing::default();
        for event in events {
            match self.subscription.joined(&event.batch.base) {
                None => outgoing.add(&self.client, event, None),
                Some(joined) => {
                    if let Some(place) = joined.behind(event) {
                        outgoing.add(&self.client, event, Some(place));
                    }
                }
            }
        }
        outgoing
    }

    async fn send(&mut self, outgoing: Outgoing<'_>) -> Result<(), Gone> {
        if let Some(place) = self.delivery.send(outgoing).await? {
            self.subscription.place = place;
        }
        Ok(())
    }

    async fn tell_position(&self) -> Result<(), Gone> {
        self.delivery.tell_position(&self.subscription.place).await
    }

    /// Waits until something was published, or the client went over to a websocket.
    async fn wait(
        &self,
        published: &mut watch::Receiver<()>,
        progress: Notified<'_>,
    ) -> Result<(), Gone> {
        let is_joining = matches!(&self.subscription.mode, Mode::Live(_, Some(_)));
        tokio::select! {
            changed = published.changed() => changed.map_err(|_| Gone),
            () = progress, if self.delivery.polls() => Ok(()),
            // The feed reads on, also where nothing is published.
            () = sleep(PAUSE), if is_joining => Ok(()),
        }
    }

    /// Ends its session as if its connection had been lost, so that it comes back by
    /// itself: with its position, or from now on.
    fn end(&self, why: Ended) -> Gone {
        self.lane.sources.metrics.ended(why);
        self.client.session.end();
        Gone
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::http::connection_limit::ConnectionLimit;
    use crate::sockets::session::Sessions;

    #[tokio::test]
    async fn a_task_that_panics_ends_its_session_and_is_counted() {
        let limit = ConnectionLimit::new(1, None, Default::default());
        let sessions = Arc::new(Sessions::new(limit));
        let session = sessions.begin(IpAddr::from([127, 0, 0, 1]));
        let session = session.expect("a permit");
        let metrics = Metrics::default();
        unless_it_panics(async {}, &session, &metrics).await;
        assert!(!session.has_ended());
        unless_it_panics(async { panic!("a fault of ours") }, &session, &metrics).await;
        assert!(session.has_ended());
        let mut counted = String::new();
        metrics.write(&mut counted).expect("a text");
        let line = r#"disconnects_total{reason="panic"} 1"#;
        assert!(counted.contains(line), "{counted}");
    }
}
