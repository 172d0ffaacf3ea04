//! Times: ages for people, RFC 3339 for scripts.

use jiff::Timestamp;
use prost_types::Timestamp as Sent;

use super::View;

/// A duration in at most two units, as kubectl prints it: `45s`, `5m`, `3h12m`, `2d4h`, `400d`.
#[must_use]
pub fn age(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let two = |large: u64, large_unit: char, small: u64, small_unit: char| match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 if seconds < 600 => two(seconds / MINUTE, 'm', seconds % MINUTE, 's'),
        120..7_200 => format!("{}m", seconds / MINUTE),
        7_200..172_800 => two(seconds / HOUR, 'h', seconds % HOUR / MINUTE, 'm'),
        172_800..864_000 => two(seconds / DAY, 'd', seconds % DAY / HOUR, 'h'),
        _ => format!("{}d", seconds / DAY),
    }
}

/// How long ago; empty where the time was not sent.
#[must_use]
pub fn since(time: Option<&Sent>, view: &View) -> String {
    time.map(|time| age(u64::try_from(view.now.as_second().saturating_sub(time.seconds)).unwrap_or(0))).unwrap_or_default()
}

/// In how long; `ended` where the time has passed, empty where it was not sent.
#[must_use]
pub fn until(time: Option<&Sent>, view: &View) -> String {
    let left = |time: &Sent| match u64::try_from(time.seconds.saturating_sub(view.now.as_second())) {
        Ok(left) if left > 0 => age(left),
        _ => "ended".to_owned(),
    };
    time.map(left).unwrap_or_default()
}

/// The time as RFC 3339 in UTC; none where it was not sent or is no time.
#[must_use]
pub fn rfc3339(time: Option<&Sent>) -> Option<String> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos).ok().map(|time| format!("{time:.3}"))
}
