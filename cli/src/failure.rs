//! What went wrong, told to a person in three lines: what happened, why, what to try next.

use std::{fmt, io, path::Path};

use crate::{
    advice::{self, Attempt},
    exit::Exit,
};

/// The outcome of a command or of a step of one.
pub type Result<T> = std::result::Result<T, Box<Failure>>;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How the command ends.
    pub exit: Exit,
    /// What happened, in a phrase.
    pub what: String,
    /// Why, in a sentence.
    pub why: Option<String>,
    /// What to try next: a command where there is one.
    pub next: Option<String>,
    /// The vault's reason code, where the vault answered.
    pub reason: Option<String>,
    /// The request's id in the vault's logs, where the vault answered.
    pub request_id: Option<String>,
    /// Whether the same command may succeed later.
    pub retryable: bool,
}

impl Failure {
    /// A failure of this kind.
    #[must_use]
    pub fn new(exit: Exit, what: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            exit,
            what: what.into(),
            why: None,
            next: None,
            reason: None,
            request_id: None,
            retryable: matches!(exit, Exit::Unavailable | Exit::Sealed),
        })
    }

    /// Arguments or input are wrong.
    #[must_use]
    pub fn usage(what: impl Into<String>) -> Box<Self> {
        Self::new(Exit::Usage, what)
    }

    /// A file cannot be used.
    #[must_use]
    pub fn file(doing: &str, path: &Path, error: &io::Error) -> Box<Self> {
        Self::new(Exit::Usage, format!("cannot {doing} {}: {}", path.display(), plain(error)))
    }

    /// Says why.
    #[must_use]
    pub fn why(mut self: Box<Self>, why: impl Into<String>) -> Box<Self> {
        self.why = Some(why.into());
        self
    }

    /// Says what to try next.
    #[must_use]
    pub fn next(mut self: Box<Self>, next: impl Into<String>) -> Box<Self> {
        self.next = Some(next.into());
        self
    }

    /// What the vault answered to `attempt`, with the advice for its reason.
    #[must_use]
    pub fn refused(attempt: &Attempt, answer: Answer) -> Box<Self> {
        let message = without_number(&answer.message);
        let message = message.trim_end_matches('.');
        let mut failure = Self::new(Exit::Failed, format!("cannot {}: {message}", attempt.doing));
        if let Some(advice) = answer.reason.as_deref().and_then(advice::for_reason) {
            failure.exit = advice.exit;
            failure.why = (!advice.why.is_empty()).then(|| attempt.fill(advice.why));
            failure.next = (!advice.next.is_empty()).then(|| attempt.fill(advice.next));
        }
        failure.reason = answer.reason;
        failure.request_id = answer.request_id;
        failure.retryable = answer.retryable;
        failure
    }
}

/// What the vault said when it refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The reason code; none where something between here and the vault answered.
    pub reason: Option<String>,
    /// The message.
    pub message: String,
    /// The request's id.
    pub request_id: Option<String>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

/// An I/O error without Rust's `(os error 2)`.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let message = without_number(&text);
    if message.len() == text.len() { text } else { message.to_lowercase() }
}

/// The text without Rust's `(os error 2)`.
fn without_number(text: &str) -> String {
    match text.split_once(" (os error ") {
        Some((before, after)) => format!("{before}{}", after.split_once(')').map_or("", |(_, rest)| rest)),
        None => text.to_owned(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_read_names_the_commands_that_help() {
        let attempt = Attempt::new("read kv/prod/db").at("read", "kv/prod/db").by("operator:alice");
        let answer = Answer {
            reason: Some("NOT_FOUND_OR_DENIED".into()),
            message: "not there, or not permitted.".into(),
            request_id: Some("r1".into()),
            retryable: false,
        };
        let failure = Failure::refused(&attempt, answer);
        assert_eq!(failure.exit, Exit::Denied);
        assert_eq!(failure.what, "cannot read kv/prod/db: not there, or not permitted");
        let next = failure.next.unwrap();
        assert!(next.contains("coffer why operator:alice read kv/prod/db"), "{next}");
        assert!(next.contains("coffer grant read kv/prod/db --to operator:alice"), "{next}");
    }

    #[test]
    fn an_unknown_reason_still_tells_what_happened() {
        let answer = Answer { reason: Some("FROM_THE_FUTURE".into()), message: "odd".into(), ..Answer::default() };
        let failure = Failure::refused(&Attempt::new("read kv/x"), answer);
        assert_eq!((failure.exit, failure.what.as_str()), (Exit::Failed, "cannot read kv/x: odd"));
        assert_eq!(failure.reason.as_deref(), Some("FROM_THE_FUTURE"));
    }

    #[test]
    fn io_errors_are_told_without_their_number() {
        assert_eq!(plain(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(without_number("x: No such file (os error 2): y"), "x: No such file: y");
        assert_eq!(without_number("x"), "x");
    }
}
