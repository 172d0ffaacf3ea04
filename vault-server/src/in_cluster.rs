//! What the server has in the cluster that it runs in: the CA of its certificate, for whoever connects; and the key of its seal.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use coffer_crypto::random;
use coffer_kubernetes::{ApiServer, ApiServerConfig};
use coffer_secret::SecretString;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    arguments::{Command, SealKey},
    tls_files,
};

/// How often it is looked whether the ConfigMap still has the CA.
const LOOK_AFTER: Duration = Duration::from_secs(60);
/// How soon it is tried again where that could not be done.
const TRY_AFTER: Duration = Duration::from_secs(2);
/// Objects of ours are labelled so.
const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "coffer-server");

/// Does what is not serving.
pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no threads")?;
    match command {
        Command::MakeSealKey(place) => runtime.block_on(make_seal_key(place)),
    }
}

/// The key is drawn here and is nowhere but in that Secret: not in a template, nor in what Helm keeps of a release.
async fn make_seal_key(SealKey { namespace, secret }: &SealKey) -> anyhow::Result<()> {
    let api = ApiServer::new(&ApiServerConfig::default()).context("this runs in a pod")?;
    let key = random::array::<32>().context("no random numbers")?;
    let key = SecretString::from(hex::encode(key.expose()));
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": secret, "labels": { LABEL.0: LABEL.1 } },
        // Another key is another Secret: a vault that lost its key is lost.
        "immutable": true,
        "stringData": { "key": key.expose() },
    });
    let made = api.create_object(&format!("/api/v1/namespaces/{namespace}/secrets"), &object).await;
    let made = made.with_context(|| format!("the Secret {namespace}/{secret} cannot be made"))?;
    let told = if made { "a key was drawn" } else { "it is there, and stays as it is" };
    writeln!(io::stdout(), "{namespace}/{secret}: {told}").context("nobody listens")
}

/// Keeps the CA of the server's certificate in a ConfigMap, until `end`.
pub(crate) async fn tell_authority(map: String, ca: PathBuf, end: CancellationToken) {
    loop {
        let wait = match keep_authority(&map, &ca).await {
            Ok(()) => LOOK_AFTER,
            Err(error) => {
                tracing::warn!(map, error = format!("{error:#}"), "the CA cannot be told to the cluster; it is tried again");
                TRY_AFTER
            }
        };
        tokio::select! {
            () = end.cancelled() => return,
            () = sleep(wait) => {}
        }
    }
}

async fn keep_authority(map: &str, ca: &Path) -> anyhow::Result<()> {
    let ca = String::from_utf8(tls_files::read(ca)?).context("the CA is not PEM")?;
    let (namespace, name) = map.split_once('/').context("NAMESPACE/NAME")?;
    let api = ApiServer::new(&ApiServerConfig::default())?;
    let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
    let path = format!("{maps}/{name}");
    let written = match api.object(&path).await? {
        Some(found) if found.pointer("/data/ca.pem").and_then(Value::as_str) == Some(&ca) => return Ok(()),
        Some(mut found) => {
            let fields = found.as_object_mut().context("a ConfigMap is an object")?;
            fields.insert("data".to_owned(), json!({ "ca.pem": ca }));
            api.replace_object(&path, &found).await?
        }
        None => {
            let metadata = json!({ "name": name, "labels": { LABEL.0: LABEL.1 } });
            let new = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "ca.pem": ca } });
            api.create_object(&maps, &new).await?
        }
    };
    if !written {
        bail!("somebody else wrote it meanwhile");
    }
    tracing::info!(map, "the cluster was told the CA of the server's certificate");
    Ok(())
}
