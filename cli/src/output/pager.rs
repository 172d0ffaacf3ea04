//! Paging long text on a terminal.

use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
};

/// Rows of a terminal that does not say how many it has.
const ROWS_DEFAULT: usize = 24;

/// Whether the text has more lines than the terminal.
pub(super) fn is_needed(text: &str) -> bool {
    let rows = |size: rustix::termios::Winsize| if size.ws_row == 0 { ROWS_DEFAULT } else { usize::from(size.ws_row) };
    // The prompt wants a line too.
    rustix::termios::tcgetwinsize(io::stdout()).is_ok_and(|size| text.lines().count() >= rows(size))
}

/// Shows the text with the pager; tells whether there was one.
pub(super) fn page(command: &str, text: &str) -> bool {
    let Ok(mut pager) = Command::new("/bin/sh").arg("-c").arg(command).stdin(Stdio::piped()).spawn() else { return false };
    if let Some(mut input) = pager.stdin.take() {
        let colour = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        let text = if colour { text.to_owned() } else { anstream::adapter::strip_str(text).to_string() };
        // Whoever quits the pager early has seen enough.
        drop(input.write_all(text.as_bytes()).and_then(|()| input.flush()));
    }
    // 127 is how a shell says that there is no such program.
    pager.wait().is_ok_and(|status| status.code() != Some(127))
}
