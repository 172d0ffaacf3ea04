//! What went wrong with a database: a kind for the caller, the rest for the server's log.

/// The kind of an error: may be told to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It cannot be used as it is configured: a certificate or host that cannot be.
    #[error("the connection is not configured rightly")]
    Configuration,
    /// Nothing answers there, or not with TLS.
    #[error("the database cannot be reached")]
    Unreachable,
    /// The certificate is not one to believe.
    #[error("the database's certificate is not believed")]
    Certificate,
    /// User or password are wrong, or it lets nobody in.
    #[error("the database refuses the vault's user")]
    Refused,
    /// It has no connection left.
    #[error("the database has no connection left")]
    Busy,
    /// It did not answer in time. What was asked may be done all the same.
    #[error("the database did not answer in time")]
    Timeout,
    /// The connection broke off. What was asked may be done all the same.
    #[error("the connection to the database broke off")]
    Lost,
    /// A statement was refused.
    #[error("the database refuses a statement")]
    Statement,
    /// The user still has sessions.
    #[error("the user still has sessions")]
    Sessions,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}{}{detail}", if detail.is_empty() { "" } else { ": " })]
pub struct DatabaseError {
    /// The kind.
    pub fault: Fault,
    /// What operators need: the number of the statement, the database's code and words, without passwords.
    pub detail: String,
}

impl DatabaseError {
    pub(crate) fn new(fault: Fault, detail: impl Into<String>) -> Self {
        Self { fault, detail: detail.into() }
    }

    /// Whether it may have been done all the same.
    #[must_use]
    pub const fn is_uncertain(&self) -> bool {
        matches!(self.fault, Fault::Timeout | Fault::Lost)
    }
}
