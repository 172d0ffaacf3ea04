//! Completing names that the vault knows, while somebody types.
//!
//! A shell runs the command with `COFFER_COMPLETE` set. What is asked of the vault has a second, and is silent where it
//! fails: nobody wants an error in the middle of a line.

use std::{
    ffi::{OsStr, OsString},
    time::Duration,
};

use clap_complete::{
    CompleteEnv,
    engine::{ArgValueCompleter, CompletionCandidate},
};
use coffer_client::proto::{
    ListClustersRequest, ListMountsRequest, ListOperatorsRequest, ListPoliciesRequest, ListSecretsRequest,
};
use jiff::Timestamp;

use crate::{
    app::{App, PAGE_SIZE, Vault, answer},
    args::{self, Global},
    context::{Contexts, Wanted},
    failure::Result,
    input::Input,
    output::{Format, Output},
};

/// The variable with which a shell asks.
pub(crate) const VARIABLE: &str = "COFFER_COMPLETE";
/// How long names may be looked for.
const PATIENCE: Duration = Duration::from_millis(900);
/// Pages that are looked through for names.
const PAGES_MAX: usize = 8;

/// Answers a shell that asks for completions; tells whether one did.
pub(crate) fn answered(arguments: &[OsString]) -> bool {
    if args::variable(VARIABLE).is_none_or(|value| value.is_empty()) {
        return false;
    }
    let completer = CompleteEnv::with_factory(args::command).var(VARIABLE).bin("coffer").completer("coffer");
    // A shell that asks for what it cannot have gets nothing.
    drop(completer.try_complete(arguments.to_vec(), None));
    true
}

/// The script that makes a shell ask.
///
/// # Errors
/// Where there is no such shell.
pub(crate) fn script(shell: &str) -> std::io::Result<Vec<u8>> {
    let shells = clap_complete::env::Shells::builtins();
    let shell = shells.completer(shell).ok_or_else(|| std::io::Error::other("there is no such shell"))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "coffer", "coffer", "coffer", &mut script)?;
    Ok(script)
}

macro_rules! completers {
    ($($(#[doc = $doc:literal])+ $name:ident = $find:expr;)*) => {$(
        $(#[doc = $doc])+
        pub(crate) fn $name() -> ArgValueCompleter {
            ArgValueCompleter::new(|current: &OsStr| -> Vec<CompletionCandidate> { candidates(current, $find) })
        }
    )*};
}

completers! {
    /// Paths of secrets and folders.
    paths = async |app: &App, current: &str| secrets(app, current).await;
    /// What `coffer run --file` takes: `NAME=PATH`.
    files = async |app: &App, current: &str| {
        let Some((name, path)) = current.split_once('=') else { return Ok(Vec::new()) };
        Ok(secrets(app, path).await?.into_iter().map(|path| format!("{name}={path}")).collect())
    };
    /// Contexts.
    contexts = async |app: &App, _: &str| Ok(Contexts::read(&app.paths.config)?.contexts.into_keys().collect());
    /// Operator accounts.
    users = async |app: &App, _: &str| {
        let vault = app.vault()?;
        let request = ListOperatorsRequest { page_size: PAGE_SIZE, page_token: String::new() };
        let found = answer(&vault.attempt("list users"), vault.client.operators().list_operators(request).await)?.into_inner();
        Ok(found.operators.into_iter().map(|operator| operator.name).collect())
    };
    /// Clusters.
    clusters = async |app: &App, _: &str| {
        let vault = app.vault()?;
        let request = ListClustersRequest { page_size: PAGE_SIZE, page_token: String::new() };
        let found = answer(&vault.attempt("list clusters"), vault.client.clusters().list_clusters(request).await)?.into_inner();
        Ok(found.clusters.into_iter().map(|cluster| cluster.name).collect())
    };
    /// Mounts.
    mounts = async |app: &App, _: &str| mount_names(app).await;
    /// Policies.
    policies = async |app: &App, _: &str| {
        let vault = app.vault()?;
        let request = ListPoliciesRequest { page_size: PAGE_SIZE, page_token: String::new() };
        let found = answer(&vault.attempt("list policies"), vault.client.policies().list_policies(request).await)?.into_inner();
        Ok(found.policies.into_iter().map(|policy| policy.name).collect())
    };
}

/// What is found within the time there is, and begins as the word does.
fn candidates(current: &OsStr, find: impl AsyncFnOnce(&App, &str) -> Result<Vec<String>>) -> Vec<CompletionCandidate> {
    let found = || -> Option<Vec<String>> {
        let current = current.to_str()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let app = app()?;
        let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, find(&app, current)).await });
        // A name's resolution may go on in a thread of its own: nobody waits for it.
        runtime.shutdown_background();
        let mut found = found.ok()?.ok()?;
        found.retain(|name| name.starts_with(current) && crate::output::is_printable(name));
        Some(found)
    };
    found().unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

/// The command as far as the line says what vault is meant.
fn app() -> Option<App> {
    let words: Vec<String> = std::env::args_os().skip(1).filter_map(|word| word.into_string().ok()).collect();
    let option = |name: &str, variable: &str| {
        let flag = format!("--{name}");
        let one = words.iter().find_map(|word| word.strip_prefix(&flag)?.strip_prefix('=').map(str::to_owned));
        let two = words.windows(2).find(|pair| pair.first() == Some(&flag)).and_then(|pair| pair.last().cloned());
        one.or(two).or_else(|| args::variable(variable))
    };
    let wanted = Wanted {
        context: option("context", "COFFER_CONTEXT"),
        address: option("address", "COFFER_ADDRESS").and_then(|address| address.parse().ok()),
        ca: option("ca", "COFFER_CACERT").map(Into::into),
        server_name: option("server-name", "COFFER_SERVER_NAME"),
        tenant: option("tenant", "COFFER_TENANT"),
    };
    let paths = Global::places(option("config", "COFFER_CONFIG").map(Into::into)).ok()?;
    Some(App {
        out: Output::new(Format::Json, Timestamp::now()),
        input: Input::default(),
        paths,
        wanted,
        timeout: PATIENCE,
        environment: args::environment(),
    })
}

async fn mount_names(app: &App) -> Result<Vec<String>> {
    let vault = app.vault()?;
    let request = ListMountsRequest { page_size: PAGE_SIZE, page_token: String::new() };
    let found = answer(&vault.attempt("list mounts"), vault.client.mounts().list_mounts(request).await)?.into_inner();
    Ok(found.mounts.into_iter().map(|mount| mount.name).collect())
}

/// Secrets and folders whose paths begin so.
async fn secrets(app: &App, current: &str) -> Result<Vec<String>> {
    let Some((folder, _)) = current.rsplit_once('/') else {
        // Not everybody may see mounts; this one is there in every vault.
        let mounts = mount_names(app).await.unwrap_or_else(|_| vec!["kv".to_owned()]);
        return Ok(mounts.into_iter().map(|mount| format!("{mount}/")).collect());
    };
    let vault: Vault = app.vault()?;
    let attempt = vault.attempt(format!("list {folder}"));
    let mut kv = vault.client.kv();
    let mut found = Vec::new();
    let mut page_token = String::new();
    for _ in 0..PAGES_MAX {
        let request = ListSecretsRequest { path: folder.to_owned(), page_size: PAGE_SIZE, page_token };
        let page = answer(&attempt, kv.list_secrets(request).await)?.into_inner();
        for entry in page.entries {
            if entry.secret {
                found.push(format!("{folder}/{}", entry.name));
            }
            if entry.folder {
                found.push(format!("{folder}/{}/", entry.name));
            }
        }
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    Ok(found)
}
