//! The shim between the server and the C library: compiled once a run.

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
    static LIBRARY: OnceLock<Result<TempDir, String>> = OnceLock::new();
    let built = LIBRARY.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    Ok(built.as_ref().map_err(|error| anyhow!("{error}"))?.path().join("shim.so"))
}

fn build() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/power/shim.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(folder.path().join("shim.so"))
        .args([source, "-lpthread"])
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
