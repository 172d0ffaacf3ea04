//! Secrets in any bytes: found by keywords in one pass, then looked at closely, so that the time is linear in what is read.

use std::{
    io::{self, Read},
    ops::Range,
    sync::LazyLock,
};

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};

mod assignment;
mod checksum;
mod credentials;
mod pem;
mod published;
mod real;
mod rules;
mod stored;

pub use rules::{Certainty, Rule, rules};
pub use stored::Stored;

/// Bytes that are looked at together, beside what is kept of those before.
const WINDOW_BYTES: usize = 256 << 10;
/// Bytes that a secret and what is around it have, at most: what begins in the last of a window is looked at in the next.
const REACH_BYTES: usize = pem::PEM_BYTES_MAX + 1024;
/// Bytes before a keyword that matter.
const BEHIND_BYTES: usize = 512;
/// Bytes at the beginning of a file that tell whether it is a text.
const TEXT_SAMPLE_BYTES: usize = 8 << 10;
/// Secrets in one file that are told, at most.
pub const FILE_SECRETS_MAX: usize = 200;

/// A secret that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// What it is.
    pub what: What,
    /// Its line, from 1; none in what is no text.
    pub line: Option<u64>,
    /// Where it is, in bytes from the beginning.
    range: Range<u64>,
}

/// What a secret is.
#[derive(Debug, Clone, Copy)]
pub enum What {
    /// Something that looks like this.
    Like(&'static Rule),
    /// A value that the vault stores, whatever it looks like.
    Stored,
}

impl What {
    /// Its kind's name, which is never given another meaning.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Like(rule) => rule.id,
            Self::Stored => "stored-value",
        }
    }

    /// Whether it is surely a secret.
    pub(crate) fn is_sure(self) -> bool {
        self.certainty() >= (false, Certainty::Sure)
    }

    /// How sure it is, the surest last.
    fn certainty(self) -> (bool, Certainty) {
        match self {
            Self::Like(rule) => (false, rule.certainty),
            Self::Stored => (true, Certainty::Sure),
        }
    }
}

/// Looks for secrets.
pub struct Scanner {
    exact: &'static Keywords,
    folded: &'static Keywords,
    stored: Option<Stored>,
    /// Kept from file to file, for most are small.
    buffer: Vec<u8>,
}

/// Keywords, and the rule of each.
#[derive(Debug)]
struct Keywords {
    automaton: AhoCorasick,
    rules: Vec<&'static Rule>,
}

impl Keywords {
    fn new(folded: bool) -> Self {
        let all = rules().filter(|rule| rule.shape.ignores_case() == folded);
        let (keywords, rules): (Vec<&str>, Vec<&Rule>) =
            all.flat_map(|rule| rule.keywords.iter().map(move |keyword| (*keyword, rule))).unzip();
        let mut builder = AhoCorasickBuilder::new();
        builder.match_kind(MatchKind::Standard).kind(Some(AhoCorasickKind::DFA)).ascii_case_insensitive(folded);
        // It fails for more states than 32 bits count, and there are some thousands.
        let automaton = builder.build(keywords).unwrap_or_else(|error| unreachable!("{error}"));
        Self { automaton, rules }
    }

    fn find(&self, text: &[u8], mut each: impl FnMut(&'static Rule, Range<usize>)) {
        for keyword in self.automaton.find_overlapping_iter(text) {
            if let Some(rule) = self.rules.get(keyword.pattern().as_usize()) {
                each(rule, keyword.range());
            }
        }
    }
}

impl Default for Scanner {
    fn default() -> Self {
        // Made once: that takes longer than a small image.
        static EXACT: LazyLock<Keywords> = LazyLock::new(|| Keywords::new(false));
        static FOLDED: LazyLock<Keywords> = LazyLock::new(|| Keywords::new(true));
        let buffer = vec![0; WINDOW_BYTES + REACH_BYTES + BEHIND_BYTES];
        Self { exact: &EXACT, folded: &FOLDED, stored: None, buffer }
    }
}

impl Scanner {
    /// One that also looks for what a vault stores.
    #[must_use]
    pub fn with(stored: Option<Stored>) -> Self {
        Self { stored, ..Self::default() }
    }

    /// The secrets in a short text.
    #[must_use]
    pub fn text(&mut self, text: &str) -> Vec<Found> {
        self.read(text.as_bytes()).unwrap_or_default()
    }

    /// The secrets in what is read, [`FILE_SECRETS_MAX`] of them at most. It is read to its end, in little memory.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(&mut self, reader: impl Read) -> io::Result<Vec<Found>> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let found = self.read_with(&mut buffer, reader);
        self.buffer = buffer;
        found
    }

    fn read_with(&self, buffer: &mut [u8], mut reader: impl Read) -> io::Result<Vec<Found>> {
        let (mut filled, mut begin, mut base, mut lines) = (0, 0, 0_u64, 1_u64);
        let mut is_text = None;
        let mut found = Vec::new();
        loop {
            let free = buffer.get_mut(filled..).unwrap_or_default();
            let read = fill(&mut reader, free)?;
            filled += read;
            let is_end = read == 0 || filled < buffer.len();
            let window = buffer.get(..filled).unwrap_or_default();
            let is_text = *is_text.get_or_insert_with(|| {
                memchr::memchr(0, window.get(..filled.min(TEXT_SAMPLE_BYTES)).unwrap_or_default()).is_none()
            });
            let end = if is_end { filled } else { filled - REACH_BYTES };
            self.look(window, begin..end, is_text, |what, range| {
                if found.len() < FILE_SECRETS_MAX {
                    let line = is_text.then(|| lines + newlines(window.get(begin..range.start).unwrap_or_default()));
                    found.push(Found { what, line, range: base + range.start as u64..base + range.end as u64 });
                }
            });
            if is_end {
                return Ok(distinct(found));
            }
            let keep = end - BEHIND_BYTES;
            lines += newlines(window.get(begin..end).unwrap_or_default());
            buffer.copy_within(keep..filled, 0);
            (filled, begin, base) = (filled - keep, BEHIND_BYTES, base + keep as u64);
        }
    }

    /// What begins in `begin`.
    fn look(&self, window: &[u8], begin: Range<usize>, is_text: bool, mut each: impl FnMut(What, Range<usize>)) {
        if let Some(stored) = &self.stored {
            stored.look(window, begin.clone(), |range| each(What::Stored, range));
        }
        let mut check = |rule: &'static Rule, at: Range<usize>| {
            if begin.contains(&at.start)
                && (is_text || !rule.shape.is_for_text())
                && let Some(range) = rule.shape.find(window, at)
            {
                each(What::Like(rule), range);
            }
        };
        self.exact.find(window, &mut check);
        if is_text {
            self.folded.find(window, &mut check);
        }
    }
}

/// Whether a variable's name says that it is secret, and its value is no example of one and no name of a file.
pub(crate) fn is_secret_value(name: &str, value: &str) -> bool {
    coffer_checks::is_secret_name(name) && real::is_password(value.trim().trim_matches(['"', '\'']).as_bytes())
}

/// Reads until the buffer is full or there is no more.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
        match reader.read(free) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn newlines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// Of those that overlap the surest, and of these the first.
fn distinct(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|found| (std::cmp::Reverse(found.what.certainty()), found.range.start));
    let mut kept: Vec<Found> = Vec::new();
    for found in found {
        if !kept.iter().any(|kept| kept.range.start < found.range.end && found.range.start < kept.range.end) {
            kept.push(found);
        }
    }
    kept.sort_by_key(|found| found.range.start);
    kept
}

#[cfg(test)]
mod tests;
