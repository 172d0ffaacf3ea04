//! `NUMBER{.NUMBER}[LETTER]{_SUFFIX[NUMBER]}[~HASH][-rNUMBER]` (apk-tools' `apk-package(5)` and its order).

use std::cmp::Ordering;

use super::by_number;

/// Suffixes of what comes before a release, the earliest first.
const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
/// Suffixes of what comes after it.
const AFTER: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];

/// A piece of a version. What is declared first is less, where one version has this and the other that.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Piece<'a> {
    Before(usize),
    End,
    Revision(&'a str),
    Hash(&'a str),
    SuffixNumber(&'a str),
    After(usize),
    Letter(u8),
    Number(&'a str),
    First(&'a str),
}

pub(super) fn compare(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (pieces(one)?, pieces(other)?);
    let mut pairs = one.iter().zip(&other);
    // Both have an end, which is like nothing else.
    Some(pairs.find_map(|(one, other)| Some(by_piece(*one, *other)).filter(|order| order.is_ne())).unwrap_or(Ordering::Equal))
}

fn by_piece(one: Piece<'_>, other: Piece<'_>) -> Ordering {
    match (one, other) {
        // A leading zero makes it a fraction: 1.05 is before 1.1.
        (Piece::Number(one), Piece::Number(other)) if one.starts_with('0') || other.starts_with('0') => one.cmp(other),
        (Piece::First(one), Piece::First(other))
        | (Piece::Number(one), Piece::Number(other))
        | (Piece::SuffixNumber(one), Piece::SuffixNumber(other))
        | (Piece::Revision(one), Piece::Revision(other)) => by_number(one, other),
        (one, other) => one.cmp(&other),
    }
}

fn pieces(version: &str) -> Option<Vec<Piece<'_>>> {
    let mut rest = version;
    let mut pieces = vec![Piece::First(digits(&mut rest).filter(|digits| !digits.is_empty())?)];
    while let Some(after) = rest.strip_prefix('.') {
        rest = after;
        pieces.push(Piece::Number(digits(&mut rest).filter(|digits| !digits.is_empty())?));
    }
    if let Some((letter, after)) =
        rest.split_at_checked(1).filter(|(letter, _)| letter.bytes().all(|byte| byte.is_ascii_lowercase()))
    {
        pieces.extend(letter.bytes().next().map(Piece::Letter));
        rest = after;
    }
    while let Some(after) = rest.strip_prefix('_') {
        let end = after.find(|letter: char| !letter.is_ascii_lowercase()).unwrap_or(after.len());
        let (word, after) = after.split_at_checked(end)?;
        let is = |suffix: &&str| *suffix == word;
        let before = BEFORE.iter().position(is).map(Piece::Before);
        pieces.push(before.or_else(|| AFTER.iter().position(is).map(Piece::After))?);
        rest = after;
        pieces.extend(digits(&mut rest).filter(|digits| !digits.is_empty()).map(Piece::SuffixNumber));
    }
    if let Some(after) = rest.strip_prefix('~') {
        let end = after.find(|letter: char| !letter.is_ascii_hexdigit()).unwrap_or(after.len());
        let (hash, after) = after.split_at_checked(end)?;
        pieces.push(Piece::Hash(hash));
        rest = after;
    }
    if let Some(after) = rest.strip_prefix("-r") {
        rest = after;
        pieces.push(Piece::Revision(digits(&mut rest).filter(|digits| !digits.is_empty())?));
    }
    pieces.push(Piece::End);
    rest.is_empty().then_some(pieces)
}

fn digits<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at_checked(end)?;
    *rest = after;
    Some(digits)
}
