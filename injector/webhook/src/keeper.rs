//! What the injector keeps in the cluster: its certificates, that the API server believes them, and the vault's CA certificates in
//! the namespaces of pods.
//!
//! Replicas do all of this side by side: each write is on the condition that nobody else wrote, and whoever loses looks again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_kubernetes::{ApiError, ApiServer};
use serde_json::{Value, json};

use crate::{
    certificate::{CertificateError, Certificates, Making},
    server::Shown,
};

/// How often it is looked at least.
const LOOK_MAX: Duration = Duration::from_secs(10);
/// How often it is looked at most.
const LOOK_MIN: Duration = Duration::from_millis(100);
/// How often it is looked for the vault's CA certificates, until they are there.
const LOOK_FIRST: Duration = Duration::from_millis(500);
/// Looks in the life of a certificate.
const LOOKS_IN_LIFE: u32 = 20;
/// Objects of ours are labelled so.
const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "coffer-injector");
/// The parts of the Secret.
const PARTS: [&str; 4] = ["ca.crt", "ca.key", "tls.crt", "tls.key"];

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The injector's own namespace.
    pub namespace: String,
    /// The Secret of its certificates.
    pub secret: String,
    /// The webhook's configuration.
    pub webhook: String,
    /// The ConfigMap with the vault's CA certificates, where there is one.
    pub vault_ca_config_map: Option<String>,
    /// The ConfigMap of each namespace that has them.
    pub ca_config_map: String,
}

/// Why something is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The API server was not asked, or refused.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A certificate cannot be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// An object is not as it must be.
    #[error("{0}")]
    Object(String),
}

/// Keeps it.
pub struct Keeper {
    api: ApiServer,
    places: Places,
    making: Making,
    shown: Arc<Shown>,
    /// The vault's CA certificates, as they were last seen.
    vault_ca: RwLock<Option<Arc<str>>>,
    /// What namespaces have as the vault's CA certificates.
    told: Mutex<BTreeMap<String, Arc<str>>>,
}

impl Keeper {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(api: ApiServer, places: Places, making: Making, shown: Arc<Shown>) -> Self {
        Self { api, places, making, shown, vault_ca: RwLock::new(None), told: Mutex::new(BTreeMap::new()) }
    }

    /// Keeps all of it, for ever.
    pub async fn keep(&self) {
        let look = (self.making.lifetime / LOOKS_IN_LIFE).clamp(LOOK_MIN, LOOK_MAX);
        loop {
            let kept = async {
                while self.certificates().await? {}
                self.authorities().await
            };
            if let Err(error) = kept.await {
                tracing::warn!(%error, "certificates are not as they should be; it is tried again");
            }
            tokio::time::sleep(if self.has_authorities() { look } else { look.min(LOOK_FIRST) }).await;
        }
    }

    /// Whether the vault's CA certificates are known, where they are to be: before that, no pod can be injected.
    pub fn has_authorities(&self) -> bool {
        self.places.vault_ca_config_map.is_none() || self.vault_ca().is_ok()
    }

    fn secret_path(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/secrets{name}", self.places.namespace)
    }

    /// One step towards certificates that are valid and believed; whether there may be another.
    async fn certificates(&self) -> Result<bool, KeepError> {
        let secret = self.api.object(&self.secret_path(&format!("/{}", self.places.secret))).await?;
        let found = secret.as_ref().map(read).unwrap_or_default();
        self.show(&found)?;
        let webhook_path = format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{}", self.places.webhook);
        let webhook = self.api.object(&webhook_path).await?;
        let webhook =
            webhook.ok_or_else(|| KeepError::Object(format!("there is no webhook configuration {}", self.places.webhook)))?;
        let believed = believed(&webhook);
        if !found.bundle.is_empty() && believed != found.bundle {
            let written = self.api.replace_object(&webhook_path, &believing(webhook, &found.bundle)?).await?;
            tracing::info!(written, "the API server is told which CA to believe");
            return Ok(true);
        }
        #[expect(clippy::disallowed_methods, reason = "certificates are dated by the machine's clock")]
        let Some(renewed) = found.renewed(&self.making, &believed, SystemTime::now())? else { return Ok(false) };
        let written = match secret {
            Some(secret) => {
                let name = format!("/{}", self.places.secret);
                self.api.replace_object(&self.secret_path(&name), &write(secret, &renewed)).await?
            }
            None => {
                let metadata = json!({ "name": self.places.secret, "labels": { LABEL.0: LABEL.1 } });
                let secret = json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata });
                self.api.create_object(&self.secret_path(""), &write(secret, &renewed)).await?
            }
        };
        tracing::info!(written, "certificates were made");
        Ok(true)
    }

    fn show(&self, found: &Certificates) -> Result<(), KeepError> {
        if found.certificate.is_empty() {
            return Ok(());
        }
        self.shown.show(&found.certificate, &found.key).map_err(KeepError::Object)
    }

    /// The vault's CA certificates, as they were last seen.
    fn vault_ca(&self) -> Result<Arc<str>, KeepError> {
        let seen = self.vault_ca.read().unwrap_or_else(PoisonError::into_inner).clone();
        seen.ok_or_else(|| KeepError::Object("the vault has not told its CA certificates yet".to_owned()))
    }

    /// Looks what they are now. Where none are told, those of before stay.
    async fn look_for_authorities(&self, map: &str) -> Result<(), KeepError> {
        let path = format!("/api/v1/namespaces/{}/configmaps/{map}", self.places.namespace);
        let map = self.api.object(&path).await?.unwrap_or_default();
        if let Some(ca) = map.pointer("/data/ca.pem").and_then(Value::as_str).filter(|ca| !ca.is_empty()) {
            *self.vault_ca.write().unwrap_or_else(PoisonError::into_inner) = Some(ca.into());
        }
        Ok(())
    }

    /// Gives a namespace the vault's CA certificates, where it has not got them.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub async fn give_authorities(&self, namespace: &str) -> Result<(), KeepError> {
        if self.places.vault_ca_config_map.is_none() {
            return Ok(());
        }
        let ca = self.vault_ca()?;
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).get(namespace) == Some(&ca) {
            return Ok(());
        }
        let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
        let name = &self.places.ca_config_map;
        let metadata = json!({ "name": name, "namespace": namespace, "labels": { LABEL.0: LABEL.1 } });
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "ca.pem": &*ca } });
        if !self.api.create_object(&maps, &map).await? {
            self.api.replace_object(&format!("{maps}/{name}"), &map).await?;
        }
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(namespace.to_owned(), ca);
        Ok(())
    }

    /// Forgets namespaces where the ConfigMap was deleted: the next pod there has it made again.
    fn forget_but(&self, maps: &Value) {
        let there = namespaces(maps, &self.places.ca_config_map);
        self.told.lock().unwrap_or_else(PoisonError::into_inner).retain(|namespace, _| there.contains(namespace.as_str()));
    }

    /// Gives namespaces that have them the vault's CA certificates anew, where these are others by now.
    async fn authorities(&self) -> Result<(), KeepError> {
        let Some(map) = &self.places.vault_ca_config_map else { return Ok(()) };
        self.look_for_authorities(map).await?;
        let ca = self.vault_ca()?;
        let path = format!("/api/v1/configmaps?labelSelector={}%3D{}", LABEL.0, LABEL.1);
        let maps = self.api.object(&path).await?.unwrap_or_default();
        self.forget_but(&maps);
        for map in maps.pointer("/items").and_then(Value::as_array).into_iter().flatten() {
            let text = |pointer: &str| map.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            if text("/metadata/name") == self.places.ca_config_map && text("/data/ca.pem") != &*ca {
                let namespace = text("/metadata/namespace");
                self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
                self.give_authorities(namespace).await?;
                tracing::info!(namespace, "the namespace has the vault's CA certificates");
            }
        }
        Ok(())
    }
}

/// The namespaces that have a ConfigMap of this name, of a list.
fn namespaces<'a>(maps: &'a Value, name: &str) -> BTreeSet<&'a str> {
    let text = |map: &'a Value, pointer: &str| map.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let all = maps.pointer("/items").and_then(Value::as_array).into_iter().flatten();
    all.filter(|map| text(map, "/metadata/name") == name).map(|map| text(map, "/metadata/namespace")).collect()
}

/// The certificates in a Secret; nothing for what cannot be read.
fn read(secret: &Value) -> Certificates {
    let part = |name: &str| {
        let text = secret.pointer(&format!("/data/{name}"))?.as_str()?;
        String::from_utf8(STANDARD.decode(text).ok()?).ok()
    };
    let [bundle, ca_key, certificate, key] = PARTS.map(|name| part(name).unwrap_or_default());
    Certificates { bundle, ca_key, certificate, key }
}

/// A Secret with these certificates.
fn write(mut secret: Value, certificates: &Certificates) -> Value {
    let Certificates { bundle, ca_key, certificate, key } = certificates;
    let parts = PARTS.iter().zip([bundle, ca_key, certificate, key]);
    let data: serde_json::Map<String, Value> =
        parts.map(|(name, text)| ((*name).to_owned(), json!(STANDARD.encode(text)))).collect();
    if let Some(secret) = secret.as_object_mut() {
        secret.insert("data".to_owned(), Value::Object(data));
    }
    secret
}

/// The CAs that every webhook of a configuration believes; nothing where they differ.
fn believed(webhook: &Value) -> String {
    let bundle = |hook: &Value| hook.pointer("/clientConfig/caBundle").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut bundles = webhook.pointer("/webhooks").and_then(Value::as_array).into_iter().flatten().map(bundle);
    let first = bundles.next().unwrap_or_default();
    if !bundles.all(|bundle| bundle == first) {
        return String::new();
    }
    STANDARD.decode(first).ok().and_then(|bundle| String::from_utf8(bundle).ok()).unwrap_or_default()
}

/// The configuration with this bundle in every webhook.
fn believing(mut webhook: Value, bundle: &str) -> Result<Value, KeepError> {
    let hooks = webhook.pointer_mut("/webhooks").and_then(Value::as_array_mut);
    for hook in hooks.into_iter().flatten() {
        let client = hook.pointer_mut("/clientConfig").and_then(Value::as_object_mut);
        let client = client.ok_or_else(|| KeepError::Object("a webhook has no clientConfig".to_owned()))?;
        client.insert("caBundle".to_owned(), json!(STANDARD.encode(bundle)));
    }
    Ok(webhook)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_a_secret_is_read_again() {
        let certificates = Certificates { bundle: "a".into(), ca_key: "b".into(), certificate: "c".into(), key: "d".into() };
        let secret = write(json!({ "metadata": { "resourceVersion": "7" } }), &certificates);
        assert_eq!(secret.pointer("/metadata/resourceVersion"), Some(&json!("7")));
        assert!(read(&secret) == certificates);
        assert!(read(&json!({ "data": { "ca.crt": "%" } })) == Certificates::default());
    }

    #[test]
    fn a_namespace_without_the_config_map_is_not_among_those_that_have_it() {
        let map = |namespace: &str, name: &str| json!({ "metadata": { "name": name, "namespace": namespace } });
        let maps = json!({ "items": [map("shop", "coffer-ca"), map("web", "other"), {}] });
        assert_eq!(namespaces(&maps, "coffer-ca"), BTreeSet::from(["shop"]));
        assert!(namespaces(&Value::Null, "coffer-ca").is_empty());
    }

    #[test]
    fn a_ca_is_believed_where_every_webhook_believes_it() {
        let webhook = json!({ "webhooks": [{ "clientConfig": {} }, { "clientConfig": { "caBundle": STANDARD.encode("a") } }] });
        assert_eq!(believed(&webhook), "");
        assert_eq!(believed(&believing(webhook, "b").unwrap()), "b");
        assert!(believing(json!({ "webhooks": [{}] }), "b").is_err());
    }
}
