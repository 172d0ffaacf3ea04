//! Following changes.

use std::{fmt, time::Duration};

use coffer_proto::v1::{WatchEvent, WatchResponse};
use tokio::time::timeout;
use tonic::Streaming;

use crate::error::Error;

/// Paths in one watch.
pub const WATCH_PATHS_MAX: usize = 128;
/// How long a watch may be silent: the vault says every 15 seconds that it lives.
const SILENCE_MAX: Duration = Duration::from_secs(40);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The secret has this newest version: told at the beginning, and when it changes.
    Changed {
        /// The secret's path.
        path: String,
        /// The newest version.
        version: u64,
    },
    /// The secret is gone, cannot be read, or may not be read (any longer): which of these is not told.
    Unavailable {
        /// The secret's path.
        path: String,
    },
    /// Changes may have been missed: read everything again.
    Resync,
    /// The session has ended: log in and watch again. The last event.
    SessionEnd,
}

/// A stream of events. Dropping it ends the watch.
pub struct Watch {
    stream: Streaming<WatchResponse>,
}

impl Watch {
    pub(crate) const fn new(stream: Streaming<WatchResponse>) -> Self {
        Self { stream }
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
            let Some(answer) = message? else { return Ok(None) };
            match answer.event() {
                WatchEvent::Changed => return Ok(Some(Event::Changed { path: answer.path, version: answer.version })),
                WatchEvent::Unavailable => return Ok(Some(Event::Unavailable { path: answer.path })),
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
