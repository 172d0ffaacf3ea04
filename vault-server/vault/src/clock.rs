//! The time, as the vault believes it.

use std::time::{Duration, Instant, SystemTime};

use coffer_core::clock::{Clock, Timestamp};

/// The machine's clock as it was at start, counted on by a clock that cannot jump.
#[derive(Debug)]
pub struct SystemClock {
    began: Timestamp,
    running: Instant,
}

impl SystemClock {
    /// A clock that begins with the machine's time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
    pub fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { began: Timestamp::default().plus(since_1970), running: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.began.plus(self.running.elapsed())
    }
}
