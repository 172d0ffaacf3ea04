//! Asking on the terminal, without showing what is typed.
//!
//! The terminal is silent before the question is there, so that nothing of a quick answer is shown.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
};

use rustix::{
    process::{Signal, getpid, kill_process},
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};
use zeroize::Zeroizing;

/// The terminal of this process, also where its streams are pipes.
const TERMINAL: &str = "/dev/tty";

/// A terminal that shows nothing and hands on each key as it is. As it was before, once it is dropped.
struct Silent {
    terminal: File,
    before: Termios,
}

impl Silent {
    fn new() -> io::Result<Self> {
        let terminal = File::options().read(true).write(true).open(TERMINAL)?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        // Ctrl-C comes as a key: it must not end this process while the terminal is silent.
        silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        // What was typed before the question was meant for something else, and was shown.
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // There is nobody to tell where that fails: the terminal is gone.
        drop(tcsetattr(&self.terminal, OptionalActions::Now, &self.before).map_err(io::Error::from));
    }
}

/// What a key did to the line.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    Taken,
    Enter,
    Interrupt,
    TooLong,
}

/// Asks, and gives the line that is typed, of at most `max` bytes.
///
/// # Errors
/// `NotFound` and the like where there is no terminal, `Interrupted` on Ctrl-C, `UnexpectedEof` on Ctrl-D,
/// `FileTooLarge` where more than `max` bytes are typed.
pub(super) fn ask(question: &str, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut silent = Silent::new()?;
    silent.terminal.write_all(question.as_bytes())?;
    // With room for all of it: no copy stays behind in memory.
    let mut line = Zeroizing::new(Vec::with_capacity(max));
    let mut too_long = false;
    let outcome = loop {
        let mut key = Zeroizing::new([0_u8]);
        match silent.terminal.read(key.as_mut_slice()) {
            Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => match typed(&mut line, u8::from_ne_bytes(*key), max) {
                Key::Taken => {}
                Key::Enter if too_long => break Err(io::ErrorKind::FileTooLarge.into()),
                Key::Enter => break Ok(line),
                Key::Interrupt => break Err(io::ErrorKind::Interrupted.into()),
                // The rest of what was pasted must not reach whoever reads the terminal next.
                Key::TooLong => too_long = true,
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    drop(silent.terminal.write_all(b"\n"));
    drop(silent);
    if outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
        // What Ctrl-C does elsewhere, now that the terminal is as it was.
        kill_process(getpid(), Signal::INT)?;
    }
    outcome
}

/// Edits the line as terminals do: backspace, Ctrl-U, Ctrl-W; Ctrl-D on an empty line is its end.
fn typed(line: &mut Vec<u8>, key: u8, max: usize) -> Key {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const BACKSPACE: u8 = 8;
    const CTRL_U: u8 = 21;
    const CTRL_W: u8 = 23;
    const DELETE: u8 = 127;
    match key {
        b'\n' | b'\r' => return Key::Enter,
        CTRL_C => return Key::Interrupt,
        CTRL_D if line.is_empty() => return Key::Enter,
        CTRL_D => {}
        CTRL_U => line.clear(),
        CTRL_W => {
            let end = line.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
            line.truncate(end);
            line.truncate(line.iter().rposition(|byte| *byte == b' ').map_or(0, |space| space + 1));
        }
        BACKSPACE | DELETE => {
            // A character of UTF-8 goes as a whole: its further bytes, then its first.
            while line.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {}
        }
        _ if line.len() == max => return Key::TooLong,
        _ => line.push(key),
    }
    Key::Taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_line_is_edited_as_on_a_terminal() {
        for (keys, expected) in [
            ("secret\n", "secret"),
            ("secrex\u{7f}t\r", "secret"),
            ("wrong\u{15}right\n", "right"),
            ("two wörds  \u{17}more\n", "two more"),
            ("ö\u{8}\u{8}x\n", "x"),
            ("a\u{4}b\n", "ab"),
            ("\u{4}", ""),
        ] {
            let mut line = Vec::new();
            let ended = keys.bytes().map(|key| typed(&mut line, key, 64)).find(|key| *key != Key::Taken);
            assert_eq!((ended, String::from_utf8(line).unwrap().as_str()), (Some(Key::Enter), expected), "{keys:?}");
        }
        let mut line = b"full".to_vec();
        assert_eq!(typed(&mut line, b'x', 4), Key::TooLong);
        assert_eq!(typed(&mut line, 3, 4), Key::Interrupt);
    }
}
