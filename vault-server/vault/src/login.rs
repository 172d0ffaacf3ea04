//! Logging in: of workloads with their service-account tokens, of operators with passwords and certificates.

use std::{net::IpAddr, time::Duration};

use coffer_core::{
    clock::Timestamp,
    limits::{
        CLOCK_SKEW, PASSWORD_BYTES_MAX, SERVICE_ACCOUNT_TOKEN_BYTES_MAX, UNCHECKED_SESSION_LIFETIME, WORKLOAD_SESSION_LIFETIME,
    },
    principal::Name,
    reason::Reason,
    session::{Holder, SessionPod},
};
use coffer_crypto::{
    jwt::{self, Expect, JwtError, ServiceAccountClaims},
    password,
};
use coffer_kubernetes::{PodState, Review};
use coffer_secret::SecretString;
use tokio::time::Instant;

use crate::{
    Failure, Unsealed,
    clusters::ClusterRuntime,
    records::{ClusterRecord, PodCheck},
    sessions::NewSession,
    table::Row,
};

/// How long a login waits for the pod cache to hear of a pod.
const POD_WAIT: Duration = Duration::from_secs(3);
/// Passwords that are checked at once: each takes 19 MiB and a processor.
pub(crate) const PASSWORD_CHECKS_MAX: usize = 2;
/// Logins that wait for their turn at that.
const PASSWORD_QUEUE_MAX: usize = 16;

/// Why nobody was let in.
#[derive(Debug)]
pub enum LoginError {
    /// Refused; the cause is for the audit log, the caller learns none.
    Refused(String),
    /// The vault could not tell.
    Failed(Failure),
}

impl LoginError {
    fn refused(cause: &str) -> Self {
        Self::Refused(cause.to_owned())
    }
}

impl From<Failure> for LoginError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What a workload's login found, for the audit log.
pub struct WorkloadLogin {
    /// The session.
    pub session: NewSession,
    /// Whether the connection came from the pod's address, where that could be seen.
    pub from_pod_address: Option<bool>,
    /// Whether the pod has logged in with another key before.
    pub another_key: bool,
}

/// A workload whose token was found good.
pub(crate) struct CheckedWorkload {
    pub(crate) holder: Holder,
    expires: Timestamp,
    from_pod_address: Option<bool>,
}

impl Unsealed {
    /// Logs a workload in.
    ///
    /// # Errors
    /// Fails where the token is not one of a registered cluster, for Coffer, of a pod that lives.
    pub async fn login_workload(
        &self,
        token: &SecretString,
        cluster: &str,
        thumbprint: [u8; 32],
        peer: Option<IpAddr>,
    ) -> Result<WorkloadLogin, LoginError> {
        let CheckedWorkload { holder, expires, from_pod_address } = self.checked_workload(token, cluster, peer).await?;
        let another_key = match &holder {
            Holder::Workload { pod: Some(pod), .. } => self.keys_of_pods.another(&pod.uid, thumbprint),
            _ => false,
        };
        let session = self.issue(holder, 0, thumbprint, expires)?;
        Ok(WorkloadLogin { session, from_pod_address, another_key })
    }

    /// The workload that a token is of: of a registered cluster, for Coffer, of a pod that lives.
    pub(crate) async fn checked_workload(
        &self,
        token: &SecretString,
        cluster: &str,
        peer: Option<IpAddr>,
    ) -> Result<CheckedWorkload, LoginError> {
        if token.expose().len() > SERVICE_ACCOUNT_TOKEN_BYTES_MAX {
            return Err(LoginError::refused("token too long"));
        }
        let (name, row) = self.cluster_of(token, cluster)?;
        let runtime = self.runtime(row.value.id).ok_or_else(|| LoginError::refused("cluster without keys"))?;
        let claims = self.verify(token, &row.value, &runtime).await?;
        let pod = claims.pod.as_ref().ok_or_else(|| LoginError::refused("no pod in the token"))?;
        let (checked, from_pod_address) = self.check_pod(token, &claims, &row.value, &runtime, peer).await?;
        let lifetime = if checked { WORKLOAD_SESSION_LIFETIME } else { UNCHECKED_SESSION_LIFETIME };
        let expires = claims.expires.min(self.now().plus(lifetime));
        let holder = Holder::Workload {
            cluster: name,
            cluster_id: row.value.id,
            namespace: claims.namespace.clone(),
            service_account: claims.service_account.clone(),
            service_account_uid: claims.service_account_uid.clone(),
            pod: Some(SessionPod {
                name: pod.name.to_string(),
                uid: pod.uid.clone(),
                node: claims.node.as_ref().map(|node| node.name.to_string()),
            }),
        };
        Ok(CheckedWorkload { holder, expires, from_pod_address })
    }

    /// The operator whom a password lets in.
    ///
    /// # Errors
    /// Fails where there is no such operator or the password is another, which take equally long; and where too many
    /// ask at once.
    pub async fn login_password(&self, operator: &str, given: SecretString) -> Result<Name, LoginError> {
        if !self.password_holds(operator, given).await? {
            return Err(LoginError::refused("name or password"));
        }
        operator.parse().map_err(|_| LoginError::refused("name or password"))
    }

    /// Whether this is the operator's password.
    ///
    /// # Errors
    /// Fails where too many ask at once.
    pub async fn password_holds(&self, operator: &str, given: SecretString) -> Result<bool, Failure> {
        const BUSY: Failure = Failure::new(Reason::LoginBusy, "too many password logins at once: try again");
        let stored = self.operators.find(operator).and_then(|row| row.value.password.clone());
        if given.expose().len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let _place = self.password_queue.try_acquire().map_err(|_| BUSY)?;
        let _turn = self.password_turns.acquire().await.map_err(|_| BUSY)?;
        let checked = tokio::task::spawn_blocking(move || match stored {
            Some(stored) => password::verify(&given, &stored),
            None => password::dummy(&given),
        });
        checked.await.map_err(|_| Failure::internal("a password check ended early"))
    }

    /// Hashes a new password, in turn with the checks of others.
    ///
    /// # Errors
    /// Fails where the password's length is not allowed, or too many ask at once.
    pub async fn hash_password(&self, new: SecretString) -> Result<String, Failure> {
        let _turn = self.password_turns.acquire().await.map_err(|_| Failure::sealed())?;
        let hashed = tokio::task::spawn_blocking(move || crate::operators::hash_password(&new));
        hashed.await.map_err(|_| Failure::internal("hashing a password ended early"))?
    }

    /// The operator whom the key of the connection's certificate lets in.
    ///
    /// # Errors
    /// Fails where the key is not pinned for such an operator.
    pub fn login_certificate(&self, operator: &str, thumbprint: [u8; 32]) -> Result<Name, LoginError> {
        let pin = hex::encode(thumbprint);
        let pinned = self.operators.find(operator).is_some_and(|row| row.value.certificate_pins.contains(&pin));
        if !pinned {
            return Err(LoginError::refused("name or certificate"));
        }
        operator.parse().map_err(|_| LoginError::refused("name or certificate"))
    }

    fn cluster_of(&self, token: &SecretString, named: &str) -> Result<(Name, Row<ClusterRecord>), LoginError> {
        if !named.is_empty() {
            let row = self.clusters.find(named).ok_or_else(|| LoginError::refused("no such cluster"))?;
            let name = named.parse().map_err(|_| LoginError::refused("no such cluster"))?;
            return Ok((name, row));
        }
        let issuer = jwt::issuer_unverified(token.expose()).ok_or_else(|| LoginError::refused("not a token"))?;
        let mut of_issuer = self.clusters.all().into_iter().filter(|(_, row)| row.value.issuer == issuer);
        match (of_issuer.next(), of_issuer.next()) {
            (Some((name, row)), None) => {
                let name = name.parse().map_err(|_| LoginError::Failed(Failure::internal("a cluster's name is none")))?;
                Ok((name, row))
            }
            (None, _) => Err(LoginError::refused("no cluster of this issuer")),
            (Some(_), Some(_)) => Err(LoginError::refused("several clusters of this issuer: name one")),
        }
    }

    async fn verify(
        &self,
        token: &SecretString,
        cluster: &ClusterRecord,
        runtime: &ClusterRuntime,
    ) -> Result<ServiceAccountClaims, LoginError> {
        let now = self.now();
        let expect = Expect { issuer: &cluster.issuer, audience: &cluster.audience, now, skew: CLOCK_SKEW, require_pod: true };
        let verify =
            |keys: Option<&jwt::KeySet>| keys.map_or(Err(JwtError::UnknownKey), |keys| keys.verify(token.expose(), &expect));
        let mut verified = runtime.with_keys(&*self.clock, verify).await;
        if matches!(verified, Err(JwtError::UnknownKey)) {
            runtime.look_for_new_keys(&*self.clock).await;
            verified = runtime.with_keys(&*self.clock, verify).await;
        }
        verified.map_err(|error| LoginError::Refused(error.to_string()))
    }

    /// Whether the pod is known to live, and whether the connection comes from its address.
    async fn check_pod(
        &self,
        token: &SecretString,
        claims: &ServiceAccountClaims,
        cluster: &ClusterRecord,
        runtime: &ClusterRuntime,
        peer: Option<IpAddr>,
    ) -> Result<(bool, Option<bool>), LoginError> {
        let Some(pod) = &claims.pod else { return Err(LoginError::refused("no pod in the token")) };
        let state = match runtime.pods() {
            Some(pods) => pods.wait_for(&pod.uid, Instant::now() + POD_WAIT).await,
            None => PodState::Unknown,
        };
        let address = match state {
            PodState::Gone => return Err(LoginError::refused("the pod is gone")),
            PodState::Alive { ref namespace, ref name, ref service_account, ref ips, .. } => {
                let same = namespace == claims.namespace.as_str()
                    && name == pod.name.as_str()
                    && service_account == claims.service_account.as_str();
                if !same {
                    return Err(LoginError::refused("the pod is another than the token says"));
                }
                peer.filter(|_| !ips.is_empty()).map(|peer| ips.contains(&peer))
            }
            PodState::Unseen | PodState::Unknown => None,
        };
        let known = matches!(state, PodState::Alive { .. });
        let ask = cluster.pod_check == PodCheck::TokenReview || (cluster.pod_check == PodCheck::Cache && !known);
        if !ask {
            return Ok((known, address));
        }
        let Some(api) = runtime.api() else { return Ok((known, address)) };
        match api.review(token.expose(), &cluster.audience).await {
            Ok(Review::ServiceAccount { pod: Some(reviewed), .. }) if reviewed.uid == pod.uid => Ok((true, address)),
            Ok(Review::ServiceAccount { .. } | Review::Refused) => {
                Err(LoginError::refused("the API server does not know the token"))
            }
            Err(error) if state == PodState::Unseen => {
                tracing::warn!(%error, "a token review failed");
                Err(LoginError::refused("the pod is not among the cluster's"))
            }
            Err(error) if cluster.pod_check == PodCheck::TokenReview => {
                tracing::warn!(%error, "a token review failed");
                Err(LoginError::Failed(Failure::unavailable()))
            }
            Err(error) => {
                tracing::warn!(%error, "neither pod cache nor token review: the session will be short");
                Ok((false, address))
            }
        }
    }
}

/// Places for password logins: those at work and those in the queue.
pub(crate) const PASSWORD_PLACES: usize = PASSWORD_CHECKS_MAX + PASSWORD_QUEUE_MAX;
