//! How the command ends, as scripts see it.

/// The exit status. Numbers are never given another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Failed in a way that no other status describes.
    Failed,
    /// Arguments or input are wrong.
    Usage,
    /// Not there, or not permitted.
    Denied,
    /// Not logged in, or the login was refused.
    NotLoggedIn,
    /// Sealed, or not initialised.
    Sealed,
    /// The state is not the one that the change was meant for.
    Conflict,
    /// A check did not hold.
    CheckFailed,
    /// Nobody answers, or is too busy to.
    Unavailable,
    /// The status of the program that the command ran in its place (`coffer run`).
    Program(u8),
}

impl Exit {
    /// Every status of the command's own.
    pub const ALL: &[Self] = &[
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Denied,
        Self::NotLoggedIn,
        Self::Sealed,
        Self::Conflict,
        Self::CheckFailed,
        Self::Unavailable,
    ];

    /// The number that the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Denied => 3,
            Self::NotLoggedIn => 4,
            Self::Sealed => 5,
            Self::Conflict => 6,
            Self::CheckFailed => 7,
            Self::Unavailable => 8,
            Self::Program(code) => code,
        }
    }

    /// What the status means, for `coffer help exit-codes`.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed: a fault of the vault or of this machine",
            Self::Usage => "arguments or input are wrong",
            Self::Denied => "not there, or not permitted; for `coffer why`: the request would be denied",
            Self::NotLoggedIn => "not logged in, or the login was refused",
            Self::Sealed => "the vault is sealed or not initialised; for `coffer status` too",
            Self::Conflict => "the state is not the one that the change was meant for, or the name is taken",
            Self::CheckFailed => {
                "a check did not hold: the audit log is not sound, the policy has errors, a host, an image or a workload is not as it should be, or something of a manifest has no counterpart"
            }
            Self::Unavailable => "the vault cannot be reached, does not answer in time or is busy: try again later",
            Self::Program(_) => "what the program that was run ended with",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn codes_are_the_documented_ones() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
