//! A crash leaves no core file: it would have the secrets of the process in it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{
    memory,
    process::{Process, Signal},
    programs::Programs,
    server::Server,
    wait,
};

/// A shell's commands: as large core files as this machine allows, in a folder of their own.
fn prelude(folder: &Path) -> String {
    format!("ulimit -S -c \"$(ulimit -H -c)\" && cd '{}' || exit 9", folder.display())
}

fn core_files(folder: &Path) -> Result<usize> {
    Ok(fs::read_dir(folder)?.count())
}

/// Whether this machine writes a core file into the folder of a process that crashes; a process that does nothing about
/// it shows that. A pipe (`core_pattern` begins with `|`) gets the dump of whoever has a limit above zero all the same.
fn machine_writes_them() -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let crash = format!("{}\nkill -ABRT $$", prelude(folder.path()));
    let ended = Command::new("/bin/sh").args(["-c", &crash]).stderr(Stdio::null()).status()?;
    ensure!(ended.code().is_none(), "the control did not crash: {ended}");
    Ok(core_files(folder.path())? == 1)
}

/// The process has taken its right to core files from itself, both limits.
fn wait_for_limit(process: &Process) -> Result<()> {
    let limits = Path::new("/proc").join(process.id().to_string()).join("limits");
    wait::until(wait::PATIENCE, "the limit on core files", || {
        let limits = fs::read_to_string(&limits)?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).context("it is a limit")?;
        Ok((line.split_whitespace().take(2).collect::<Vec<_>>() == ["0", "0"]).then_some(()))
    })
}

fn crash(process: &mut Process, signal: Signal, folder: &Path) -> Result<()> {
    wait_for_limit(process)?;
    // Again and again: a first SIGSEGV only has Rust's handler for stacks that overflow step aside.
    let ended = wait::until(wait::PATIENCE, "the crash", || {
        drop(process.signal(signal));
        process.ended()
    })?;
    ensure!(ended.code().is_none(), "{signal:?} did not end it: {ended}");
    let found = core_files(folder)?;
    ensure!(found == 0, "{signal:?} left {found} files");
    Ok(())
}

#[test]
fn a_server_that_crashes_leaves_no_core_file() -> Result<()> {
    let machine = machine_writes_them()?;
    println!("this machine {} core files", if machine { "writes" } else { "writes no" });
    for signal in [Signal::ABORT, Signal::SEGV] {
        let folder = tempfile::tempdir()?;
        let mut server = Server::new(Programs::built()?)?;
        server.set_prelude(&prelude(folder.path()));
        server.start()?;
        crash(server.process()?, signal, folder.path())?;
    }
    Ok(())
}

#[test]
fn an_agent_that_crashes_leaves_no_core_file() -> Result<()> {
    machine_writes_them()?;
    let programs = Programs::built()?;
    for signal in [Signal::ABORT, Signal::SEGV] {
        let (folder, pod) = (tempfile::tempdir()?, memory::folder()?);
        fs::create_dir(pod.path().join("secrets"))?;
        fs::write(pod.path().join("token"), "no token yet")?;
        // A vault that nobody answers for: the agent tries again until the signal comes.
        let agent = format!(
            "{}\nexec '{}' sidecar --address https://127.0.0.1:1 --ca-file '{}' --secret a=kv/a --directory '{}' --token-file '{}'",
            prelude(folder.path()),
            programs.agent().display(),
            certificate(&pod)?.display(),
            pod.path().join("secrets").display(),
            pod.path().join("token").display(),
        );
        let mut process = Process::start(Command::new("/bin/sh").env_clear().args(["-c", &agent]), &pod.path().join("log"))?;
        crash(&mut process, signal, folder.path()).with_context(|| process.log().unwrap_or_default())?;
    }
    Ok(())
}

fn certificate(folder: &tempfile::TempDir) -> Result<std::path::PathBuf> {
    let path = folder.path().join("ca.pem");
    fs::write(&path, rcgen::generate_simple_self_signed(["nobody".to_owned()])?.cert.pem())?;
    Ok(path)
}
