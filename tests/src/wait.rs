//! Waiting for a condition.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long to wait for what should take a moment, on a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer, and gives it.
///
/// # Errors
/// Fails as `check` does, and where there is no answer within `limit`: the message says what was waited for.
pub fn until<T>(limit: Duration, what: &str, mut check: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = check()? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("waited {} s for {what}, in vain", limit.as_secs_f32());
        }
        pause_for(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the wait for a condition, with its deadline")]
fn pause_for(pause: Duration) {
    thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_the_answer_or_says_what_it_waited_for() {
        let mut left = 3;
        let answer = until(PATIENCE, "nothing", || {
            left -= 1;
            Ok((left == 0).then_some("here"))
        });
        assert_eq!(answer.unwrap(), "here");
        let error = until::<()>(Duration::ZERO, "the moon", || Ok(None)).unwrap_err();
        assert!(error.to_string().contains("the moon"), "{error}");
    }
}
