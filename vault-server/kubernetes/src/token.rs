//! Tokens of service accounts, and the objects that are made for one token and end it when they go.
//!
//! A token of a service account that is there already is bound to a Secret without any content, made for it: the API server
//! refuses the token once the Secret is gone. A service account that is made for one token needs none: the token goes with it.

use std::time::Duration;

use coffer_secret::{SecretBytes, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::{ApiError, ApiServer};

/// How long it may take to make a token with all that it needs, or to end one.
pub const TOKEN_ACT_SECS_MAX: u64 = 20;
/// Seconds that a token lasts at least: the API server makes none for less.
pub const TOKEN_SECS_MIN: u64 = 600;
/// Bytes of an answer about an object that was made.
const OBJECT_BYTES_MAX: usize = 1 << 20;
/// What every object that is made says of itself: whose it is.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The vault that made it.
const VAULT: &str = "coffer.dev/vault";
/// The lease that it was made for.
const LEASE: &str = "coffer.dev/lease";

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A rule of a `Role`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Groups of the API.
    pub api_groups: Vec<String>,
    /// Resources.
    pub resources: Vec<String>,
    /// Verbs.
    pub verbs: Vec<String>,
    /// Names of objects; none for all.
    pub resource_names: Vec<String>,
}

/// Whose token is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// A service account's that is there.
    Existing(String),
    /// One's that is made, with a `Role` of these rules.
    WithRules(Vec<Rule>),
    /// One's that is made, and gets this `Role`.
    WithRole(String),
    /// One's that is made, and gets this `ClusterRole` in its namespace.
    WithClusterRole(String),
}

/// What was made for one token; all of it has one name. Leases are stored with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Made {
    /// A Secret without content.
    Secret,
    /// A service account, and a binding of a role to it.
    Account,
    /// A role, too.
    AccountAndRole,
}

impl Account {
    /// What is made for a token of such an account.
    #[must_use]
    pub const fn made(&self) -> Made {
        match self {
            Self::Existing(_) => Made::Secret,
            Self::WithRules(_) => Made::AccountAndRole,
            Self::WithRole(_) | Self::WithClusterRole(_) => Made::Account,
        }
    }
}

/// A token that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPlan {
    /// The namespace.
    pub namespace: String,
    /// The name of all that is made.
    pub name: String,
    /// The vault that makes it, in a word.
    pub vault: String,
    /// The lease that it is made for, in a word.
    pub lease: String,
    /// Whose token it is.
    pub account: Account,
    /// Whom it is for; nobody in particular for the API server.
    pub audiences: Vec<String>,
    /// Seconds that it should last; never less than [`TOKEN_SECS_MIN`].
    pub lasts_secs: u64,
}

/// A token that was made.
pub struct MadeToken {
    /// The token.
    pub token: SecretString,
    /// The service account whose it is.
    pub service_account: String,
    /// When it ends, as the API server says: seconds since 1970.
    pub expires_secs: u64,
}

/// The part of an object that was made that is of interest.
#[derive(Deserialize)]
struct Object {
    metadata: ObjectMetadata,
}

#[derive(Deserialize)]
struct ObjectMetadata {
    uid: String,
}

/// The answer to a request for a token.
#[derive(Deserialize)]
struct TokenRequested {
    status: TokenStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenStatus {
    token: String,
    expiration_timestamp: String,
}

impl ApiServer {
    /// Makes a token, and what ends it before. What was made before a failure stays: [`ApiServer::end_token`] takes it away.
    ///
    /// # Errors
    ///
    /// See [`ApiError`]; [`ApiError::Told`] with what the API server says.
    pub async fn make_token(&self, plan: &TokenPlan) -> Result<MadeToken, ApiError> {
        in_time(self.make(plan)).await
    }

    async fn make(&self, plan: &TokenPlan) -> Result<MadeToken, ApiError> {
        let (core, rbac) = (core(&plan.namespace), rbac(&plan.namespace));
        let (service_account, bound) = match &plan.account {
            Account::Existing(account) => {
                let secret = plan.object("v1", "Secret", json!({ "type": "Opaque", "immutable": true }));
                let uid = self.create(&format!("{core}/secrets"), &secret).await?;
                (account.clone(), Some(json!({ "kind": "Secret", "apiVersion": "v1", "name": plan.name, "uid": uid })))
            }
            own => {
                // Rights first: a token that can do nothing is of no use.
                let account = plan.object("v1", "ServiceAccount", json!({ "automountServiceAccountToken": false }));
                self.create(&format!("{core}/serviceaccounts"), &account).await?;
                if let Account::WithRules(rules) = own {
                    let role = plan.object("rbac.authorization.k8s.io/v1", "Role", json!({ "rules": rules }));
                    self.create(&format!("{rbac}/roles"), &role).await?;
                }
                let (kind, role) = match own {
                    Account::WithClusterRole(role) => ("ClusterRole", role),
                    Account::WithRole(role) => ("Role", role),
                    Account::WithRules(_) | Account::Existing(_) => ("Role", &plan.name),
                };
                let binding = json!({
                    "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
                    "subjects": [{ "kind": "ServiceAccount", "name": plan.name, "namespace": plan.namespace }],
                });
                let binding = plan.object("rbac.authorization.k8s.io/v1", "RoleBinding", binding);
                self.create(&format!("{rbac}/rolebindings"), &binding).await?;
                (plan.name.clone(), None)
            }
        };
        let mut spec = Map::new();
        spec.insert("expirationSeconds".to_owned(), json!(plan.lasts_secs.max(TOKEN_SECS_MIN)));
        if !plan.audiences.is_empty() {
            spec.insert("audiences".to_owned(), json!(plan.audiences));
        }
        spec.extend(bound.map(|bound| ("boundObjectRef".to_owned(), bound)));
        let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
        let path = format!("{core}/serviceaccounts/{service_account}/token");
        let answer = SecretBytes::from(self.server().tell(&path, &request, OBJECT_BYTES_MAX).await?);
        let (token, expires_secs) = token(&answer)?;
        Ok(MadeToken { token, service_account, expires_secs })
    }

    /// Takes away what was made for a token: the API server refuses it from then on. Well where it is gone already.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn end_token(&self, namespace: &str, name: &str, made: Made) -> Result<(), ApiError> {
        let (core, rbac) = (core(namespace), rbac(namespace));
        // What the token hangs on goes first.
        let paths = match made {
            Made::Secret => vec![format!("{core}/secrets/{name}")],
            Made::Account => vec![format!("{core}/serviceaccounts/{name}"), format!("{rbac}/rolebindings/{name}")],
            Made::AccountAndRole => vec![
                format!("{core}/serviceaccounts/{name}"),
                format!("{rbac}/rolebindings/{name}"),
                format!("{rbac}/roles/{name}"),
            ],
        };
        in_time(async {
            for path in paths {
                match self.server().delete(&path, OBJECT_BYTES_MAX).await {
                    Ok(_) | Err(ApiError::Told(404, _)) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
        .await
    }

    /// Creates an object; gives its UID.
    async fn create(&self, path: &str, object: &Value) -> Result<String, ApiError> {
        let answer = self.server().tell(path, object, OBJECT_BYTES_MAX).await?;
        let object: Object = serde_json::from_slice(&answer).map_err(|error| ApiError::Unreadable(Box::new(error)))?;
        Ok(object.metadata.uid)
    }
}

impl TokenPlan {
    /// An object of this kind, with what all have in common.
    fn object(&self, version: &str, kind: &str, rest: Value) -> Value {
        let mut object = json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": {
                "name": self.name,
                "labels": { MANAGED_BY: "coffer", VAULT: self.vault, LEASE: self.lease },
            },
        });
        if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
            object.extend(rest);
        }
        object
    }
}

fn core(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}")
}

fn rbac(namespace: &str) -> String {
    format!("{RBAC}/namespaces/{namespace}")
}

async fn in_time<T>(act: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    timeout(Duration::from_secs(TOKEN_ACT_SECS_MAX), act).await.map_err(|_| ApiError::TimedOut)?
}

/// The token of an answer, and when it ends.
fn token(answer: &SecretBytes) -> Result<(SecretString, u64), ApiError> {
    // The error may quote what it was read from: it is not kept, since that is a token.
    let unreadable = |_| ApiError::Unreadable("it is not a TokenRequest".into());
    let read: TokenRequested = serde_json::from_slice(answer.expose()).map_err(unreadable)?;
    let token = SecretString::from(read.status.token);
    if token.is_empty() {
        return Err(ApiError::Unreadable("a TokenRequest without a token".into()));
    }
    let ends: Option<jiff::Timestamp> = read.status.expiration_timestamp.parse().ok();
    let ends = ends.and_then(|moment| u64::try_from(moment.as_second()).ok());
    Ok((token, ends.ok_or_else(|| ApiError::Unreadable("a TokenRequest that does not say when it ends".into()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_token_is_refused_and_shows_nothing() {
        let good = r#"{"kind":"TokenRequest","status":{"token":"ey.secret","expirationTimestamp":"2000-02-29T12:00:00Z"}}"#;
        let (read, expires) = token(&SecretBytes::copied_from(good.as_bytes())).unwrap();
        assert_eq!((read.expose(), expires), ("ey.secret", 951_825_600));
        for (part, other) in [
            ("ey.secret", ""),
            (r#""token":"ey.secret","#, ""),
            (r#""ey.secret""#, r#"["ey.secret"]"#),
            ("2000-02-29T12", "2000-02-30T12"),
            ("2000-02-29T12:00:00Z", "1969-12-31T00:00:00Z"),
            (r#","expirationTimestamp":"2000-02-29T12:00:00Z""#, ""),
        ] {
            let error = token(&SecretBytes::copied_from(good.replace(part, other).as_bytes())).err().unwrap();
            assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn everything_that_is_made_says_whose_it_is() {
        let plan = TokenPlan {
            namespace: "shop".into(),
            name: "coffer-a".into(),
            vault: "v".into(),
            lease: "l".into(),
            account: Account::Existing("api".into()),
            audiences: Vec::new(),
            lasts_secs: 1,
        };
        let secret = plan.object("v1", "Secret", json!({ "type": "Opaque" }));
        assert_eq!(secret["metadata"]["labels"], json!({ MANAGED_BY: "coffer", VAULT: "v", LEASE: "l" }));
        assert_eq!((&secret["type"], &secret["kind"], secret.get("data")), (&json!("Opaque"), &json!("Secret"), None));
    }
}
