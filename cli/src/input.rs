//! What people hand in: secrets from files, standard input and hidden prompts, and where each comes from.
//!
//! Every source is bounded. Standard input is taken once.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use coffer_secret::{SecretBytes, SecretString};

use crate::failure::{Failure, Result};

mod fields;
mod hidden;

pub use fields::{FIELD_NAME_BYTES_MAX, FIELDS_MAX, FieldArgument, Fields, SECRET_BYTES_MAX, parse_map};

/// Bytes in a password, at most: the vault's own limit.
pub const PASSWORD_BYTES_MAX: usize = 1_024;
/// Bytes in a share, a credential or a token, at most.
pub const CREDENTIAL_BYTES_MAX: usize = 16 << 10;
/// Bytes in a policy, a key set or a certificate, at most.
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// A place to read from: `-` for standard input, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// A source where only a file can be meant: `-`, `@FILE` or `FILE`.
    #[must_use]
    pub fn of_file(text: &str) -> Self {
        match text.strip_prefix('@').unwrap_or(text) {
            "-" => Self::Stdin,
            file => Self::File(file.into()),
        }
    }

    /// A source where a value could be given by mistake: `-` or `@FILE`, nothing else.
    ///
    /// # Errors
    /// Says what to write; the text is not repeated.
    pub fn marked(text: &str) -> std::result::Result<Self, String> {
        match text.strip_prefix('@') {
            _ if text == "-" => Ok(Self::Stdin),
            Some(file) if !file.is_empty() => Ok(Self::File(file.into())),
            _ => Err("write @FILE, or - for standard input".into()),
        }
    }

    /// The source in words, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".into(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// Reads what a command is handed.
#[derive(Debug, Default)]
pub struct Input {
    stdin_taken: AtomicBool,
}

impl Input {
    /// All bytes of a source, at most `max`, as they are.
    ///
    /// # Errors
    /// A source that cannot be read, holds more than `max` bytes, or is standard input for the second time.
    pub fn bytes(&self, source: &Source, max: usize) -> Result<SecretBytes> {
        match source {
            Source::Stdin => {
                if self.stdin_taken.swap(true, Ordering::Relaxed) {
                    return Err(Failure::usage("standard input can be given for one value only"));
                }
                bounded(&mut io::stdin().lock(), max, source)
            }
            Source::File(path) => {
                let mut file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
                if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
                    return Err(Failure::usage(format!("cannot read {}: it is a folder", path.display())));
                }
                bounded(&mut file, max, source)
            }
        }
    }

    /// All text of a source, at most `max` bytes, as it is.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and where it is not UTF-8.
    pub fn text(&self, source: &Source, max: usize) -> Result<SecretString> {
        let bytes = self.bytes(source, max)?;
        bytes.into_text().map_err(|_| Failure::usage(format!("{} is not UTF-8 text", source.name())))
    }

    /// The one line of a source, without its end: a password or a credential.
    ///
    /// # Errors
    /// As [`text`](Self::text), and where there is no line, or more than one.
    pub fn line(&self, source: &Source, max: usize) -> Result<SecretString> {
        // Room for the line's end.
        let text = self.text(source, max + 2)?;
        let line = text.expose();
        let line = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
        if line.is_empty() {
            return Err(Failure::usage(format!("{} is empty", source.name())));
        }
        if line.contains('\n') {
            return Err(Failure::usage(format!("{} has more than one line", source.name())));
        }
        if line.len() > max {
            return Err(too_long(source, max));
        }
        Ok(SecretString::copied_from(line))
    }

    /// The one line of a source, or of a hidden prompt where there is none.
    ///
    /// # Errors
    /// As [`line`](Self::line) and [`hidden`].
    pub fn line_or_hidden(&self, source: Option<&Source>, prompt: &str, option: &str, max: usize) -> Result<SecretString> {
        source.map_or_else(|| hidden(prompt, option, max), |source| self.line(source, max))
    }
}

/// Asks on the terminal, without showing what is typed.
///
/// # Errors
/// Where there is no terminal: names the `option` to use instead; where nothing, or more than `max` bytes, is typed.
pub fn hidden(prompt: &str, option: &str, max: usize) -> Result<SecretString> {
    let typed = hidden::ask(&format!("{prompt} (hidden): "), max).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::UnexpectedEof => Failure::usage("nothing was typed"),
        io::ErrorKind::FileTooLarge => Failure::usage(format!("what was typed is longer than {max} bytes")),
        _ => Failure::usage(format!("{} is wanted, and there is no terminal to ask on", prompt.to_lowercase())).next(option),
    })?;
    if typed.is_empty() {
        return Err(Failure::usage("nothing was typed"));
    }
    SecretBytes::copied_from(&typed).into_text().map_err(|_| Failure::usage("what was typed is not UTF-8 text"))
}

/// Asks twice, for a new password.
///
/// # Errors
/// As [`hidden`], and where the two differ.
pub fn hidden_twice(prompt: &str, option: &str, max: usize) -> Result<SecretString> {
    let first = hidden(prompt, option, max)?;
    let second = hidden(&format!("{prompt} again"), option, max)?;
    if first.same(&second) { Ok(first) } else { Err(Failure::usage("the two are not the same")) }
}

/// Whether somebody sits at standard input, and could have meant to pipe something in.
#[must_use]
pub fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

fn bounded(reader: &mut impl Read, max: usize, source: &Source) -> Result<SecretBytes> {
    let mut bytes = SecretBytes::with_capacity(4_096);
    let mut chunk = zeroize::Zeroizing::new([0_u8; 4_096]);
    loop {
        match reader.read(chunk.as_mut_slice()) {
            Ok(0) => return Ok(bytes),
            Ok(length) => bytes.append(chunk.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::file("read", Path::new(&source.name()), &error)),
        }
        if bytes.len() > max {
            return Err(too_long(source, max));
        }
    }
}

fn too_long(source: &Source, max: usize) -> Box<Failure> {
    Failure::usage(format!("{} is longer than {max} bytes", source.name()))
}

#[cfg(test)]
mod tests;
