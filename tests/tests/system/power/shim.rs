//! Shims between the server and the C library: compiled once a run.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use coffer_tests::server::Server;
use tempfile::TempDir;

fn library() -> Result<PathBuf> {
    static LIBRARY: Library = Library::new();
    LIBRARY.compiled("power/shim.c")
}

/// A library that is compiled when it is needed first.
pub(crate) struct Library(OnceLock<Result<TempDir, String>>);

impl Library {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The library, made from a file beside the tests.
    pub(crate) fn compiled(&self, source: &str) -> Result<PathBuf> {
        let built = self.0.get_or_init(|| build(source).map_err(|error| format!("{error:#}")));
        Ok(built.as_ref().map_err(|error| anyhow!("{error}"))?.path().join("shim.so"))
    }
}

fn build(source: &str) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system")).join(source);
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(folder.path().join("shim.so"))
        .args([source.as_os_str(), "-lpthread".as_ref()])
        .output()
        .context("cc cannot be started: install gcc and libc6-dev")?;
    ensure!(built.status.success(), "the shim does not build: {}", String::from_utf8_lossy(&built.stderr));
    Ok(folder)
}

/// The environment of a server whose store and audit log are watched: `trace` gets all changes, `full` says how much
/// room there is.
pub(crate) fn environment(server: &Server, trace: Option<&Path>, full: Option<&Path>) -> Result<Vec<(String, OsString)>> {
    let mut roots = server.store().into_os_string();
    roots.push(":");
    roots.push(server.audit());
    let mut environment = vec![("LD_PRELOAD".to_owned(), library()?.into()), ("COFFER_SHIM_ROOTS".to_owned(), roots)];
    environment.extend(trace.map(|trace| ("COFFER_SHIM_TRACE".to_owned(), trace.into())));
    environment.extend(full.map(|full| ("COFFER_SHIM_FULL".to_owned(), full.into())));
    Ok(environment)
}
