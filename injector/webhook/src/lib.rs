//! The Coffer injector: an admission webhook that gives a pod the agent, its memory and its token, as the pod's annotations
//! ask for. docs/injection.md is its manual.
//!
//! The way of a pod: `admission` reads the API server's question; `annotations` says what the pod asks for, and refuses what it does
//! not understand; `agent_config` writes that down for the agent, which reads it here as it will there; `injection` makes the patch.
//! All of that is a pure function, of what registries say about the pod's images too: `pins` knows which are asked for, and `pinner` asks. `server` answers, with what `certificate` makes and `keeper` keeps in the cluster.

pub mod admission;
mod agent_config;
pub mod annotations;
pub mod certificate;
pub mod injection;
pub mod keeper;
mod metrics;
pub mod pinner;
pub mod pins;
pub mod program;
pub mod server;

pub use metrics::Metrics;

/// Why a pod is refused: what is wrong, and what to write instead. Shown to whoever creates the pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

impl Refusal {
    /// A refusal for an annotation, by its name without the prefix.
    pub(crate) fn of(annotation: &str, why: impl AsRef<str>) -> Self {
        Self(format!("annotation {}{annotation}: {}", annotations::PREFIX, why.as_ref()))
    }

    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}
