//! Files that are made: whose they are, whatever the umask says.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{command::Coffer, programs::Programs, server::Server};

use crate::vault::{ADMIN, PASSWORD, Vault};

/// All files, folders and sockets below a folder, with their permissions.
fn permissions(folder: &Path) -> Result<Vec<(PathBuf, u32, bool)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (metadata, path) = (entry.metadata()?, entry.path());
        if metadata.is_dir() {
            found.extend(permissions(&path)?);
        }
        found.push((path, metadata.permissions().mode() & 0o7777, metadata.is_dir()));
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_umask_files_are_for_their_owner_and_no_program() -> Result<()> {
    let mut server = Server::new(Programs::built()?)?;
    server.set_prelude("umask 0");
    let mut vault = Vault::on(server).await?;
    vault.put("kv/peers/files", "field", "value").await?;
    // A second start makes what the first did not.
    ensure!(vault.server.terminate()?.success());
    vault.restart().await?;

    // These are of the kit; and these say what everybody may know.
    let of_the_kit = ["log", "coffer.toml"];
    let public = ["address", "tls/ca.pem", "tls/server.pem"];
    let (mut seen, mut wrong) = (0, Vec::new());
    for (path, mode, folder) in permissions(vault.server.folder())? {
        let name = path.strip_prefix(vault.server.folder())?.display().to_string();
        if of_the_kit.contains(&name.as_str()) {
            continue;
        }
        let allowed = match (folder, name.as_str()) {
            // Certificates are for everybody to read.
            (true, "tls") => 0o755,
            (true, _) => 0o700,
            (false, name) if public.contains(&name) => 0o644,
            (false, _) => 0o600,
        };
        if mode & !allowed != 0 {
            wrong.push(format!("{name}: {mode:o}"));
        }
        seen += 1;
    }
    ensure!(seen > 8, "{seen} files: that is not everything");
    ensure!(wrong.is_empty(), "open to others: {}", wrong.join(", "));
    command_files(&vault)
}

/// The same for what the command keeps.
fn command_files(vault: &Vault) -> Result<()> {
    let coffer = Coffer::new(Programs::built()?)?;
    let (url, ca) = (vault.server.url()?, vault.server.ca());
    let run = |line: &str, input: &str| -> Result<()> {
        let mut shell = std::process::Command::new("/bin/sh");
        let program = coffer.command();
        shell.args(["-c", &format!("umask 0; echo '{input}' | '{}' {line}", program.get_program().display())]);
        shell.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(coffer.home());
        let output = shell.output()?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    run(&format!("context set t --address {url} --ca {}", ca.to_str().context("a plain path")?), "")?;
    run(&format!("login {ADMIN} --password-file -"), PASSWORD)?;
    let found = permissions(coffer.home())?;
    ensure!(found.iter().filter(|(_, _, folder)| !folder).count() >= 2, "there is no context and no session: {found:?}");
    for (path, mode, folder) in found {
        let allowed = if folder { 0o700 } else { 0o600 };
        ensure!(mode & !allowed == 0, "{}: {mode:o}", path.display());
    }
    Ok(())
}
