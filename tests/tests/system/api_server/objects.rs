//! Objects of a namespace, and tokens, as far as a vault makes them for a credential.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

/// What there is, by path.
#[derive(Default)]
pub(crate) struct Objects {
    there: BTreeMap<String, Value>,
    tokens: u64,
}

impl Objects {
    /// The paths of all objects.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.there.keys().cloned().collect()
    }

    /// All objects.
    pub(crate) fn all(&self) -> Vec<Value> {
        self.there.values().cloned().collect()
    }

    /// Creates or deletes one, or makes a token; a status and an answer.
    pub(crate) fn act(&mut self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let gone = || (404, json!({"kind": "Status", "message": format!("{path} not found")}));
        if method == "DELETE" {
            return self.there.remove(path).map_or_else(gone, |_| (200, json!({"kind": "Status"})));
        }
        let mut object: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(account) = path.strip_suffix("/token") {
            return self.token(account, &object["spec"]).map_or_else(gone, |answer| (201, answer));
        }
        let path = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap_or_default());
        if self.there.contains_key(&path) {
            return (409, json!({"kind": "Status", "message": "it is there already"}));
        }
        object["metadata"]["uid"] = path.clone().into();
        self.there.insert(path, object.clone());
        (201, object)
    }

    /// A token of an account that is there: `api`, or one that was made. What it is bound to must be there.
    fn token(&mut self, account: &str, spec: &Value) -> Option<Value> {
        if !account.ends_with("/serviceaccounts/api") && !self.there.contains_key(account) {
            return None;
        }
        if let Some(uid) = spec["boundObjectRef"]["uid"].as_str()
            && !self.there.contains_key(uid)
        {
            return None;
        }
        self.tokens += 1;
        let lasts = Duration::from_secs(spec["expirationSeconds"].as_u64()?);
        let ends = humantime::format_rfc3339_seconds(SystemTime::now() + lasts).to_string();
        let token = format!("a-token-of-the-cluster-{}-{}", self.tokens, spec["audiences"]);
        Some(json!({"kind": "TokenRequest", "status": {"token": token, "expirationTimestamp": ends}}))
    }
}
