//! The `coffer` command against a real vault, as people use it.

mod access;
mod credentials;
mod dev;
mod golden;
mod kv;
mod run;
mod surroundings;
mod transit;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use coffer_tests::{
    command::{Coffer, Ran},
    programs::Programs,
};
use serde_json::Value;

use crate::vault::{ADMIN, OFFICER, PASSWORD, Vault};

/// The account that may do everything at kv/dev/**, and has no role.
const DEVELOPER: &str = "dev";

/// A vault, and people who use the command.
struct Office {
    vault: Vault,
    /// Writes, and reads no values.
    admin: Coffer,
    /// Says who may do what.
    officer: Coffer,
    /// Reads and writes below kv/dev.
    developer: Coffer,
}

impl Office {
    async fn new() -> Result<Self> {
        let vault = Vault::new().await?;
        let admin = person(&vault, ADMIN)?;
        admin.ok_with(["user", "create", DEVELOPER, "--password-file", "-"], PASSWORD)?;
        let officer = person(&vault, OFFICER)?;
        for path in ["kv/dev", "kv/dev/**"] {
            officer.ok(["grant", "read,list,write,delete,destroy", path, "--to", "operator:dev"])?;
        }
        let developer = person(&vault, DEVELOPER)?;
        Ok(Self { vault, admin, officer, developer })
    }
}

/// Somebody who has logged in.
pub(crate) fn person(vault: &Vault, name: &str) -> Result<Coffer> {
    let coffer = Coffer::new(Programs::built()?)?;
    let ca = vault.server.ca();
    coffer.ok(["context", "set", "t", "--address", &vault.server.url()?, "--ca", ca.to_str().context("a plain path")?])?;
    coffer.ok_with(["login", name, "--password-file", "-"], PASSWORD)?;
    Ok(coffer)
}

/// What the command prints for scripts.
fn json(coffer: &Coffer, arguments: &[&str]) -> Result<Value> {
    let text = coffer.ok(arguments.iter().copied().chain(["-o", "json"]))?;
    serde_json::from_str(&text).with_context(|| text)
}

/// Runs the command with an environment of its own.
fn run_with_environment(coffer: &Coffer, variables: &[(&str, &str)], arguments: &[&str]) -> Result<Ran> {
    let output = coffer.command().args(arguments).envs(variables.iter().copied()).output()?;
    Ok(Ran {
        code: output.status.code().context("the command was killed")?,
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

/// A script that can be run.
fn script(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    Ok(path)
}

/// Every file below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}
