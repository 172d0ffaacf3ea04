//! What `coffer kv get` costs: time from its start to its end, and memory.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::programs::Programs;

use crate::vault::{PATH, Vault};

/// Tells what a program took up.
const TIME: &str = "/usr/bin/time";

/// Measures it for so many starts.
pub(crate) async fn run(starts: usize) -> Result<()> {
    let mut vault = Vault::start().await?;
    vault.rotate().await?;
    let folder = tempfile::tempdir()?;
    let token = folder.path().join("token");
    fs::write(&token, vault.token()?)?;
    let coffer = Programs::built()?.coffer();
    let url = vault.server.url()?;
    let command = |program: &Path| {
        let mut command = Command::new(program);
        command.env_clear().envs([("HOME", folder.path()), ("XDG_RUNTIME_DIR", folder.path())]);
        command.env("COFFER_ADDRESS", &url).env("COFFER_CACERT", vault.server.ca()).stdout(Stdio::null());
        command
    };
    let login = ["login", "--method", "kubernetes", "--cluster", "test", "--token-file"];
    ensure!(command(&coffer).args(login).arg(&token).status()?.success(), "the login failed");
    let mut took = Vec::new();
    for _ in 0..starts {
        let began = Instant::now();
        ensure!(command(&coffer).args(["kv", "get", PATH]).status()?.success(), "the read failed");
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default();
    println!("coffer kv get, {starts} times: p50 {:.1} ms, p90 {:.1} ms", at(50), at(90));
    let output = command(Path::new(TIME)).args(["-f", "%M"]).arg(&coffer).args(["kv", "get", PATH]).output()?;
    let text = String::from_utf8(output.stderr)?;
    println!("its memory at most: {} KiB", text.trim().lines().last().with_context(|| format!("{TIME} tells nothing"))?);
    println!("the program: {} bytes", fs::metadata(&coffer)?.len());
    Ok(())
}
