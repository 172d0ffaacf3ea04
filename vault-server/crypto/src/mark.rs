//! Marks: keyed hashes of what looks machine-made in a text. Whoever has those of a value can see that a text has the value in it,
//! without having the value.
//!
//! A text is taken apart into runs of letters, digits, `-`, `_` and `+`. A run is marked where it is long and mixed enough to be guessed
//! by nobody: a password that a person thought of has no mark, nor has a word, a name or a path.

use std::ops::Range;

use crate::hash::HmacKey;

/// Bytes of a run that is marked, at least.
pub const RUN_BYTES_MIN: usize = 16;
/// Bytes of a run that its mark is of, at most: what is behind them does not matter.
pub const RUN_BYTES_MARKED: usize = 64;
/// Bytes of a mark.
pub const MARK_BYTES: usize = 8;
/// Different characters of a run that is marked, at least.
const CHARACTERS_MIN: u32 = 8;
/// Digits of a run that is marked, at least.
const DIGITS_MIN: usize = 1;
/// Of so many neighbours two are of different kinds, at least: small letters, capitals and digits.
const CHANGE_EVERY_MAX: usize = 6;

/// What stands for a run.
pub type Mark = [u8; MARK_BYTES];

/// The key of marks: those of one key say nothing about those of another. It is wiped when dropped.
pub struct MarkKey(HmacKey);

impl MarkKey {
    /// The key of these bytes, which are random, and the caller's to wipe.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(HmacKey::new(key))
    }

    /// The mark of a run.
    #[must_use]
    pub fn mark(&self, run: &[u8]) -> Mark {
        let mut mark = Mark::default();
        for (byte, tag) in mark.iter_mut().zip(self.0.tag(run)) {
            *byte = tag;
        }
        mark
    }
}

/// The runs of a text that are marked, each as far as its mark is of it.
pub fn runs(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut begin = 0;
    text.split(|byte| !is_part(*byte)).filter_map(move |run| {
        let at = begin;
        begin += run.len() + 1;
        let marked = run.get(..RUN_BYTES_MARKED).unwrap_or(run);
        is_made(marked).then(|| at..at + marked.len())
    })
}

/// Whether a byte can be in a run.
#[must_use]
pub const fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+')
}

#[derive(PartialEq, Clone, Copy)]
enum Class {
    Small,
    Capital,
    Digit,
}

fn is_made(run: &[u8]) -> bool {
    if run.len() < RUN_BYTES_MIN {
        return false;
    }
    let (mut seen, mut digits, mut changes, mut last) = (0_u128, 0, 0, None);
    for byte in run {
        seen |= 1 << (byte & 0x7f);
        let class = match byte {
            b'0'..=b'9' => Class::Digit,
            b'a'..=b'z' => Class::Small,
            b'A'..=b'Z' => Class::Capital,
            _ => continue,
        };
        digits += usize::from(class == Class::Digit);
        changes += usize::from(last.replace(class).is_some_and(|last| last != class));
    }
    digits >= DIGITS_MIN && seen.count_ones() >= CHARACTERS_MIN && changes * CHANGE_EVERY_MAX >= run.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<&str> {
        runs(text.as_bytes()).map(|range| text.get(range).unwrap()).collect()
    }

    #[test]
    fn what_machines_make_is_marked() {
        for made in [
            "550e8400-e29b-41d4-a716-446655440000",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
            "hvs-CAESIJ2v8Kq1",
        ] {
            assert_eq!(of(made), [made]);
            assert_eq!(of(&format!("password: \"{made}\"\n")), [made]);
        }
    }

    #[test]
    fn what_people_write_is_not() {
        for written in [
            "correct-horse-battery-staple",
            "x86_64-linux-gnu-config",
            "getElementByIdFromDocument",
            "auth_provider_x509_cert_url",
            "postgres-14-primary-replica",
            "2026-11-29-20-17-33",
            "a1a1a1a1a1a1a1a1a1",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "com.example.ThisIsTheNameOfAClass",
        ] {
            assert!(of(written).is_empty(), "{written}");
        }
    }

    #[test]
    fn a_run_is_marked_from_its_least_length_on_and_as_far_as_it_counts() {
        let long: String = "9f86d081884c7d65".repeat(5);
        let first = |bytes: usize| long.get(..bytes).unwrap();
        assert_eq!(of(first(RUN_BYTES_MIN)), [first(RUN_BYTES_MIN)]);
        assert!(of(first(RUN_BYTES_MIN - 1)).is_empty());
        assert_eq!(of(&long), [first(RUN_BYTES_MARKED)]);
        assert_eq!(of(&format!("{long}/{long}")).len(), 2);
    }

    #[test]
    fn each_measure_of_a_run_counts_from_its_own_limit_on() {
        // Different characters, a digit, and how often one kind follows another.
        for (enough, too_little) in [
            ("a1b2c3d4a1b2c3d4", "a1b2c3d3a1b2c3d3"),
            ("aBcDeFgHiJkLmNo1", "aBcDeFgHiJkLmNoP"),
            ("abcde1fghijkl2mnopqrstuv", "abcde1fghijkl2mnopqrstuvw"),
        ] {
            assert_eq!((of(enough).len(), of(too_little).len()), (1, 0), "{enough}, {too_little}");
        }
    }

    #[test]
    fn a_mark_is_of_one_key_and_one_run() {
        let (one, two) = (MarkKey::new(&[1; 32]), MarkKey::new(&[2; 32]));
        assert_eq!(one.mark(b"550e8400-e29b-41d4"), MarkKey::new(&[1; 32]).mark(b"550e8400-e29b-41d4"));
        assert_ne!(one.mark(b"550e8400-e29b-41d4"), two.mark(b"550e8400-e29b-41d4"));
        assert_ne!(one.mark(b"550e8400-e29b-41d4"), one.mark(b"550e8400-e29b-41d5"));
    }
}
