//! An application that reads its secret from Coffer itself, without an agent, and follows its changes.
//!
//! ```text
//! coffer-example-app https://coffer.coffer.svc:8200 /etc/coffer/ca.pem /var/run/secrets/coffer/token kv/prod/payments
//! ```

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use coffer_client::{Backoff, Client, Error, Event, Identity, Options, Secret, SessionKeeper, WorkloadLogin};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("usage: ENDPOINT CA-FILE TOKEN-FILE PATH: no {what}"));
    let (endpoint, ca) = (next("ENDPOINT")?, next("CA-FILE")?);
    let (token_file, path) = (PathBuf::from(next("TOKEN-FILE")?), next("PATH")?);

    // A key pair in memory; the session is bound to it, so a stolen session opens nothing elsewhere.
    let mut options = Options::new(endpoint, Identity::generate()?);
    options.ca = Some(ca.into());
    let login = WorkloadLogin { tenant: String::new(), cluster: String::new(), token_file };
    let vault = SessionKeeper::new(Client::connect(options)?, login);

    // The keeper logs in, tries again where that may help, and logs in anew before the session ends.
    let mut version = use_secret(&vault.kv_get(&path, 0).await?);

    // Follow changes for ever: when the connection breaks, the last value stays in use meanwhile.
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    loop {
        let end = follow(&vault, &path, &mut version, &mut backoff).await;
        report(&format!("the watch ended ({}); trying again", end.map_or_else(|error| error.to_string(), |()| "closed".into())));
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// Reads the secret again whenever the vault says that it changed, until the stream ends.
async fn follow(vault: &SessionKeeper, path: &str, version: &mut u64, backoff: &mut Backoff) -> Result<(), Error> {
    let mut watch = vault.watch(&[path.to_owned()]).await?;
    while let Some(event) = watch.next().await? {
        backoff.reset();
        match event {
            // Told at the beginning too: what is in use already needs no reading.
            Event::Changed { version: newest, .. } if newest == *version => {}
            Event::Changed { .. } | Event::Resync => *version = use_secret(&vault.kv_get(path, 0).await?),
            Event::Withheld { .. } => report("the conditions do not hold on which the secret is given: it is not to be used"),
            Event::Unavailable { .. } => report("the secret is gone, or no longer ours: keeping the last value"),
            Event::SessionEnd => {
                vault.forget().await;
                break;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where a real application would open its database connection; gives the version now in use. Values are wiped when
/// `secret` is dropped.
fn use_secret(secret: &Secret) -> u64 {
    let names: Vec<&str> = secret.fields.keys().map(String::as_str).collect();
    report(&format!("using version {} with the fields {} (receipt {})", secret.version, names.join(", "), secret.receipt));
    secret.version
}

#[expect(clippy::print_stdout, reason = "an example says what it does")]
fn report(what: &str) {
    println!("{what}");
}
