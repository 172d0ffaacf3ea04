//! Why the engine refuses.

use coffer_barrier::BarrierError;
use coffer_databases::TemplateError;

/// Why the engine refuses.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseEngineError {
    /// A name that is not one.
    #[error("the name is not one")]
    Name,
    /// A part of a connection cannot be.
    #[error("{0}")]
    Setting(&'static str),
    /// A role's statements cannot be used.
    #[error("{0}")]
    Statements(#[from] TemplateError),
    /// There is none of this name.
    #[error("there is none of this name")]
    NotFound,
    /// A role names a connection that there is not.
    #[error("there is no such connection in this mount")]
    NoConnection,
    /// Roles need the connection.
    #[error("the role {0} needs the connection")]
    Needed(String),
    /// Another static role has one of the users.
    #[error("the static role {0} has one of these users already")]
    Taken(String),
    /// There are too many.
    #[error("there are {} already", coffer_core::limits::DATABASE_NAMES_MAX)]
    TooMany,
    /// A record cannot be read or written.
    #[error("a record cannot be read")]
    Record,
    /// The barrier failed.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
}
