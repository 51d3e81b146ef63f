//! How the feed and those that take from it wait for each other.

use std::sync::OnceLock;

use super::*;
use crate::event::{Event, Service};
use crate::journal::{Batch, Witness};
use chrono::Utc;
use serde_json::value::to_raw_value;
use tokio::time::interval;

fn replay_buffer() -> Arc<ReplayBuffer> {
    Arc::new(ReplayBuffer::new(JournalBounds::nothing(), Arc::default()))
}

fn events(count: usize) -> Vec<Arc<JournalEvent>> {
    let event = Event::ServiceDisabled(Service {
        service_name: "Zoom".to_owned(),
    });
    let batch = Arc::new(Batch {
        base: Arc::new(Watermark::nothing()),
        next: Arc::new(Watermark::nothing()),
        number: 1,
    });
    let one = Arc::new(JournalEvent {
        json: to_raw_value(&event).expect("JSON"),
        event,
        organization: "".into(),
        row: Witness::new(1, 1, 0),
        through: 1,
        xid: 1,
        changed_at: Utc::now(),
        batch,
        reference: OnceLock::new(),
    });
    vec![one; count]
}

/// A client that takes so many events each millisecond.
fn client(replay_buffer: &Arc<ReplayBuffer>, each_ms: u64) -> Arc<Cursor> {
    let cursor = Arc::new(replay_buffer.join_at(0).expect("the first event"));
    let (replay_buffer, moving) = (Arc::clone(replay_buffer), Arc::clone(&cursor));
    tokio::spawn(async move {
        let mut ticks = interval(LOOK_AGAIN);
        loop {
            ticks.tick().await;
            let next = moving.next() + each_ms;
            moving.move_to(next.min(replay_buffer.lock().head()));
        }
    });
    cursor
}

async fn publish(replay_buffer: &ReplayBuffer, chunks: usize) -> Duration {
    let begun = Instant::now();
    for _ in 0..chunks {
        replay_buffer.publish(&events(256)).await;
    }
    begun.elapsed()
}

#[test]
fn a_page_shows_while_it_is_read_and_afterwards() {
    let replay_buffer = replay_buffer();
    let before = replay_buffer.pages();
    let page = replay_buffer.begin_page();
    assert_eq!(replay_buffer.pages(), None);
    drop(page);
    assert!(
        replay_buffer
            .pages()
            .is_some_and(|after| Some(after) != before)
    );
}

#[tokio::test(start_paused = true)]
async fn the_feed_does_not_wait_for_a_slow_client_while_another_has_all() {
    let replay_buffer = replay_buffer();
    let slow = client(&replay_buffer, 1);
    let _fast = client(&replay_buffer, 100_000);
    // 51,200 events, of which the slow one would take 51 s.
    let took = publish(&replay_buffer, 200).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(replay_buffer.take(slow.next(), 1).is_err());
}

#[tokio::test(start_paused = true)]
async fn the_feed_waits_for_clients_while_all_are_busy() {
    let replay_buffer = replay_buffer();
    let both = [client(&replay_buffer, 20), client(&replay_buffer, 20)];
    publish(&replay_buffer, 200).await;
    for cursor in both {
        assert!(replay_buffer.take(cursor.next(), 1).is_ok());
    }
}

#[tokio::test]
async fn who_took_from_here_is_told_when_the_feed_begins_anew() {
    let replay_buffer = replay_buffer();
    replay_buffer.publish(&events(3)).await;
    let before = replay_buffer.join().0.next();
    replay_buffer.begin_anew(JournalBounds::nothing());
    for next in 0..=before {
        assert_eq!(replay_buffer.take(next, 1).err(), Some(Missed::BeganAnew));
    }
    assert!(replay_buffer.join_at(before).is_none());
    let (after, _) = replay_buffer.join();
    replay_buffer.publish(&events(1)).await;
    let taken = replay_buffer.take(after.next(), 8).expect("the new event");
    assert_eq!(taken.events.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_feed_always_waits_for_the_lane() {
    let replay_buffer = replay_buffer();
    let (lane, _) = replay_buffer.join_lane();
    let _fast = client(&replay_buffer, 100_000);
    let publishing = publish(&replay_buffer, 200);
    tokio::pin!(publishing);
    let later = tokio::time::sleep(Duration::from_secs(60));
    tokio::select! {
        _ = &mut publishing => panic!("it did not wait"),
        () = later => {}
    }
    assert!(replay_buffer.take(lane.next(), 1).is_ok());
    lane.move_to(replay_buffer.lock().head());
    let moving = async {
        loop {
            sleep(LOOK_AGAIN).await;
            lane.move_to(replay_buffer.lock().head());
        }
    };
    tokio::select! {
        _ = publishing => {}
        () = moving => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_without_clients_waits_for_nothing() {
    for (clients, waits) in [(0, true), (1, false)] {
        let replay_buffer = replay_buffer();
        let (lane, _) = replay_buffer.join_lane();
        lane.set_clients(clients);
        // 20 a millisecond, of 51,200.
        let slow = client(&replay_buffer, 20);
        let all = Arc::clone(&replay_buffer);
        let task = tokio::spawn(async move {
            loop {
                lane.move_to(all.lock().head());
                sleep(Duration::from_micros(100)).await;
            }
        });
        publish(&replay_buffer, 200).await;
        assert_eq!(
            replay_buffer.take(slow.next(), 1).is_ok(),
            waits,
            "{clients}"
        );
        task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn the_feed_does_not_wait_for_a_client_that_does_not_move() {
    let replay_buffer = replay_buffer();
    let stuck = client(&replay_buffer, 0);
    let took = publish(&replay_buffer, 200).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(replay_buffer.take(stuck.next(), 1).is_err());
}
