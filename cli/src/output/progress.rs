//! Telling that something goes on, where it takes longer than a moment.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use super::{Format, Output, one_line};

/// What takes less is not worth a word.
const QUIET: Duration = Duration::from_secs(1);
/// How often the line changes, at most.
const PAUSE: Duration = Duration::from_millis(100);
/// Characters of the line, at most.
const CHARS_MAX: usize = 78;

/// One line on standard error that changes, and is gone at the end. Nothing where standard error is no terminal.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
    next: Option<Instant>,
}

impl Progress {
    /// Begins.
    #[must_use]
    pub fn new(out: &Output) -> Self {
        let wanted = out.format == Format::Table && io::stderr().is_terminal();
        Self { shown: false, next: wanted.then(|| Instant::now() + QUIET) }
    }

    /// Says how far it is, if it is time to.
    pub fn say(&mut self, text: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.next.is_some_and(|next| next <= now) {
            let line: String = one_line(&text()).chars().take(CHARS_MAX).collect();
            self.write(&format!("\r\x1b[2K{line}"));
            self.shown = true;
            self.next = Some(now + PAUSE);
        }
    }

    fn write(&self, text: &str) {
        let mut err = io::stderr().lock();
        drop(err.write_all(text.as_bytes()).and_then(|()| err.flush()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            self.write("\r\x1b[2K");
        }
    }
}
