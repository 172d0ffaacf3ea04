//! Secrets that are nowhere but where they belong: values that occur nowhere else go through everything, with every
//! program at its most talkative, and are then searched for in all that is left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use coffer_tests::{
    command::Coffer,
    issuer::{Issuer, Pod, uuid},
    memory,
    process::Process,
    programs::Programs,
    server::Server,
    wait,
};
use memchr::memmem;
use serde_json::Value;

use crate::vault::TOKEN_LIFETIME;

/// A secret, in every form in which it could lie about: as it is, in hexadecimal, as a list of bytes as `Debug` prints
/// one, and in base64 at any position.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let mut forms = vec![bytes.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes(), decimal.into_bytes()];
    for skip in 0..3 {
        // Whole groups of three bytes look the same whatever is around them.
        let whole = (bytes.len() - skip) / 3 * 3;
        forms.push(STANDARD_NO_PAD.encode(&bytes[skip..skip + whole]).into_bytes());
    }
    forms
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files(&entry.path(), found)?;
        } else if entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Where one of the secrets lies, in any form.
fn search(places: &[PathBuf], secrets: &[(String, String)]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for place in places {
        let content = fs::read(place).with_context(|| place.display().to_string())?;
        for (name, secret) in secrets {
            for form in forms(secret) {
                if memmem::find(&content, &form).is_some() {
                    found.push(format!("{name} is in {}", place.display()));
                }
            }
        }
    }
    Ok(found)
}

#[test]
fn the_search_finds_every_form() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let secret = uuid()?;
    for (number, form) in forms(&secret).into_iter().enumerate() {
        let file = folder.path().join(number.to_string());
        fs::write(&file, [b"something before ".to_vec(), form, b" and after".to_vec()].concat())?;
        ensure!(!search(&[file], &[("it".to_owned(), secret.clone())])?.is_empty(), "form {number} is not found");
    }
    Ok(())
}

#[test]
fn no_secret_is_left_in_logs_store_audit_log_arguments_or_environment() -> Result<()> {
    let programs = Programs::built()?;
    let mut server = Server::new(programs)?.with("log", "level", "trace");
    server.start()?;
    let coffer = Coffer::new(programs)?;
    let mut secrets = Vec::new();
    let mut secret = |name: &str, value: String| {
        secrets.push((name.to_owned(), value.clone()));
        value
    };

    // Init and unseal.
    let ca = server.ca();
    coffer.ok(["context", "set", "t", "--address", &server.url()?, "--ca", ca.to_str().context("a plain path")?])?;
    let socket = server.socket_url();
    let fruits: Value =
        serde_json::from_str(&coffer.ok(["--address", &socket, "operator", "init", "--shares", "2", "-o", "json"])?)?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("it is text");
    for share in fruits["shares"].as_array().context("there are shares")? {
        let share = secret("a share", text(share)?);
        coffer.ok_with(["--address", &socket, "operator", "unseal", "-"], &share)?;
    }
    // Operators.
    let credential = secret("the bootstrap credential", text(&fruits["bootstrap_credential"])?);
    coffer.ok_with(["login", "--method", "bootstrap", "--credential-file", "-"], &credential)?;
    let officer = Coffer::new(programs)?;
    officer.ok(["context", "set", "t", "--address", &server.url()?, "--ca", ca.to_str().context("a plain path")?])?;
    let passwords = [secret("a password", uuid()?), secret("a password", uuid()?)];
    for ((name, role), password) in [("ada", "admin"), ("olga", "officer")].into_iter().zip(&passwords) {
        coffer.ok_with(["user", "create", name, "--role", role, "--password-file", "-"], password)?;
    }
    coffer.ok_with(["login", "ada", "--password-file", "-"], &passwords[0])?;
    officer.ok_with(["login", "olga", "--password-file", "-"], &passwords[1])?;
    let wrong = secret("a wrong password", uuid()?);
    ensure!(Coffer::run_with(&coffer, ["login", "olga", "--password-file", "-"], &wrong)?.code == 4, "it was let in");

    // A secret, into a pod's files.
    let issuer = Issuer::es256("https://issuer.test")?;
    coffer.ok_with(["cluster", "create", "test", "--issuer", issuer.url(), "--jwks", "-"], &issuer.jwks().to_string())?;
    let value = secret("a secret's value", uuid()?);
    coffer.ok_with(["kv", "put", "kv/leaks/secret", "value=-"], &value)?;
    officer.ok(["grant", "read", "kv/leaks/secret", "--to", "k8s:test/shop/api"])?;
    let pod = memory::folder()?;
    let token = secret("a service-account token", issuer.token(&Pod::new("shop", "api")?, TOKEN_LIFETIME)?);
    fs::write(pod.path().join("token"), &token)?;
    fs::create_dir(pod.path().join("secrets"))?;
    let url = server.url()?;
    let arguments =
        ["--address", &url, "--ca-file", ca.to_str().context("a plain path")?, "--secret", "value=kv/leaks/secret#value"];
    let mut command = Command::new(programs.agent());
    command.env_clear().arg("sidecar").args(arguments).args(["--log-level", "trace"]);
    command.arg("--directory").arg(pod.path().join("secrets")).arg("--token-file").arg(pod.path().join("token"));
    let log = server.folder().join("agent.log");
    let agent = Process::start(&mut command, &log)?;
    for change in 0..2 {
        let value = if change == 0 { value.clone() } else { secret("a secret's next value", uuid()?) };
        if change == 1 {
            coffer.ok_with(["kv", "put", "kv/leaks/secret", "value=-"], &value)?;
        }
        wait::until(wait::PATIENCE, "the file", || {
            Ok(fs::read_to_string(pod.path().join("secrets/value")).is_ok_and(|found| found == value).then_some(()))
        })
        .with_context(|| agent.log().unwrap_or_default())?;
    }

    let mut places = Vec::new();
    for process in [server.process()?.id(), agent.id()] {
        for file in ["cmdline", "environ"] {
            places.push(Path::new("/proc").join(process.to_string()).join(file));
        }
    }
    files(server.folder(), &mut places)?;
    let (read, most) = (places.len(), fs::metadata(server.folder().join("log"))?.len());
    ensure!(read > 8 && most > 10_000, "{read} places, and a log of {most} bytes: that is not everything");
    let found = search(&places, &secrets)?;
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}
