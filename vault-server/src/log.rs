//! The server's log, and changing what goes into it.

use std::io::IsTerminal;

use anyhow::{Context, anyhow};
use tracing_subscriber::EnvFilter;

use crate::config::{self, LogFormat};

/// Changes what goes into the log while it is written.
pub(crate) struct LogFilter(Box<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>);

impl LogFilter {
    pub(crate) fn set(&self, filter: EnvFilter) -> anyhow::Result<()> {
        (self.0)(filter)
    }
}

/// Reads a filter.
pub(crate) fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(level).with_context(|| format!("log.level: {level:?} is neither a level nor a filter by module"))
}

/// Begins to write the log.
pub(crate) fn start(log: &config::Log) -> anyhow::Result<LogFilter> {
    let filter = filter(&log.level)?;
    let log_to = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let (started, change): (_, Box<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>) = match log.format {
        LogFormat::Text => {
            let log_to = log_to.with_target(false).with_env_filter(filter).with_filter_reloading();
            let handle = log_to.reload_handle();
            (log_to.try_init(), Box::new(move |filter| Ok(handle.reload(filter)?)))
        }
        LogFormat::Json => {
            let log_to = log_to.json().with_env_filter(filter).with_filter_reloading();
            let handle = log_to.reload_handle();
            (log_to.try_init(), Box::new(move |filter| Ok(handle.reload(filter)?)))
        }
    };
    started.map_err(|error| anyhow!("the log cannot be written: {error}"))?;
    Ok(LogFilter(change))
}
