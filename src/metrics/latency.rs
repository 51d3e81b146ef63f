//! A histogram of times that is counted without a lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The upper bounds of the buckets, in microseconds: from half a millisecond to
/// five minutes.
const BOUNDS_US: [u64; 17] = [
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// A histogram of times, without a lock. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Latency(Arc<Times>);

#[derive(Debug, Default)]
struct Times {
    /// By bucket; what is above all bounds is in `above`.
    counts: [AtomicU64; BOUNDS_US.len()],
    above: AtomicU64,
    sum_us: AtomicU64,
}

impl Latency {
    /// Counts a time.
    pub(super) fn observe(&self, took: Duration) {
        self.observe_us(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts the time between two moments; none if they are the other way round.
    pub(super) fn observe_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) {
        let took_us = to.signed_duration_since(from).num_microseconds();
        self.observe_us(took_us.unwrap_or(0).max(0).unsigned_abs());
    }

    fn observe_us(&self, took_us: u64) {
        let bucket = BOUNDS_US.partition_point(|bound| *bound < took_us);
        let count = self.0.counts.get(bucket).unwrap_or(&self.0.above);
        count.fetch_add(1, Ordering::Relaxed);
        self.0.sum_us.fetch_add(took_us, Ordering::Relaxed);
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let seconds = |us| Duration::from_micros(us).as_secs_f64();
        let bounds = BOUNDS_US.into_iter().map(seconds).chain([f64::INFINITY]);
        let counts = self.0.counts.iter().chain([&self.0.above]);
        let buckets: Vec<(f64, u64)> = bounds
            .zip(counts.map(|count| count.load(Ordering::Relaxed)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.0.sum_us.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_ahead_counts_as_no_time() {
        let latency = Latency::default();
        let now = Utc::now();
        latency.observe_between(now + chrono::TimeDelta::seconds(5), now);
        latency.observe_between(now, now + chrono::TimeDelta::milliseconds(1));
        assert_eq!(latency.0.sum_us.load(Ordering::Relaxed), 1000);
    }
}
