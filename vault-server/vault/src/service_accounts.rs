//! Tokens of Kubernetes service accounts: roles, and how a token is made and ended.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coffer_core::{
    clock::Timestamp,
    id::{ClusterId, LeaseId, RequestId},
    path::Path,
    principal::Name,
    reason::Reason,
};
use coffer_crypto::random;
use coffer_engines::kubernetes::{Kubernetes, KubernetesEngineError, KubernetesRole, RoleAccount, RoleRule};
use coffer_kubernetes::{Account, ApiError, Made, Rule, TOKEN_ACT_SECS_MAX, TokenPlan};
use coffer_secret::SecretBytes;

use crate::{
    Authenticated, ClusterRuntime, Engine, Failure, Planned, Unsealed,
    leases::{LeaseRecord, Leased, NewLease, Owner, Target, Which, whole_second},
};

impl From<KubernetesEngineError> for Failure {
    fn from(error: KubernetesEngineError) -> Self {
        let told = |reason| Self::told(reason, error.to_string());
        match error {
            KubernetesEngineError::Setting(_) => told(Reason::InvalidArgument),
            KubernetesEngineError::Limit(_) | KubernetesEngineError::TooMany => told(Reason::LimitExceeded),
            KubernetesEngineError::NotFound => told(Reason::NotFound),
            KubernetesEngineError::Record => Self::internal("a record of the engine kubernetes cannot be read"),
            KubernetesEngineError::Barrier(error) => error.into(),
        }
    }
}

/// Whose token is made, as the API server is asked for it.
fn account(of: RoleAccount) -> Account {
    let rule = |RoleRule { api_groups, resources, verbs, resource_names }| Rule { api_groups, resources, verbs, resource_names };
    match of {
        RoleAccount::Existing(name) => Account::Existing(name),
        RoleAccount::WithRules(rules) => Account::WithRules(rules.into_iter().map(rule).collect()),
        RoleAccount::WithRole(name) => Account::WithRole(name),
        RoleAccount::WithClusterRole(name) => Account::WithClusterRole(name),
    }
}

fn reason(error: &ApiError) -> Reason {
    match error {
        ApiError::Unreachable(_) | ApiError::TimedOut | ApiError::Told(429 | 500.., _) | ApiError::Refused(429 | 500..) => {
            Reason::TargetUnavailable
        }
        ApiError::Config(_)
        | ApiError::Setup(_)
        | ApiError::Limit(_)
        | ApiError::Refused(_)
        | ApiError::Told(..)
        | ApiError::TooLarge
        | ApiError::Unreadable(_) => Reason::TargetRefused,
    }
}

/// An error of an API server for who may know all of it: whoever configures it.
fn told(error: &ApiError) -> Failure {
    Failure::told(reason(error), format!("the API server: {error}"))
}

/// The same for whoever wants a token, to whom the API server's words are none of theirs: those are in the log.
fn untold(error: &ApiError) -> Failure {
    tracing::warn!(%error, "an API server did not do what it was asked");
    match reason(error) {
        Reason::TargetUnavailable => {
            Failure::new(Reason::TargetUnavailable, "the API server of the role's cluster cannot be used now")
        }
        other => Failure::new(other, "the API server of the role's cluster refuses to make the token"),
    }
}

/// What stands in the names of all that is made for a lease: the vault's id, shortened, and the lease's.
fn object_name(vault: &str, lease: LeaseId) -> String {
    let vault: String = vault.chars().take(8).collect();
    format!("coffer-{vault}-{lease}")
}

impl Unsealed {
    fn kubernetes(&self, path: &Path) -> Result<Kubernetes, Failure> {
        Ok(Kubernetes::new(self.tenant.id, self.mount_of(path, Engine::Kubernetes)?))
    }

    /// The cluster at work whose API server is asked for tokens.
    fn token_server(&self, cluster: ClusterId) -> Result<Arc<ClusterRuntime>, Failure> {
        let gone = || Failure::new(Reason::TargetRefused, "the role's cluster is not registered any more, or cannot be used");
        self.runtime(cluster).filter(|runtime| runtime.api().is_some()).ok_or_else(gone)
    }

    /// Plans a role, new or changed; its cluster is known by name. What else it says of the cluster is filled in.
    ///
    /// # Errors
    /// Fails where there is no such cluster, it has no API server, or the role cannot be.
    pub async fn put_kubernetes_role(&self, path: &Path, name: &Name, role: KubernetesRole) -> Result<Planned<()>, Failure> {
        let kubernetes = self.kubernetes(path)?;
        let no_name = |_| Failure::invalid("the cluster is called by the name that it is registered under");
        let cluster: Name = role.cluster_name.parse().map_err(no_name)?;
        let row = self.cluster(&cluster)?;
        if row.value.api_server.is_none() {
            return Err(Failure::invalid("the cluster is registered without an API server: coffer cluster update --api-server"));
        }
        let role = KubernetesRole { cluster: row.value.id, ..role };
        Ok(kubernetes.put_role(&self.barrier, name, role, self.now()).await?.into())
    }

    /// A role, and when it was written. Its cluster has the name that it has now; none where it is not registered any more.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub async fn kubernetes_role(&self, path: &Path, name: &Name) -> Result<(KubernetesRole, Timestamp), Failure> {
        let stored = self.kubernetes(path)?.role(&self.barrier, name).await?;
        let cluster = self.clusters.all().into_iter().find(|(_, row)| row.value.id == stored.settings.cluster);
        let cluster_name = cluster.map(|(name, _)| name).unwrap_or_default();
        Ok((KubernetesRole { cluster_name, ..stored.settings }, stored.updated))
    }

    /// The names of a mount's roles.
    ///
    /// # Errors
    /// Fails where there is no such mount.
    pub async fn kubernetes_roles(&self, path: &Path) -> Result<Vec<String>, Failure> {
        Ok(self.kubernetes(path)?.roles(&self.barrier).await?)
    }

    /// Plans that a role goes. Tokens that were made with it stay.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub async fn delete_kubernetes_role(&self, path: &Path, name: &Name) -> Result<Planned<()>, Failure> {
        Ok(self.kubernetes(path)?.delete_role(&self.barrier, name).await?.into())
    }

    /// Tries a role: makes a token, and ends it.
    ///
    /// # Errors
    /// Fails where either does.
    pub async fn check_kubernetes_role(&self, path: &Path, name: &Name) -> Result<(), Failure> {
        let role = self.kubernetes(path)?.role(&self.barrier, name).await?.settings;
        let runtime = self.token_server(role.cluster)?;
        let api = runtime.api().ok_or_else(|| Failure::internal("a cluster without an API server"))?;
        let plan = self.token_plan(new_id()?, role, Duration::ZERO);
        let made = api.make_token(&plan).await;
        let ended = api.end_token(&plan.namespace, &plan.name, plan.account.made()).await;
        if let Err(error) = made {
            return Err(Failure { message: format!("making a token: {error}").into(), ..told(&error) });
        }
        ended.map_err(|error| Failure { message: format!("ending it: {error}").into(), ..told(&error) })
    }

    fn token_plan(&self, lease: LeaseId, role: KubernetesRole, ttl: Duration) -> TokenPlan {
        let vault = self.barrier.vault_id().to_string();
        TokenPlan {
            namespace: role.namespace,
            name: object_name(&vault, lease),
            vault,
            lease: lease.to_string(),
            account: account(role.account),
            audiences: role.audiences,
            lasts_secs: ttl.as_secs(),
        }
    }

    /// Makes a token, as the role of a path says. It is not to be given out before it is confirmed.
    ///
    /// # Errors
    /// Fails where there is no such role, a limit is reached, or the API server fails: what was begun there is undone then.
    pub(crate) async fn make_token(
        self: &Arc<Self>,
        who: &Authenticated,
        (path, role_name): (&Path, Name),
        ttl: Option<Duration>,
        request: RequestId,
    ) -> Result<Leased, Failure> {
        self.time_is_right()?;
        let owner = Owner::of(&who.claims.holder)?;
        let mount = self.mount_of(path, Engine::Kubernetes)?;
        let role = Kubernetes::new(self.tenant.id, mount).role(&self.barrier, &role_name).await?.settings;
        let runtime = self.token_server(role.cluster)?;
        let api = runtime.api().ok_or_else(|| Failure::internal("a cluster without an API server"))?;
        let (id, cluster, ttl, now) = (new_id()?, role.cluster, role.ttl(ttl), self.now());
        let plan = self.token_plan(id, role, ttl);
        let (namespace, name, made) = (plan.namespace.clone(), plan.name.clone(), plan.account.made());
        let target = Target::Token { cluster, namespace, name, made };
        // A token cannot be made to last longer: another would be another token.
        let expires = whole_second(now.plus(ttl));
        let new = NewLease {
            id,
            mount,
            owner,
            now,
            expires,
            expires_at_most: expires,
            act: Duration::from_secs(TOKEN_ACT_SECS_MAX),
            request,
            target,
        };
        let mut leased = self.intended(who, path, role_name, new).await?;
        match api.make_token(&plan).await {
            Ok(made) => {
                leased.ends_by(Timestamp::from_secs(made.expires_secs));
                leased.fields = BTreeMap::from([
                    ("namespace".to_owned(), SecretBytes::copied_from(plan.namespace.as_bytes())),
                    ("service_account".to_owned(), SecretBytes::copied_from(made.service_account.as_bytes())),
                    ("token".to_owned(), made.token.into_bytes()),
                ]);
                Ok(leased)
            }
            Err(error) => {
                self.undo(&leased).await;
                Err(untold(&error))
            }
        }
    }

    /// Ends a token. Well where it has ended, and all that was made for it is gone.
    pub(crate) async fn end_token(&self, cluster: ClusterId, namespace: &str, name: &str, made: Made) -> Result<(), Failure> {
        let runtime = self.token_server(cluster)?;
        let api = runtime.api().ok_or_else(|| Failure::internal("a cluster without an API server"))?;
        api.end_token(namespace, name, made).await.map_err(|error| told(&error))
    }

    /// Whether there are tokens of a cluster, which must be there for them to be ended.
    ///
    /// # Errors
    /// Fails where the store does.
    pub async fn has_tokens_of(&self, cluster: ClusterId) -> Result<bool, Failure> {
        let of_cluster = |lease: &LeaseRecord| matches!(&lease.target, Target::Token { cluster: of, .. } if *of == cluster);
        for (name, row) in self.mounts.all() {
            if row.value.engine == Engine::Kubernetes.name() {
                let which = Which { path: Some(name.parse()?), ..Which::default() };
                if self.any_lease(&which, of_cluster).await? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn new_id() -> Result<LeaseId, Failure> {
    Ok(LeaseId::from_bytes(random::bytes().map_err(|_| Failure::internal("no random numbers"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_named_after_vault_and_lease_as_kubernetes_names_things() {
        let name = object_name(&"ab".repeat(16), LeaseId::from_bytes([0xcd; 16]));
        assert_eq!(name, format!("coffer-abababab-{}", "cd".repeat(16)));
        assert!(name.len() <= 63 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
    }

    #[test]
    fn whoever_wants_a_token_is_not_told_what_the_api_server_says() {
        let refused = ApiError::Told(403, "secrets is forbidden in shop".into());
        assert!(told(&refused).message.contains("secrets is forbidden in shop"));
        assert!(!untold(&refused).message.contains("shop"));
        for (error, expected) in [
            (refused, Reason::TargetRefused),
            (ApiError::Told(404, String::new()), Reason::TargetRefused),
            (ApiError::Told(503, String::new()), Reason::TargetUnavailable),
            (ApiError::Told(429, String::new()), Reason::TargetUnavailable),
            (ApiError::TimedOut, Reason::TargetUnavailable),
        ] {
            assert_eq!((told(&error).reason, untold(&error).reason), (expected, expected), "{error}");
        }
    }
}
