//! What went wrong, for people.

/// Characters of what a registry says that are passed on.
const TOLD_CHARS_MAX: usize = 200;

/// Why a registry was not asked, or its answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody answers there, or not as TLS wants it.
    #[error("the registry {host} cannot be reached: {why}")]
    Unreachable {
        /// The host that was asked.
        host: String,
        /// What happened.
        why: String,
    },
    /// It took longer than it may.
    #[error("the registry {host} takes too long to answer")]
    TooLong {
        /// The host that was asked.
        host: String,
    },
    /// The registry refuses.
    #[error("the registry {host} answers {status}{told}: {advice}")]
    Refused {
        /// The host that answered.
        host: String,
        /// The status of HTTP.
        status: u16,
        /// Its own code and words in parentheses, where it has any: one printable line.
        told: String,
        /// What to do.
        advice: &'static str,
    },
    /// The answer is not what a registry may answer.
    #[error("the registry {host} answers wrongly: {why}")]
    Wrong {
        /// The host that answered.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// It would have to be told a credential that it must not be told.
    #[error("the registry {host} is told no password: {why}")]
    Withheld {
        /// The host.
        host: String,
        /// Why not.
        why: &'static str,
    },
}

impl Error {
    pub(crate) fn wrong(host: &str, why: impl Into<String>) -> Self {
        Self::Wrong { host: host.to_owned(), why: why.into() }
    }

    pub(crate) fn unreachable(host: &str, why: impl ToString) -> Self {
        Self::Unreachable { host: host.to_owned(), why: why.to_string() }
    }

    /// Whether the same question may be answered later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooLong { .. } => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::Wrong { .. } | Self::Withheld { .. } => false,
        }
    }
}

/// Why settings are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub(crate) String);

/// What a registry says, as one line that can be shown: it is the registry's choice, and somebody's terminal.
pub(crate) fn printable(text: &str) -> String {
    let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let line: String = text.chars().take(TOLD_CHARS_MAX).map(printable).collect();
    if text.chars().nth(TOLD_CHARS_MAX).is_some() { line + "..." } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_is_one_printable_line() {
        assert_eq!(printable("no such\n\u{1b}[31mtag \u{202e}"), "no such??[31mtag ?");
        assert_eq!(printable(&"x".repeat(TOLD_CHARS_MAX)), "x".repeat(TOLD_CHARS_MAX));
        assert_eq!(printable(&"x".repeat(TOLD_CHARS_MAX + 1)), "x".repeat(TOLD_CHARS_MAX) + "...");
    }
}
