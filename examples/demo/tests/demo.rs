//! The demonstration itself, run as a newcomer runs it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{process::Process, programs::Programs, wait};
use tempfile::TempDir;

/// The demonstration with programs that are built already, and a folder of its own for what it leaves on disk.
fn demo(folder: &TempDir) -> Result<Command> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coffer-demo"));
    command.env("COFFER_TEST_BINARIES", Programs::built()?.folder()).env("TMPDIR", folder.path()).stdin(Stdio::null());
    Ok(command)
}

/// Held by a test while it runs the demonstration: each looks at what the other would leave in memory meanwhile.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What lies in memory, and on disk, of Coffer's.
fn left(folder: &Path) -> Result<Vec<String>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: Vec<String> = names.collect::<Result<_>>()?;
    Ok(names.into_iter().filter(|name| name.starts_with("coffer-")).collect())
}

#[test]
fn the_demonstration_holds_and_leaves_nothing_even_where_it_is_interrupted() -> Result<()> {
    let _alone = alone();
    let (disk, logs, memory) = (tempfile::tempdir()?, tempfile::tempdir()?, Path::new("/dev/shm"));
    let before = left(memory)?;
    let output = demo(&disk)?.output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(text.trim_end().ends_with("No process and no file is left."), "{text}");
    ensure!(left(disk.path())?.is_empty() && left(memory)? == before, "files are left");

    // Interrupted once its server is there.
    let mut process = Process::start(&mut demo(&disk)?, &logs.path().join("log"))?;
    let server = wait::until(wait::PATIENCE, "the server to be started", || Ok(children(process.id())?.into_iter().next()))?;
    process.signal(coffer_tests::process::Signal::INT)?;
    let status = process.wait(Duration::from_secs(20))?;
    ensure!(!status.success(), "an interrupted demonstration has not held");
    ensure!(!Path::new("/proc").join(server.to_string()).exists(), "process {server} is left");
    ensure!(left(disk.path())?.is_empty() && left(memory)? == before, "files are left: {}", process.log()?);
    Ok(())
}

#[test]
fn a_server_that_is_kept_answers_as_it_was_said() -> Result<()> {
    let _alone = alone();
    let disk = tempfile::tempdir()?;
    let output = demo(&disk)?.arg("--keep").output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let line = |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).with_context(|| text.clone());
    let script = format!("{}\n{}\ncoffer status", line("export PATH=")?, line("coffer context set")?);
    let asked = Command::new("sh").args(["-c", &script]).env("HOME", disk.path()).output();
    // Ended as it says, whatever came of the question.
    let end = line("To end it: ")?.trim_start_matches("To end it: ");
    ensure!(Command::new("sh").args(["-c", end]).status()?.success(), "it does not end: {end}");
    let asked = asked?;
    ensure!(asked.status.success(), "{}{}", String::from_utf8_lossy(&asked.stdout), String::from_utf8_lossy(&asked.stderr));
    ensure!(left(disk.path())?.is_empty(), "files are left");
    Ok(())
}

/// The processes that a process has started and not waited for.
fn children(process: u32) -> Result<Vec<u32>> {
    let list = Command::new("ps").args(["-o", "pid=", "--ppid", &process.to_string()]).output()?;
    Ok(String::from_utf8(list.stdout)?.split_whitespace().filter_map(|id| id.parse().ok()).collect())
}
