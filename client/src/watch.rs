//! Following changes.

use std::{fmt, mem, time::Duration};

use coffer_proto::v1::{WatchEvent, WatchResponse};
use tokio::time::timeout;
use tonic::Streaming;

use crate::error::Error;

/// Paths in one watch.
pub const WATCH_PATHS_MAX: usize = 128;
/// How long a watch may be silent: the vault says every 15 seconds that it lives.
const SILENCE_MAX: Duration = Duration::from_secs(40);

/// Stands for what a watch was told: a later one of the same paths and principal is told only what differs from it.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken(String);

impl ResumeToken {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeToken")
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The secret has this newest version: told at the beginning, and when it changes.
    Changed {
        /// The secret's path.
        path: String,
        /// The newest version; 0 for a credential that is made for each who asks, which can be had.
        version: u64,
    },
    /// The secret is gone, cannot be read, or may not be read (any longer): which of these is not told.
    Unavailable {
        /// The secret's path.
        path: String,
    },
    /// A grant gives the secret on conditions that do not hold (any longer): what was delivered of it is to be removed.
    Withheld {
        /// The secret's path.
        path: String,
    },
    /// Changes may have been missed: read everything again. The state of each path follows.
    Resync,
    /// The session has ended: log in and watch again. The last event.
    SessionEnd,
}

/// A stream of events. Dropping it ends the watch.
pub struct Watch {
    stream: Streaming<WatchResponse>,
    resume: Option<ResumeToken>,
}

impl Watch {
    pub(crate) const fn new(stream: Streaming<WatchResponse>) -> Self {
        Self { stream, resume: None }
    }

    /// The token that stands for every event given so far, once one has come: keep it when those events are dealt
    /// with, and give it to the next watch ([`crate::Client::watch_from`]).
    #[must_use]
    pub const fn resume_token(&self) -> Option<&ResumeToken> {
        self.resume.as_ref()
    }

    /// The next event; none when the vault ended the stream. Cancelling the wait loses no event.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the connection broke, or nothing was heard for 40 seconds; else what the vault
    /// says. After an error there are no more events.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            let message = timeout(SILENCE_MAX, self.stream.message()).await.map_err(|_| {
                Error::unreachable(format!("the vault was silent for {} s: the connection is dead", SILENCE_MAX.as_secs()))
            })?;
            let Some(mut answer) = message? else { return Ok(None) };
            if !answer.resume_token.is_empty() {
                self.resume = Some(ResumeToken(mem::take(&mut answer.resume_token)));
            }
            match answer.event() {
                WatchEvent::Changed => return Ok(Some(Event::Changed { path: answer.path, version: answer.version })),
                WatchEvent::Unavailable => return Ok(Some(Event::Unavailable { path: answer.path })),
                WatchEvent::Withheld => return Ok(Some(Event::Withheld { path: answer.path })),
                WatchEvent::SessionEnd => return Ok(Some(Event::SessionEnd)),
                WatchEvent::Keepalive => {}
                // What a later vault says and this client does not understand may concern anything.
                WatchEvent::Resync | WatchEvent::Unspecified => return Ok(Some(Event::Resync)),
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
