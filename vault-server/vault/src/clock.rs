//! The time, as the vault believes it.

use std::time::{Duration, SystemTime};

use coffer_core::clock::{Clock, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// The machine's clock as it was at start, counted on by a clock that cannot be set, and goes on while the machine sleeps:
/// what ends then is over when it wakes.
#[derive(Debug)]
pub struct SystemClock {
    began: Timestamp,
    since_boot: Duration,
}

impl SystemClock {
    /// A clock that begins with the machine's time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
    pub fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { began: Timestamp::default().plus(since_1970), since_boot: since_boot() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.began.plus(since_boot().saturating_sub(self.since_boot))
    }
}

/// How long the machine has been up, its sleep counted: `Instant` does not count it on Linux.
fn since_boot() -> Duration {
    clock_gettime(ClockId::Boottime).try_into().expect("the time since the machine was started is not negative")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The kernel's own count, to hundredths of a second: with the sleep, and with a time namespace's offset.
    fn uptime() -> Duration {
        let text = fs::read_to_string("/proc/uptime").unwrap();
        Duration::from_secs_f64(text.split(' ').next().unwrap().parse().unwrap())
    }

    #[test]
    fn sleep_of_the_machine_is_counted_as_the_kernel_counts_it() {
        let before = uptime();
        let found = since_boot();
        let after = uptime() + Duration::from_millis(10);
        assert!(before <= found && found <= after, "{found:?} is not between {before:?} and {after:?}");
    }

    #[test]
    fn the_clock_begins_with_the_machine_s_time_and_counts_what_passes() {
        #[expect(clippy::disallowed_methods, reason = "what it is compared with")]
        let wall = || Timestamp::default().plus(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap());
        let before = wall();
        let mut clock = SystemClock::start();
        assert!(before <= clock.now());
        // As if it had been started an hour ago, and the machine had slept since.
        let hour = Duration::from_secs(3_600);
        let began = clock.began;
        clock.since_boot = clock.since_boot.checked_sub(hour).unwrap_or_default();
        let slept = since_boot().min(hour);
        assert!(began.plus(slept) <= clock.now());
        assert!(clock.now() <= clock.now());
    }
}
