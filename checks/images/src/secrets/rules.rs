//! What secrets look like: a table a family.

mod assigned;
mod ci;
mod cloud;
mod keys;
mod saas;
mod shape;

pub(crate) use shape::{Charset, Shape};

/// How sure a rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// Likely a secret: worth a look.
    Likely,
    /// Surely one: nothing else looks like it.
    Sure,
}

/// What one kind of secret looks like.
#[derive(Debug)]
pub struct Rule {
    /// The kind's name, which is never given another meaning.
    pub id: &'static str,
    /// What it is, with its article: "a GitHub token".
    pub what: &'static str,
    /// How sure it is.
    pub certainty: Certainty,
    /// What it is found by: one of these is in each such secret or just before it. Lower and upper case are one where the shape says so.
    pub(crate) keywords: &'static [&'static str],
    /// What must be around the keyword.
    pub(crate) shape: Shape,
}

/// The tables of rules.
const TABLES: &[&[Rule]] = &[keys::RULES, cloud::RULES, ci::RULES, saas::RULES, assigned::RULES];

/// Every rule.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    TABLES.iter().copied().flatten()
}

/// A token that begins with the keyword, which is followed by characters of this set, this many of them.
const fn token(
    id: &'static str,
    what: &'static str,
    keywords: &'static [&'static str],
    charset: Charset,
    min: usize,
    max: usize,
) -> Rule {
    Rule { id, what, certainty: Certainty::Sure, keywords, shape: Shape::Token { charset, min, max, valid: shape::any } }
}

impl Rule {
    /// Only likely.
    const fn likely(mut self) -> Self {
        self.certainty = Certainty::Likely;
        self
    }

    /// Only where this holds of the whole token.
    const fn valid(mut self, holds: fn(&[u8]) -> bool) -> Self {
        if let Shape::Token { charset, min, max, .. } = self.shape {
            self.shape = Shape::Token { charset, min, max, valid: holds };
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_different_and_plain() {
        let mut seen = HashSet::new();
        for rule in rules() {
            assert!(seen.insert(rule.id), "{}", rule.id);
            assert!(
                rule.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{}",
                rule.id
            );
            assert!(rule.what.starts_with("a ") || rule.what.starts_with("an "), "{}", rule.what);
        }
    }

    #[test]
    fn keywords_are_long_enough_to_be_rare() {
        for rule in rules() {
            assert!(!rule.keywords.is_empty(), "{}", rule.id);
            assert!(rule.keywords.iter().all(|keyword| keyword.len() >= 3), "{}", rule.id);
        }
    }
}
