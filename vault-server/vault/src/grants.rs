//! Grants and policies: what is in force, and how it changes.

use std::{collections::BTreeSet, sync::Arc};

use coffer_barrier::Batch;
use coffer_core::{
    action::Action,
    id::GrantId,
    limits::{GRANTS_MAX, POLICY_BYTES_MAX},
    path::{Path, PathPattern},
    policy::{Caller, Grant, Policies, Requirement},
    principal::{Name, Principal, PrincipalPattern},
    reason::Reason,
};
use coffer_crypto::random;

use crate::{
    Failure, Planned, PolicyChange, Unsealed,
    operators::check_etag,
    records::{GrantRecord, HolderRecord, PolicyRecord},
    table::Row,
};

/// What is asked for in a new grant.
pub struct NewGrant {
    /// The actions, on paths all of them.
    pub actions: BTreeSet<Action>,
    /// The paths.
    pub path: PathPattern,
    /// Who gets it.
    pub principal: PrincipalPattern,
    /// What must hold of the pod that asks.
    pub require: Requirement,
}

impl Unsealed {
    /// Plans a grant; one that is there already is answered as it is.
    ///
    /// # Errors
    /// Fails where the caller would grant to itself, the principal's cluster or operator or the path's mount is not
    /// there, or there are too many grants.
    pub fn create_grant(&self, caller: &Caller, new: NewGrant) -> Result<Planned<Arc<GrantRecord>>, Failure> {
        if new.actions.is_empty() || !new.actions.iter().all(|action| action.on_path()) {
            return Err(Failure::invalid("a grant gives at least one of read, use, list, write, delete, destroy"));
        }
        if new.principal.matches(&caller.principal, &caller.roles) {
            return Err(Failure::new(Reason::SelfGrant, "nobody grants to themselves: ask another officer"));
        }
        self.check_requirement(&new)?;
        let mount = self.mount(new.path.base())?;
        let holder = self.holder(&new.principal)?;
        let record = GrantRecord {
            id: GrantId::from_bytes(random::bytes().map_err(|_| Failure::internal("no random numbers"))?),
            actions: new.actions.iter().map(|action| action.name().to_owned()).collect(),
            path: new.path.to_string(),
            mount,
            principal: new.principal.to_string(),
            require: new.require.to_string(),
            holder,
            created: self.now(),
            created_by: caller.principal.to_string(),
        };
        let same = |row: &Row<GrantRecord>| {
            (&row.value.actions, &row.value.path, row.value.mount) == (&record.actions, &record.path, record.mount)
                && row.value.require == record.require
                && (&row.value.principal, row.value.holder) == (&record.principal, record.holder)
        };
        if let Some((_, row)) = self.grants.all().into_iter().find(|(_, row)| same(row)) {
            return Ok(Planned::read(row.value));
        }
        if self.grants.len() >= GRANTS_MAX {
            return Err(Failure::told(Reason::LimitExceeded, format!("there are {GRANTS_MAX} grants already")));
        }
        let (mut batch, answer) = (Batch::default(), Arc::new(record.clone()));
        let NewGrant { actions, path, principal, require } = new;
        let grant = Grant { id: record.id, actions, path, principal, require };
        let put = self.grants.put(&mut batch, &record.id.to_string(), record)?;
        Ok(Planned { batch, answer, then: vec![put], policy: PolicyChange::Added(grant) })
    }

    /// Conditions are of pods, and signers are known by name.
    fn check_requirement(&self, new: &NewGrant) -> Result<(), Failure> {
        if new.require.is_empty() {
            return Ok(());
        }
        if !matches!(new.principal, PrincipalPattern::Workload { .. }) {
            return Err(Failure::invalid(
                "conditions are of pods: a grant with them is to workloads (k8s:...), not to operators",
            ));
        }
        new.require.signer().map_or(Ok(()), |signer| self.signer(signer).map(drop))
    }

    /// Plans that a grant goes.
    ///
    /// # Errors
    /// Fails where there is none of this id.
    pub fn delete_grant(&self, id: GrantId) -> Result<Planned<()>, Failure> {
        let mut batch = Batch::default();
        let gone = self.grants.delete(&mut batch, &id.to_string())?;
        let gone = gone.ok_or_else(|| Failure::new(Reason::NotFound, "there is no grant of this id"))?;
        Ok(Planned { batch, answer: (), then: vec![gone], policy: PolicyChange::Removed(id) })
    }

    /// A page of grants behind an id, those that reach a path and are to a principal, and whether there are more.
    pub fn grants(&self, path: Option<&Path>, principal: &str, after: &str, limit: usize) -> (Vec<Arc<GrantRecord>>, bool) {
        let (page, more) = self.grants.page(after, limit, |grant| {
            let reaches = |path: &Path| grant.path.parse::<PathPattern>().is_ok_and(|pattern| pattern.matches(path));
            (principal.is_empty() || grant.principal == principal) && path.is_none_or(reaches)
        });
        (page.into_iter().map(|(_, row)| row.value).collect(), more)
    }

    /// One grant.
    #[must_use]
    pub fn grant(&self, id: GrantId) -> Option<Arc<GrantRecord>> {
        self.grants.find(&id.to_string()).map(|row| row.value)
    }

    /// Plans a policy, new or changed.
    ///
    /// # Errors
    /// Fails where the text does not pass the check or the etag is another state's.
    pub fn put_policy(
        &self,
        caller: &Caller,
        name: &Name,
        text: String,
        etag: &str,
    ) -> Result<Planned<Row<PolicyRecord>>, Failure> {
        self.with_policy(name, &text)?;
        let row = self.policies.find(name.as_str());
        match (&row, etag) {
            (_, "") | (None, "new") => {}
            (Some(row), etag) => check_etag(row, etag)?,
            (None, _) => return Err(Failure::conflict()),
        }
        let record = PolicyRecord { text, updated: self.now(), updated_by: caller.principal.to_string() };
        let answer = Row { value: Arc::new(record.clone()), version: row.map_or(0, |row| row.version) + 1 };
        let mut batch = Batch::default();
        let put = self.policies.put(&mut batch, name.as_str(), record)?;
        Ok(Planned { batch, answer, then: vec![put], policy: PolicyChange::Other })
    }

    /// The policies in force with this one, new or changed.
    ///
    /// # Errors
    /// Fails where the text does not pass the check.
    pub(crate) fn with_policy(&self, name: &Name, text: &str) -> Result<Policies, Failure> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(Failure::told(Reason::LimitExceeded, format!("a policy has at most {POLICY_BYTES_MAX} bytes")));
        }
        if let Some(finding) = Policies::lint(text).into_iter().find(|finding| finding.error) {
            let message = format!("line {}: {}", finding.line, finding.message);
            return Err(Failure::told(Reason::PolicyInvalid, message));
        }
        let others = self.policy_texts().filter(|(other, _)| other != name);
        let with_this = self.in_force().with_texts(0, others.chain([(name.clone(), text.to_owned())]));
        with_this.map_err(|error| Failure::told(Reason::PolicyInvalid, error.to_string()))
    }

    /// The policies in force without this one.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub(crate) fn without_policy(&self, name: &Name) -> Result<Policies, Failure> {
        self.policy(name)?;
        let others = self.policy_texts().filter(|(other, _)| other != name);
        self.in_force().with_texts(0, others).map_err(|_| Failure::internal("the policies in force do not compile"))
    }

    /// One policy.
    ///
    /// # Errors
    /// Fails where there is none of this name.
    pub fn policy(&self, name: &Name) -> Result<Row<PolicyRecord>, Failure> {
        self.policies.find(name.as_str()).ok_or_else(|| Failure::new(Reason::NotFound, "there is no policy of this name"))
    }

    /// A page of policies behind a name, and whether there are more.
    pub fn policies(&self, after: &str, limit: usize) -> (Vec<(String, Row<PolicyRecord>)>, bool) {
        self.policies.page(after, limit, |_| true)
    }

    /// Plans that a policy goes.
    ///
    /// # Errors
    /// Fails where there is none of this name or the etag is another state's.
    pub fn delete_policy(&self, name: &Name, etag: &str) -> Result<Planned<()>, Failure> {
        check_etag(&self.policy(name)?, etag)?;
        let mut batch = Batch::default();
        let then = self.policies.delete(&mut batch, name.as_str())?.into_iter().collect();
        Ok(Planned { batch, answer: (), then, policy: PolicyChange::Other })
    }

    /// What a grant to this principal stands on.
    fn holder(&self, principal: &PrincipalPattern) -> Result<HolderRecord, Failure> {
        let missing = |what| Failure::new(Reason::NotFound, what);
        match principal {
            PrincipalPattern::Workload { cluster, .. } => {
                let row = self.clusters.find(cluster.as_str()).ok_or_else(|| missing("there is no cluster of this name"))?;
                Ok(HolderRecord::Cluster(row.value.id))
            }
            PrincipalPattern::Operator(name) => {
                let row = self.operators.find(name.as_str()).ok_or_else(|| missing("there is no operator of this name"))?;
                Ok(HolderRecord::Operator(row.value.id))
            }
            PrincipalPattern::Role(_) => Ok(HolderRecord::Role),
        }
    }

    /// The grant as policy takes it; `None` where what it stands on is gone, or is another of the same name.
    fn standing(&self, record: &GrantRecord) -> Option<Grant> {
        let path: PathPattern = record.path.parse().ok()?;
        let principal: PrincipalPattern = record.principal.parse().ok()?;
        let stands = self.mount(path.base()).ok()? == record.mount && self.holder(&principal).ok()? == record.holder;
        let actions = record.actions.iter().filter_map(|action| action.parse().ok()).collect();
        // One that this version cannot read holds never, rather than without its conditions.
        let require = record.require.parse().ok()?;
        stands.then_some(Grant { id: record.id, actions, path, principal, require })
    }

    pub(crate) fn compile(&self, version: u64) -> Result<Policies, Failure> {
        let grants = self.grants.all().into_iter().filter_map(|(_, row)| self.standing(&row.value)).collect::<Vec<_>>();
        Policies::compile(version, grants, self.policy_texts()).map_err(|error| {
            tracing::error!(%error, "the policies in force do not compile");
            Failure::internal("the policies in force do not compile")
        })
    }

    fn policy_texts(&self) -> impl Iterator<Item = (Name, String)> + use<> {
        self.policies.all().into_iter().filter_map(|(name, row)| Some((name.parse().ok()?, row.value.text.clone())))
    }

    /// The roles of a principal, as they are now.
    pub(crate) fn caller(&self, principal: Principal) -> Caller {
        let roles = match &principal {
            Principal::Operator(name) => {
                let row = self.operators.find(name.as_str());
                row.map(|row| crate::operators::roles_of(&row.value).into_iter().collect()).unwrap_or_default()
            }
            Principal::Workload { .. } | Principal::Bootstrap => Vec::new(),
        };
        Caller { principal, roles }
    }
}
