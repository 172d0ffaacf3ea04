//! `coffer dev`.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use coffer_tests::{command::Coffer, process::Process, programs::Programs, wait};
use serde_json::Value;

use super::{files, json};

/// Starts a development server; gives what it says about itself once it is ready.
fn start(coffer: &Coffer, arguments: &[&str]) -> Result<(Process, Value)> {
    let log = coffer.home().join("dev.log");
    if log.exists() {
        fs::remove_file(&log)?;
    }
    let mut command = coffer.command();
    command.args(["dev", "-o", "json"]).args(arguments);
    let mut process = Process::start(&mut command, &log)?;
    let about = wait::until(wait::PATIENCE, "the development server", || {
        if let Some(status) = process.ended()? {
            anyhow::bail!("it ended with {status}: {}", process.log()?);
        }
        Ok(serde_json::from_str(&process.log()?).ok())
    })?;
    Ok((process, about))
}

fn is_gone(coffer: &Coffer) -> Result<()> {
    assert!(!coffer.home().join("coffer/dev").exists());
    assert_eq!(json(coffer, &["context", "list"])?.as_array().map(Vec::len), Some(0));
    let sessions: Vec<_> = files(&coffer.home().join("coffer"))?;
    assert!(sessions.is_empty(), "{sessions:?}");
    Ok(())
}

#[test]
fn a_development_server_is_ready_for_people_and_workloads_and_leaves_nothing() -> Result<()> {
    let coffer = Coffer::new(Programs::built()?)?;
    let seed = coffer.home().join("seed.json");
    fs::write(&seed, r#"{"kv/app/db": {"user": "app", "password": "canary"}, "kv/app/key": {"pem": {"base64": "/wA="}}}"#)?;
    let (mut process, about) = start(&coffer, &["--seed", seed.to_str().context("a plain path")?])?;
    assert_eq!(about["contexts"], serde_json::json!(["dev", "dev-admin", "dev-officer", "dev-auditor"]));
    assert!(about["address"].as_str().context("an address")?.starts_with("https://127.0.0.1:"));

    assert_eq!(coffer.ok(["--context", "dev", "kv", "get", "kv/app/db", "-f", "password"])?, "canary");
    coffer.ok(["--context", "dev", "kv", "put", "kv/app/new", "n=1"])?;
    assert_eq!(coffer.ok(["kv", "list", "kv"])?, "app/\n", "the developer's context is the current one");
    assert_eq!(coffer.run(["--context", "dev-admin", "kv", "get", "kv/app/db"])?.code, 3);
    coffer.ok(["--context", "dev-auditor", "audit", "tail", "-n", "1"])?;

    // A workload, as in Kubernetes.
    coffer.ok(["--context", "dev-officer", "grant", "read", "kv/app/db", "--to", "k8s:dev/shop/api"])?;
    let token = coffer.ok(["dev", "token", "shop/api"])?;
    let pod = Coffer::new(Programs::built()?)?;
    let ca = about["ca"].as_str().context("a CA")?;
    pod.ok(["context", "set", "v", "--address", about["address"].as_str().context("an address")?, "--ca", ca])?;
    pod.ok_with(["login", "--method", "kubernetes", "--token-file", "-"], &token)?;
    assert_eq!(pod.ok(["kv", "get", "kv/app/db", "-f", "user"])?, "app");
    assert_eq!(pod.run(["kv", "get", "kv/app/new"])?.code, 3);

    let second = coffer.run(["dev"])?;
    assert_eq!(second.code, 6, "{}", second.stderr);
    assert_eq!(process.terminate()?.code(), Some(0), "{}", process.log()?);
    is_gone(&coffer)?;
    assert_eq!(coffer.run(["dev", "token", "shop/api"])?.code, 8);
    Ok(())
}

#[test]
fn a_development_server_is_stopped_by_the_command_also_where_its_own_was_killed() -> Result<()> {
    let coffer = Coffer::new(Programs::built()?)?;
    let (mut process, _) = start(&coffer, &["--name", "play"])?;
    assert!(coffer.ok(["dev", "stop"])?.contains("nothing of it is left"));
    assert_eq!(process.wait(wait::PATIENCE)?.code(), Some(0));
    is_gone(&coffer)?;

    let (mut process, _) = start(&coffer, &[])?;
    let state: Value = serde_json::from_slice(&fs::read(coffer.home().join("coffer/dev/state.json"))?)?;
    process.kill()?;
    let server = format!("/proc/{}", state["server"]);
    assert!(Path::new(&server).exists(), "the server outlives a killed command");
    assert_eq!(coffer.ok(["dev", "stop"])?, "The development server has ended; nothing of it is left.\n");
    wait::until(wait::PATIENCE, "the server to end", || {
        // Nobody waits for it here: a zombie has ended.
        let status = fs::read_to_string(format!("{server}/status")).unwrap_or_default();
        Ok((status.is_empty() || status.contains("State:\tZ")).then_some(()))
    })?;
    is_gone(&coffer)?;
    assert_eq!(coffer.ok(["dev", "stop"])?, "No development server runs.\n");
    Ok(())
}

#[test]
fn what_a_development_server_needs_and_lacks_is_told_and_nothing_stays() -> Result<()> {
    let coffer = Coffer::new(Programs::built()?)?;
    let missing = coffer.run(["dev", "--server", "/no/such/server"])?;
    assert_eq!(missing.code, 2, "{}", missing.stderr);
    assert!(missing.stderr.contains("coffer dev --server FILE"), "{}", missing.stderr);
    let wrong = coffer.run(["dev", "--server", "/bin/false"])?;
    assert_eq!(wrong.code, 1, "{}", wrong.stderr);
    let seed = coffer.home().join("seed.json");
    for (text, part) in [("[]", "not a JSON object"), (r#"{"kv/x": {"a": 5}}"#, "kv/x"), (r#"{"kv/x": "canary"}"#, "no JSON map")]
    {
        fs::write(&seed, text)?;
        let refused = coffer.run(["dev", "--seed", seed.to_str().context("a plain path")?])?;
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains(part) && !refused.stderr.contains("canary"), "{}", refused.stderr);
    }
    coffer.ok(["context", "set", "dev", "--address", "https://mine:1"])?;
    assert_eq!(coffer.run(["dev"])?.code, 6, "a context of the user's own is kept");
    assert!(!coffer.home().join("coffer/dev").exists());
    Ok(())
}
