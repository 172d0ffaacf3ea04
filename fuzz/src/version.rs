//! Versions: there is one order, whatever they are.

use std::cmp::Ordering;

use coffer_packages::{Ecosystem, compare};

pub(crate) const WORDS: &[&str] = &[
    "\n",
    "1.0.0",
    "1:",
    "~",
    "~rc1",
    "+b1",
    "-1",
    "-r1",
    "_rc",
    "_p1",
    "_alpha",
    "_git20200101",
    "-0.20200101000000-abcdef",
    "v1",
    "go1.21",
    "rc2",
    "00",
    "99999999999999999999999",
    ".",
    "-",
    "a",
    "+incompatible",
    " X:a",
];

pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.lines();
    let (a, b, c) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    for ecosystem in Ecosystem::ALL {
        let compared = |one: &str, other: &str| compare(*ecosystem, one, other);
        assert_eq!(compared(a, b), compared(b, a).map(Ordering::reverse), "{ecosystem}: {a} {b}");
        assert!(compared(a, a).is_none_or(Ordering::is_eq), "{ecosystem}: {a}");
        let (Some(one), Some(other), Some(whole)) = (compared(a, b), compared(b, c), compared(a, c)) else { continue };
        assert!(!(one.is_le() && other.is_le()) || whole.is_le(), "{ecosystem}: {a} {b} {c}");
        assert!(!(one.is_eq() && other.is_eq()) || whole.is_eq(), "{ecosystem}: {a} {b} {c}");
    }
}
