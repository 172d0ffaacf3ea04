//! Counting what happens, cheaply enough for every request: a few atomic additions, no lock, no allocation.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper bounds of a histogram's buckets, in microseconds; one more bucket has no bound.
pub const BUCKET_BOUNDS_MICROS: [u64; 13] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];

const BUCKETS: usize = BUCKET_BOUNDS_MICROS.len() + 1;

/// How many.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less, for what comes and goes.
    pub fn take_one(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long, in buckets.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

/// What a [`Durations`] holds at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationsRead {
    /// How many were in each bucket, and in none of those before it.
    pub buckets: [u64; BUCKETS],
    /// All of them together.
    pub sum: Duration,
}

impl DurationsRead {
    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Durations {
    /// Notes one.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
        let at = BUCKET_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What was noted so far.
    #[must_use]
    pub fn read(&self) -> DurationsRead {
        let mut buckets = [0; BUCKETS];
        for (read, bucket) in buckets.iter_mut().zip(&self.buckets) {
            *read = bucket.load(Ordering::Relaxed);
        }
        DurationsRead { buckets, sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let durations = Durations::default();
        for micros in [0, 500, 501, 1_000, 10_000_000, 10_000_001] {
            durations.observe(Duration::from_micros(micros));
        }
        durations.observe(Duration::from_nanos(500_001));
        let read = durations.read();
        assert_eq!((read.buckets[0], read.buckets[1], read.buckets[12], read.buckets[13]), (2, 3, 1, 1));
        assert_eq!((read.count(), read.sum), (7, Duration::from_nanos(20_002_002_000 + 500_001)));
    }
}
