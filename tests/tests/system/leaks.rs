//! Secrets that are nowhere but where they belong: values that occur nowhere else go through everything, with every
//! program at its most talkative, and are then searched for in all that is left.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_tests::{
    command::Coffer,
    issuer::{Issuer, Pod, uuid},
    leaks::Canaries,
    memory,
    process::Process,
    programs::Programs,
    server::Server,
    wait,
};
use serde_json::Value;

use crate::vault::TOKEN_LIFETIME;

#[test]
#[should_panic(expected = "secrets are where they must not be")]
fn a_secret_in_what_a_server_leaves_fails_the_test() {
    let server = Server::new(Programs::built().unwrap()).unwrap();
    let secret = server.canaries().fresh("it").unwrap();
    fs::write(server.folder().join("left"), format!("before {} after", STANDARD.encode(secret))).unwrap();
}

#[test]
fn no_secret_is_left_in_logs_store_audit_log_arguments_or_environment() -> Result<()> {
    let programs = Programs::built()?;
    let mut server = Server::new(programs)?;
    server.start()?;
    let coffer = Coffer::new(programs)?;
    let mut told = String::new();
    let secrets = Canaries::default();
    let secret = |name: &str, value: String| {
        secrets.add(name, &value);
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
    let refused = coffer.run_with(["login", "olga", "--password-file", "-"], &wrong)?;
    ensure!(refused.code == 4, "it was let in");
    told.push_str(&refused.stderr);

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

    let logs = [server.folder().join("log"), log];
    let searched = search_everything(&mut server, &agent, &secrets, &told)?;
    server_key_is_nowhere_else(&server, &logs)?;
    let most = fs::metadata(&logs[0])?.len();
    ensure!(searched > 100_000 && most > 10_000, "{searched} bytes, and a log of {most}: that is not everything");
    Ok(())
}

/// Everything that programs have printed, kept or were told, and the store's files.
fn search_everything(server: &mut Server, agent: &Process, secrets: &Canaries, told: &str) -> Result<u64> {
    let mut search = secrets.search()?;
    search.folder(server.folder())?;
    for process in [server.process()?.id(), agent.id()] {
        search.process(process)?;
    }
    search.text("what the command complained of", told)?;
    search.end()
}

/// The server's private key is in its own file, and in nothing else that is kept.
fn server_key_is_nowhere_else(server: &Server, logs: &[PathBuf]) -> Result<()> {
    let key = fs::read_to_string(server.folder().join("tls/server.key"))?;
    let keys = Canaries::default();
    keys.add("the server's key", key.lines().nth(1).context("a key has lines")?);
    let mut search = keys.search()?;
    for folder in [server.store(), server.audit()] {
        search.folder(&folder)?;
    }
    for log in logs {
        search.file(log)?;
    }
    search.end().map(drop)
}
