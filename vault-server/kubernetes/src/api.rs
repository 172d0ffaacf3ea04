//! The API server's own interface.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use kube::Config;
use serde::{Deserialize, Serialize};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ApiError, JWKS_BYTES_MAX,
    cache::{Known, PodCache},
    http::{Server, authorities, https, text},
    object::Namespace,
    watcher,
};

/// Bytes of a token that is sent to be reviewed.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Bytes of an audience that a token is reviewed for.
pub const AUDIENCE_BYTES_MAX: usize = 1 << 10;
/// Bytes of the answer to a review: it repeats the token.
const REVIEW_BYTES_MAX: usize = 256 << 10;
/// Bytes of a namespace.
const NAMESPACE_BYTES_MAX: usize = 4 << 20;

const USER_PREFIX: &str = "system:serviceaccount:";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Where an API server is. Nothing at all means: the one of the cluster that this runs in, as this pod's service account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiServerConfig {
    /// Its `https` address.
    pub url: Option<String>,
    /// The authorities that its certificate comes from, in PEM; needed with an address.
    pub ca_pem: Option<String>,
    /// The file of the token to show; read again as it is renewed.
    pub token_file: Option<PathBuf>,
}

/// An API server. Cheap to clone.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) server: Server,
}

/// What an API server says of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Review {
    /// It is not one of a service account for this audience, or not any more. Nobody is told why.
    Refused,
    /// It is.
    ServiceAccount {
        /// The namespace.
        namespace: String,
        /// The service account.
        service_account: String,
        /// Its UID.
        service_account_uid: String,
        /// The pod that the token is bound to, where it is.
        pod: Option<ReviewedPod>,
    },
}

/// The pod that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewedPod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl ApiServer {
    /// Prepares the connection; nothing is sent. Needs a running tokio.
    ///
    /// # Errors
    ///
    /// [`ApiError::Config`] and [`ApiError::Setup`].
    pub fn new(config: &ApiServerConfig) -> Result<Self, ApiError> {
        let config = match (&config.url, &config.ca_pem, &config.token_file) {
            (None, None, None) => Config::incluster().map_err(|error| ApiError::Setup(Box::new(error)))?,
            (None, _, _) => return Err(ApiError::Config("an authority or a token is given, and no address")),
            (Some(_), None, _) => return Err(ApiError::Config("the authority of its certificate is missing")),
            (Some(url), Some(ca), token_file) => {
                let mut config = Config::new(https(url)?);
                config.root_cert = Some(authorities(ca)?);
                config.auth_info.token_file = match token_file {
                    Some(file) => {
                        let file = file.to_str().ok_or(ApiError::Config("the token file's name is not UTF-8"))?;
                        Some(file.to_owned())
                    }
                    None => None,
                };
                config
            }
        };
        Ok(Self { server: Server::new(config)? })
    }

    /// The keys that the cluster signs service-account tokens with: a set of keys (RFC 7517), as it came.
    ///
    /// # Errors
    ///
    /// See [`ApiError`]; [`JWKS_BYTES_MAX`] bytes at most.
    pub async fn jwks(&self) -> Result<String, ApiError> {
        text(self.server.get("/openid/v1/jwks", JWKS_BYTES_MAX).await?)
    }

    /// Has a token reviewed for an audience. An API server that knows no audiences accepts nothing.
    ///
    /// # Errors
    ///
    /// See [`ApiError`]. A refused token is an answer, not an error.
    pub async fn review(&self, token: &str, audience: &str) -> Result<Review, ApiError> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(ApiError::Limit("bytes in a token"));
        }
        if audience.is_empty() || audience.len() > AUDIENCE_BYTES_MAX {
            return Err(ApiError::Limit("bytes in an audience"));
        }
        let request = TokenReview {
            api_version: "authentication.k8s.io/v1",
            kind: "TokenReview",
            spec: TokenReviewSpec { token, audiences: [audience] },
        };
        let body = serde_json::to_vec(&request).map_err(|error| ApiError::Unreadable(Box::new(error)))?;
        let answer = self.server.post("/apis/authentication.k8s.io/v1/tokenreviews", body, REVIEW_BYTES_MAX).await?;
        Reviewed::read(&answer).map(|reviewed| reviewed.judge(audience))
    }

    /// The cluster's identity: the UID of its namespace `kube-system`.
    ///
    /// # Errors
    ///
    /// See [`ApiError`].
    pub async fn cluster_uid(&self) -> Result<String, ApiError> {
        let answer = self.server.get("/api/v1/namespaces/kube-system", NAMESPACE_BYTES_MAX).await?;
        Namespace::uid(&answer)
    }

    pub(crate) const fn server(&self) -> &Server {
        &self.server
    }

    /// Watches all pods, in a task of `tracker`, until `cancel`. What was `known` before protects it from being taken
    /// for gone at once. Of those with a token for the `audience` it is known what they are made of.
    #[must_use]
    pub fn watch_pods(&self, tracker: &TaskTracker, cancel: CancellationToken, audience: &str, known: Known) -> PodCache {
        let cache = PodCache::new(known);
        tracker.spawn(watcher::run(self.clone(), audience.to_owned(), cache.clone(), cancel));
        cache
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiServer")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenReview<'a> {
    api_version: &'static str,
    kind: &'static str,
    spec: TokenReviewSpec<'a>,
}

#[derive(Serialize)]
struct TokenReviewSpec<'a> {
    token: &'a str,
    audiences: [&'a str; 1],
}

/// The answer, but for the token that it repeats.
#[derive(Deserialize)]
struct Reviewed {
    status: ReviewedStatus,
}

#[derive(Deserialize)]
struct ReviewedStatus {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    user: ReviewedUser,
}

#[derive(Deserialize, Default)]
struct ReviewedUser {
    #[serde(default)]
    username: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

impl Reviewed {
    fn read(answer: &[u8]) -> Result<Self, ApiError> {
        // The error names a place and a type, and may quote a value: it is not kept, since the token is one.
        serde_json::from_slice(answer).map_err(|_| ApiError::Unreadable("it is not a TokenReview".into()))
    }

    fn judge(self, audience: &str) -> Review {
        let Self { status } = self;
        if !status.authenticated || !status.audiences.iter().any(|one| one == audience) {
            return Review::Refused;
        }
        let Some((namespace, service_account)) =
            status.user.username.strip_prefix(USER_PREFIX).and_then(|names| names.split_once(':'))
        else {
            return Review::Refused;
        };
        if status.user.uid.is_empty() {
            return Review::Refused;
        }
        let extra = |key| match status.user.extra.get(key).map(Vec::as_slice) {
            Some([one]) => Some(one.clone()),
            _ => None,
        };
        let pod = extra(POD_NAME).zip(extra(POD_UID)).map(|(name, uid)| ReviewedPod { name, uid });
        Review::ServiceAccount {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            service_account_uid: status.user.uid,
            pod,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiError, ApiServer, ApiServerConfig, Review, Reviewed, ReviewedPod, TOKEN_BYTES_MAX};

    /// As Kubernetes 1.34 answers.
    const ANSWER: &str = r#"{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","metadata":{},
        "spec":{"token":"ey.secret","audiences":["coffer"]},
        "status":{"authenticated":true,"user":{"username":"system:serviceaccount:prod:api","uid":"u-1",
        "groups":["system:serviceaccounts"],"extra":{"authentication.kubernetes.io/credential-id":["JTI=1"],
        "authentication.kubernetes.io/node-name":["n"],"authentication.kubernetes.io/pod-name":["api-1"],
        "authentication.kubernetes.io/pod-uid":["p-1"]}},"audiences":["coffer"]}}"#;

    fn judge(answer: &str) -> Review {
        Reviewed::read(answer.as_bytes()).unwrap().judge("coffer")
    }

    #[test]
    fn a_token_of_a_pod_is_accepted_with_its_names() {
        let expected = Review::ServiceAccount {
            namespace: "prod".into(),
            service_account: "api".into(),
            service_account_uid: "u-1".into(),
            pod: Some(ReviewedPod { name: "api-1".into(), uid: "p-1".into() }),
        };
        assert_eq!(judge(ANSWER), expected);
    }

    #[test]
    fn whatever_is_missing_refuses_the_token() {
        for (part, other) in [
            (r#""authenticated":true"#, r#""authenticated":false"#),
            (r#""authenticated":true,"#, ""),
            (r#","audiences":["coffer"]}}"#, r#","audiences":["other"]}}"#),
            (r#","audiences":["coffer"]}}"#, "}}"),
            ("system:serviceaccount:prod:api", "system:node:prod"),
            ("system:serviceaccount:prod:api", "admin"),
            (r#""uid":"u-1","#, ""),
        ] {
            let answer = ANSWER.replace(part, other);
            assert_ne!(answer, ANSWER, "{part}");
            assert_eq!(judge(&answer), Review::Refused, "{other}");
        }
    }

    #[test]
    fn a_pod_without_a_uid_is_no_pod() {
        for (part, other) in [("pod-uid", "pod-xid"), (r#"["p-1"]"#, r#"["p-1","p-2"]"#), (r#"["p-1"]"#, "[]")] {
            let answer = ANSWER.replace(part, other);
            assert!(matches!(judge(&answer), Review::ServiceAccount { pod: None, .. }), "{other}");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_does_not_show_the_token() {
        let error = Reviewed::read(ANSWER.replace(r#""authenticated":true"#, r#""authenticated":"ey.secret""#).as_bytes());
        let Err(error) = error else { panic!("it was read") };
        assert!(!format!("{error:?} {error}").contains("secret"));
    }

    #[tokio::test]
    async fn a_configuration_that_contradicts_itself_is_refused() {
        let (url, ca) = (Some("https://127.0.0.1:1".to_owned()), Some(include_str!("../tests/data/ca.pem").to_owned()));
        for config in [
            ApiServerConfig { url: url.clone(), ..ApiServerConfig::default() },
            ApiServerConfig { ca_pem: ca.clone(), ..ApiServerConfig::default() },
            ApiServerConfig { token_file: Some("token".into()), ..ApiServerConfig::default() },
            ApiServerConfig { url: Some("http://127.0.0.1:1".into()), ca_pem: ca.clone(), token_file: None },
            ApiServerConfig { url: url.clone(), ca_pem: Some(String::new()), token_file: None },
        ] {
            assert!(matches!(ApiServer::new(&config), Err(ApiError::Config(_))), "{config:?}");
        }
        assert!(matches!(ApiServer::new(&ApiServerConfig::default()), Err(ApiError::Setup(_))), "this is no pod");

        let server = ApiServer::new(&ApiServerConfig { url, ca_pem: ca, token_file: None }).unwrap();
        assert!(matches!(server.jwks().await, Err(ApiError::Unreachable(_))));
        assert!(matches!(server.review("", "coffer").await, Err(ApiError::Limit(_))));
        assert!(matches!(server.review("token", "").await, Err(ApiError::Limit(_))));
        assert!(matches!(server.review(&"x".repeat(TOKEN_BYTES_MAX + 1), "coffer").await, Err(ApiError::Limit(_))));
        assert!(matches!(server.review(&"x".repeat(TOKEN_BYTES_MAX), "coffer").await, Err(ApiError::Unreachable(_))));
    }
}
