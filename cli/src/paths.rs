//! Where the command keeps what it remembers.

use std::path::{Path, PathBuf};

/// The command's own files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Contexts: addresses and CA files, no credential.
    pub config: PathBuf,
    /// The folder of sessions: in memory where the system offers it, else beside the contexts.
    pub sessions: PathBuf,
}

impl Paths {
    /// The places, from what the environment says: `$COFFER_CONFIG`, the user's configuration folder and the
    /// user's run-time folder, which is in memory and gone after the last logout.
    #[must_use]
    pub fn new(config: Option<PathBuf>, config_home: &Path, runtime: Option<&Path>) -> Self {
        let config = config.unwrap_or_else(|| config_home.join("coffer/config.toml"));
        let sessions = match runtime.filter(|folder| folder.is_dir()) {
            Some(runtime) => runtime.join("coffer"),
            None => config.with_file_name("sessions"),
        };
        Self { config, sessions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_live_in_the_run_time_folder_where_there_is_one() {
        let runtime = tempfile::tempdir().unwrap();
        let home = Path::new("/home/ada/.config");
        let paths = Paths::new(None, home, Some(runtime.path()));
        assert_eq!(paths.config, Path::new("/home/ada/.config/coffer/config.toml"));
        assert_eq!(paths.sessions, runtime.path().join("coffer"));
        for missing in [None, Some(Path::new("/nonexistent"))] {
            let paths = Paths::new(Some("/etc/x/c.toml".into()), home, missing);
            assert_eq!(paths.sessions, Path::new("/etc/x/sessions"));
        }
    }
}
