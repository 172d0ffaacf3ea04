//! `coffer run`.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use coffer_tests::{
    process::{Process, Signal},
    wait,
};

use super::{Office, files, script};

#[tokio::test(flavor = "multi_thread")]
async fn a_program_finds_its_secrets_in_memory_and_nothing_is_left() -> Result<()> {
    let office = Office::new().await?;
    let coffer = &office.developer;
    coffer.ok_with(["kv", "put", "kv/dev/db", "user=app", "password=-"], "canary\n")?;
    let look = "cd $COFFER_FILES && stat -c '%a %n' . * && stat -f -c %T . && cat password && cat all.json; env | grep -c canary; exit 42";
    let ran =
        coffer.run(["run", "--file", "password=kv/dev/db#password", "--file", "all.json=kv/dev/db", "--", "sh", "-c", look])?;
    assert_eq!(ran.code, 42, "{}", ran.stderr);
    assert_eq!(
        ran.stdout,
        "700 .\n400 all.json\n400 password\ntmpfs\ncanary\n{\n  \"password\": \"canary\\n\",\n  \"user\": \"app\"\n}\n0\n"
    );
    let told = coffer.ok(["run", "--file", "a=kv/dev/db#user", "--", "sh", "-c", "echo $0 $1; cat $1", "{b}", "{a}"])?;
    let path = told.split_whitespace().nth(1).context("a path")?;
    assert!(told.starts_with("{b} /") && path.ends_with("/a") && told.ends_with("app"), "{told}");
    assert!(!PathBuf::from(path).exists());
    assert_eq!(files(&coffer.home().join("coffer/run"))?.len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_or_run_starts_nothing() -> Result<()> {
    let office = Office::new().await?;
    let coffer = &office.developer;
    coffer.ok(["kv", "put", "kv/dev/db", "user=app"])?;
    let mark = coffer.home().join("ran");
    let touch = ["--", "touch", mark.to_str().context("a plain path")?];
    for (file, code) in [("a=kv/dev/none", 3), ("a=kv/other#x", 3), ("a=kv/dev/db#none", 3), ("../a=kv/dev/db", 2), ("a", 2)] {
        let ran = coffer.run(["run", "--file", file].into_iter().chain(touch))?;
        assert_eq!(ran.code, code, "{file}: {}", ran.stderr);
    }
    assert!(!mark.exists());
    let missing = coffer.run(["run", "--file", "a=kv/dev/db", "--", "/no/such/program"])?;
    assert_eq!(missing.code, 127, "{}", missing.stderr);
    assert_eq!(files(&coffer.home().join("coffer"))?.iter().filter(|file| file.to_string_lossy().contains("/run/")).count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_the_program_and_a_killed_run_is_cleaned_up_by_the_next() -> Result<()> {
    let office = Office::new().await?;
    let coffer = &office.developer;
    coffer.ok(["kv", "put", "kv/dev/db", "user=canary"])?;
    let home = coffer.home();
    let program = script(
        home,
        "program",
        "trap 'echo got term; exit 7' TERM; trap 'echo got usr1' USR1; echo $$ > \"$HOME/started\"; while :; do sleep 0.05; done",
    )?;
    let start = || -> Result<Process> {
        if home.join("started").exists() {
            fs::remove_file(home.join("started"))?;
        }
        let mut command = coffer.command();
        command.args(["run", "--file", "a=kv/dev/db#user", "--"]).arg(&program);
        let process = Process::start(&mut command, &home.join("log"))?;
        wait::until(wait::PATIENCE, "the program", || {
            Ok(fs::read_to_string(home.join("started")).is_ok_and(|id| id.ends_with('\n')).then_some(()))
        })?;
        Ok(process)
    };
    let folder = home.join("coffer/run");

    let mut process = start()?;
    process.signal(Signal::USR1)?;
    wait::until(wait::PATIENCE, "the program to get it", || Ok(process.log()?.contains("got usr1").then_some(())))?;
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait(wait::PATIENCE)?.code(), Some(7), "{}", process.log()?);
    assert_eq!(files(&folder)?.len(), 0);

    let mut killed = start()?;
    let program: u32 = fs::read_to_string(home.join("started"))?.trim().parse()?;
    killed.kill()?;
    assert_eq!(files(&folder)?.len(), 2, "a killed run leaves the file and its lock");
    assert_eq!(coffer.ok(["run", "--file", "b=kv/dev/db#user", "--", "sh", "-c", "cat $COFFER_FILES/b"])?, "canary");
    assert_eq!(files(&folder)?.len(), 0);
    // It has lost its files, and is nobody's now.
    std::process::Command::new("kill").arg(program.to_string()).status()?;
    Ok(())
}

/// A program that tells in `$HOME/told` when it begins and when it hears of a change, each with what the file has.
const TELLING: &str = "tell() { echo \"$1 $(cat \"$COFFER_FILES/a\")\" >> \"$HOME/told\"; }\n\
                       trap 'tell heard' USR1; trap 'exit 5' TERM; tell began\nwhile :; do sleep 0.05; done";

/// Runs a program with the field `user` of kv/dev/db in the file `a`, and waits until it has begun.
fn watching(office: &Office, options: &[&str]) -> Result<(Process, impl Fn(&str) -> Result<()> + use<>)> {
    let home = office.developer.home().to_owned();
    let program = script(&home, "program", TELLING)?;
    let mut command = office.developer.command();
    command.args(["run", "--watch", "--file", "a=kv/dev/db#user"]).args(options).arg("--").arg(&program);
    let process = Process::start(&mut command, &home.join("log"))?;
    let told = move |what: &str| {
        wait::until(wait::PATIENCE, what, || {
            let told = fs::read_to_string(home.join("told")).unwrap_or_default();
            Ok((told.lines().last() == Some(what)).then_some(()))
        })
    };
    told("began one")?;
    Ok((process, told))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_secret_is_in_the_file_and_starts_the_program_anew() -> Result<()> {
    let office = Office::new().await?;
    let coffer = &office.developer;
    coffer.ok(["kv", "put", "kv/dev/db", "user=one"])?;
    let (mut process, told) = watching(&office, &[])?;
    coffer.ok(["kv", "put", "kv/dev/db", "user=two"])?;
    told("began two")?;
    // A version that no file can be made of changes nothing; nor does one that is gone.
    coffer.ok(["kv", "put", "kv/dev/db", "other=x"])?;
    wait::until(wait::PATIENCE, "a complaint", || Ok(process.log()?.contains("the files stay as they were").then_some(())))?;
    coffer.ok(["kv", "delete", "kv/dev/db"])?;
    wait::until(wait::PATIENCE, "another", || Ok(process.log()?.contains("kv/dev/db is gone").then_some(())))?;
    coffer.ok(["kv", "put", "kv/dev/db", "user=three"])?;
    told("began three")?;
    assert_eq!(fs::read_to_string(coffer.home().join("told"))?, "began one\nbegan two\nbegan three\n");
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait(wait::PATIENCE)?.code(), Some(5), "{}", process.log()?);
    assert_eq!(files(&coffer.home().join("coffer/run"))?.len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_secret_is_told_by_a_signal_where_that_is_asked_for() -> Result<()> {
    let office = Office::new().await?;
    let coffer = &office.developer;
    coffer.ok(["kv", "put", "kv/dev/db", "user=one"])?;
    let (mut process, told) = watching(&office, &["--on-change", "signal=USR1"])?;
    for value in ["two", "three"] {
        coffer.ok(["kv", "put", "kv/dev/db", &format!("user={value}")])?;
        told(&format!("heard {value}"))?;
    }
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait(wait::PATIENCE)?.code(), Some(5), "{}", process.log()?);

    assert_eq!(coffer.run(["run", "--file", "a=kv/dev/db", "--on-change", "none", "--", "true"])?.code, 2);
    // A program that ends by itself is not started again.
    assert_eq!(coffer.run(["run", "--watch", "--file", "a=kv/dev/db", "--", "sh", "-c", "exit 9"])?.code, 9);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_no_file_can_be_made_of_another_secret_comes_with_that_one() -> Result<()> {
    let office = Office::new().await?;
    let coffer = &office.developer;
    coffer.ok(["kv", "put", "kv/dev/key", "pem=x"])?;
    coffer.ok(["kv", "put", "kv/dev/db", "user=one"])?;
    let (mut process, told) = watching(&office, &["--on-change", "signal=USR1", "--file", "b=kv/dev/key#pem"])?;
    let complaints = |count: usize| {
        wait::until(wait::PATIENCE, "a complaint", || {
            Ok((process.log()?.matches("the files stay as they were").count() == count).then_some(()))
        })
    };
    coffer.ok(["kv", "put", "kv/dev/key", "other=y"])?;
    complaints(1)?;
    coffer.ok(["kv", "put", "kv/dev/db", "user=two"])?;
    complaints(2)?;
    coffer.ok(["kv", "put", "kv/dev/key", "pem=z"])?;
    told("heard two")?;
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait(wait::PATIENCE)?.code(), Some(5), "{}", process.log()?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_keeps_its_files_while_the_vault_is_away_and_hears_of_changes_after_it() -> Result<()> {
    let mut office = Office::new().await?;
    office.developer.ok(["kv", "put", "kv/dev/db", "user=one"])?;
    let (mut process, told) = watching(&office, &["--on-change", "signal=USR1"])?;
    office.vault.server.kill()?;
    wait::until(wait::PATIENCE, "a complaint", || Ok(process.log()?.contains("changes are not followed").then_some(())))?;
    office.vault.restart().await?;
    office.developer.ok(["kv", "put", "kv/dev/db", "user=two"])?;
    told("heard two")?;
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait(wait::PATIENCE)?.code(), Some(5), "{}", process.log()?);
    Ok(())
}
