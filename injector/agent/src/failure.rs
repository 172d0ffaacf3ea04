//! How the agent ends when it cannot do its work.

use std::process::ExitCode;

use crate::{config::ConfigError, output::OutputError, render::RenderError};

/// Why the agent ends. `Display` is for the person who reads the pod's log: what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A fault of the agent's own, or of the system under it.
    #[error("{0}")]
    Internal(String),
    /// Settings or templates are wrong.
    #[error("{0}")]
    Config(String),
    /// The vault was not available in time.
    #[error("{0}")]
    Unavailable(String),
    /// The vault refused.
    #[error("{0}")]
    Refused(String),
    /// The files cannot be written.
    #[error("{0}")]
    Output(#[from] OutputError),
    /// Not all files are there.
    #[error("{0}")]
    NotReady(String),
}

impl Failure {
    /// The exit code; docs/agent.md lists them.
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Internal(_) => 1,
            Self::Config(_) => 2,
            Self::Unavailable(_) => 3,
            Self::Refused(_) => 4,
            Self::Output(_) => 5,
            Self::NotReady(_) => 6,
        }
    }

    /// The exit code, as the process gives it.
    pub(crate) fn exit(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error.to_string())
    }
}

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        Self::Config(error.to_string())
    }
}
