//! How long to wait before trying again.

use std::time::Duration;

use crate::random;

/// Growing, jittered waits: each is drawn evenly from half of a bound to the bound, which doubles up to a maximum.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits that begin at `first` and grow to `max`.
    #[must_use]
    pub fn new(first: Duration, max: Duration) -> Self {
        let first = first.min(max);
        Self { first, max, next: first }
    }

    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        let bound = self.next;
        self.next = bound.saturating_mul(2).min(self.max);
        jittered(bound)
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// A time between half of `bound` and `bound`, so that many clients do not ask at the same moment.
    #[must_use]
    pub fn jittered(bound: Duration) -> Duration {
        jittered(bound)
    }
}

fn jittered(bound: Duration) -> Duration {
    let half = bound / 2;
    half + half.mul_f64(f64::from(u32::from_le_bytes(random::bytes())) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum_and_never_past_it() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for bound in [100, 200, 350, 350] {
            let wait = backoff.wait();
            assert!(wait >= Duration::from_millis(bound / 2), "{wait:?} is under half of {bound} ms");
            assert!(wait <= Duration::from_millis(bound), "{wait:?} is over {bound} ms");
        }
    }

    #[test]
    fn a_reset_begins_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(60));
        for _ in 0..20 {
            backoff.wait();
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }

    #[test]
    fn waits_differ_from_one_another() {
        let waits: Vec<_> = (0..8).map(|_| Backoff::jittered(Duration::from_secs(1_000))).collect();
        assert!(waits.windows(2).any(|pair| pair[0] != pair[1]), "{waits:?}");
    }
}
