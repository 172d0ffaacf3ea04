//! Writes all files once.

use std::time::Duration;

use coffer_client::Backoff;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    agent::{Agent, Trouble},
    failure::Failure,
};

/// The first wait after an attempt that failed; it doubles.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The longest wait between attempts.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Reads and writes everything, or fails: at once where the vault refuses, at the deadline where it is away.
pub(crate) async fn run(agent: &mut Agent) -> Result<(), Failure> {
    let limit = agent.config.deadline;
    let deadline = Instant::now() + limit;
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    let mut last = "no answer".to_owned();
    loop {
        let sources = agent.sources();
        match timeout_at(deadline, agent.read(sources)).await {
            Ok(Ok(())) => break,
            Ok(Err(Trouble::Away(why))) => last = why,
            Ok(Err(trouble)) => return Err(trouble.into()),
            Err(_) => {}
        }
        let wait = backoff.wait();
        if Instant::now() + wait >= deadline {
            let limit = humantime::format_duration(limit);
            return Err(Failure::Unavailable(format!("the vault was not available within {limit}: {last}")));
        }
        tracing::warn!(retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "{last}");
        sleep(wait).await;
    }
    agent.write().map(drop)
}
