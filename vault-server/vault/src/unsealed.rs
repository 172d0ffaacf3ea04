//! A vault at work.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use coffer_audit::{log::Log, record::ValueHasher};
use coffer_barrier::{Barrier, Label, RecordKey, Scope, seal::SealKind};
use coffer_core::{
    action::Action,
    clock::{Clock, Timestamp},
    id::{RequestId, TenantId},
    path::Path,
    policy::{Caller, Context, Decision, Explanation, ImageFacts, PodSecurity, Policies, Query, Resource},
    principal::{Name, Principal},
    reason::Reason,
};
use coffer_crypto::{hash::HmacKey, token::Sealer};
use coffer_engines::{pki, transit};
use coffer_kubernetes::Known;
use tokio::sync::{Mutex, MutexGuard, Notify, Semaphore, watch};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    Failure, LoginError, Planned, PolicyChange,
    clusters::{ClusterRuntime, ClusterSettings, Runtimes},
    databases::InUse,
    epoch,
    figures::Decisions,
    gate::Gate,
    leases::{Changes, Endings},
    lists::Lists,
    login::{PASSWORD_CHECKS_MAX, PASSWORD_PLACES},
    losses::Losses,
    pod_keys::PodKeys,
    postures::Postures,
    records::{
        BootstrapRecord, ClusterRecord, DenyRecord, ErasureRecord, GrantRecord, MountRecord, OperatorRecord, PolicyRecord,
        SessionRecord, TenantRecord,
    },
    rekey::Rekeying,
    rewrap::Rewrap,
    sessions::{Authenticated, OpenedTokens},
    static_roles::StaticTurns,
    table::Table,
    trail::{Record, Settled, StoredRecord},
    watchers::Watchers,
};

/// The tenant that is there from the start.
pub(crate) const TENANT_DEFAULT: &str = "default";

/// A vault at work. Owns the barrier, and with it the keys: the vault is sealed when the last holder lets go.
pub struct Unsealed {
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenant: TenantRecord,
    pub(crate) mounts: Arc<Table<MountRecord>>,
    pub(crate) erasures: Arc<Table<ErasureRecord>>,
    /// Tells that there is something to erase.
    pub(crate) erasing: Notify,
    pub(crate) databases_in_use: InUse,
    /// One password of the vault's own at a time.
    pub(crate) rotating: Mutex<()>,
    pub(crate) static_turns: StaticTurns,
    pub(crate) endings: Arc<Endings>,
    /// How many leases there are.
    pub(crate) leases: AtomicU64,
    /// Changes of that which wait to be written.
    pub(crate) lease_changes: Changes,
    pub(crate) operators: Arc<Table<OperatorRecord>>,
    pub(crate) clusters: Arc<Table<ClusterRecord>>,
    pub(crate) grants: Arc<Table<GrantRecord>>,
    pub(crate) policies: Arc<Table<PolicyRecord>>,
    pub(crate) sessions: Arc<Table<SessionRecord>>,
    pub(crate) gate: Gate,
    pub(crate) denials: Arc<Table<DenyRecord>>,
    pub(crate) bootstrap: Arc<Table<BootstrapRecord>>,
    pub(crate) repeats: RecordKey,
    pub(crate) runtimes: Runtimes,
    pub(crate) keys_of_pods: PodKeys,
    pub(crate) postures: Arc<Postures>,
    /// Issuers and roles that issued lately.
    pub(crate) pki_in_use: Arc<pki::Ready>,
    /// Keys of the engine transit that were used lately.
    pub(crate) transit_in_use: Arc<transit::Ready>,
    /// Revocation lists that were signed lately.
    pub(crate) lists: Arc<Lists>,
    pub(crate) session_sealer: Sealer,
    pub(crate) opened: OpenedTokens,
    pub(crate) page_sealer: Sealer,
    pub(crate) repeat_key: HmacKey,
    pub(crate) watch_sealer: Sealer,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) values: ValueHasher,
    pub(crate) log: Arc<Log>,
    pub(crate) settled: Arc<Settled>,
    /// How far re-encryption has come since the vault went to work.
    pub(crate) rewrap: watch::Sender<Option<Rewrap>>,
    /// New shares in the making.
    pub(crate) rekeying: Mutex<Option<Rekeying>>,
    /// One snapshot at a time.
    pub(crate) saving: Mutex<()>,
    /// Requests of which it is not known whether what they wrote is stored.
    pub(crate) doubtful: std::sync::Mutex<BTreeSet<RequestId>>,
    pub(crate) password_queue: Semaphore,
    pub(crate) password_turns: Semaphore,
    pub(crate) tasks: TaskTracker,
    pub(crate) ending: CancellationToken,
    pub(crate) decisions: Decisions,
    seal: SealKind,
    in_force: ArcSwap<Policies>,
    policy_version: watch::Sender<u64>,
    /// Counts what may have ended sessions.
    pub(crate) session_losses: Arc<Losses>,
    changes: Mutex<()>,
    pub(crate) not_before: Timestamp,
    /// How far the clock was behind that when the vault went to work.
    behind: Duration,
    _end: DropGuard,
}

/// What a vault at work is put together from.
pub(crate) struct Parts {
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) log: Arc<Log>,
    pub(crate) seal: SealKind,
    /// The latest time that the vault is known to have seen.
    pub(crate) not_before: Timestamp,
    /// The audit log's epoch: sessions of another hold no longer.
    pub(crate) epoch: u64,
}

/// A directory of a tenant.
pub(crate) fn directory(tenant: TenantId, name: &str) -> Result<RecordKey, Failure> {
    RecordKey::root(Scope::Tenant(tenant)).child(name).map_err(|_| Failure::internal("a directory's name is not one"))
}

/// A directory of the vault's own.
pub(crate) fn system_directory(name: &str) -> Result<RecordKey, Failure> {
    RecordKey::root(Scope::System).child(name).map_err(|_| Failure::internal("a directory's name is not one"))
}

/// Where the tenants are.
pub(crate) const TENANTS: &str = "tenant";
/// Where a tenant's mounts are.
pub(crate) const MOUNTS: &str = "mount";
/// Where a tenant's sessions are.
pub(crate) const SESSIONS: &str = "session";
/// Where a tenant's operators are.
pub(crate) const OPERATORS: &str = "operator";
/// Where a tenant's clusters are.
pub(crate) const CLUSTERS: &str = "cluster";
/// Where a tenant's bootstrap credential is.
pub(crate) const BOOTSTRAP_TABLE: &str = "bootstrap";

/// How far the clock is behind a time that the vault has seen; the log says so, where it is.
fn told_behind(clock: &dyn Clock, not_before: Timestamp) -> Duration {
    let behind = not_before.since(clock.now());
    if !behind.is_zero() {
        tracing::error!(
            behind_secs = behind.as_secs(),
            "the clock stands before a time that the vault has seen: nothing is issued until it has caught up, or the \
             server is started again with the right time (docs/server.md, \"When the clock was wrong\")"
        );
    }
    behind
}

impl Unsealed {
    /// Reads what the vault keeps about itself.
    pub(crate) async fn open(parts: Parts) -> Result<Arc<Self>, Failure> {
        let Parts { barrier, clock, log, seal, not_before, epoch } = parts;
        let tenants = Table::<TenantRecord>::load(&barrier, system_directory(TENANTS)?).await?;
        let tenant = tenants.find(TENANT_DEFAULT).ok_or_else(|| Failure::internal("the default tenant is missing"))?;
        let id = tenant.value.id;
        let derived = async |scope, label| barrier.derived(scope, label).await.map_err(Failure::from);
        let ending = CancellationToken::new();
        let behind = told_behind(&*clock, not_before);
        let vault = Self {
            mounts: Arc::new(Table::load(&barrier, directory(id, MOUNTS)?).await?),
            erasures: Arc::new(Table::load(&barrier, directory(id, "erasure")?).await?),
            erasing: Notify::new(),
            databases_in_use: InUse::default(),
            rotating: Mutex::new(()),
            static_turns: StaticTurns::default(),
            endings: Arc::default(),
            leases: AtomicU64::new(0),
            lease_changes: Changes::default(),
            operators: Arc::new(Table::load(&barrier, directory(id, OPERATORS)?).await?),
            clusters: Arc::new(Table::load(&barrier, directory(id, CLUSTERS)?).await?),
            grants: Arc::new(Table::load(&barrier, directory(id, "grant")?).await?),
            policies: Arc::new(Table::load(&barrier, directory(id, "policy")?).await?),
            sessions: Arc::new(Table::load(&barrier, directory(id, SESSIONS)?).await?),
            gate: Gate::load(&barrier, id, clock.now().max(not_before)).await?,
            denials: Arc::new(Table::load(&barrier, directory(id, "denial")?).await?),
            bootstrap: Arc::new(Table::load(&barrier, directory(id, BOOTSTRAP_TABLE)?).await?),
            repeats: directory(id, "repeat")?,
            runtimes: Arc::new(RwLock::new(BTreeMap::new())),
            keys_of_pods: PodKeys::default(),
            postures: Postures::load(&barrier, id).await?,
            pki_in_use: Arc::default(),
            transit_in_use: Arc::default(),
            lists: Arc::default(),
            session_sealer: Sealer::new(&epoch::sessions(derived(Scope::Tenant(id), Label::Sessions).await?, epoch), "session"),
            opened: OpenedTokens::default(),
            page_sealer: Sealer::new(&derived(Scope::Tenant(id), Label::Pages).await?, "page"),
            repeat_key: HmacKey::new(derived(Scope::Tenant(id), Label::Idempotency).await?.expose()),
            watch_sealer: Sealer::new(&derived(Scope::Tenant(id), Label::Pages).await?, "watch"),
            watchers: Arc::default(),
            values: ValueHasher::new(&derived(Scope::Tenant(id), Label::AuditValues).await?),
            settled: Arc::default(),
            rewrap: watch::Sender::new(None),
            rekeying: Mutex::new(None),
            saving: Mutex::new(()),
            doubtful: std::sync::Mutex::default(),
            password_queue: Semaphore::new(PASSWORD_PLACES),
            password_turns: Semaphore::new(PASSWORD_CHECKS_MAX),
            tasks: TaskTracker::new(),
            ending: ending.clone(),
            in_force: ArcSwap::from_pointee(Policies::compile(0, [], []).map_err(|_| Failure::internal("no policies compile"))?),
            policy_version: watch::Sender::new(0),
            decisions: Decisions::default(),
            session_losses: Arc::default(),
            changes: Mutex::new(()),
            _end: ending.drop_guard(),
            tenant: (*tenant.value).clone(),
            barrier,
            clock,
            log,
            seal,
            not_before,
            behind,
        };
        vault.in_force.store(Arc::new(vault.compile(1)?));
        vault.leases.store(vault.leases_count().await?, Ordering::Relaxed);
        vault.resume_clusters().await?;
        vault.replay().await?;
        Ok(Arc::new(vault))
    }

    /// The time: never before one that the vault has seen, so that nothing that is over comes back.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now().max(self.not_before)
    }

    /// The time for what was issued at `issued`. What was issued before this process ends no later for a clock that went
    /// back: its time goes on from the latest that the vault has seen.
    pub(crate) fn now_for(&self, issued: Timestamp) -> Timestamp {
        if issued < self.not_before { self.now().max(self.clock.now().plus(self.behind)) } else { self.now() }
    }

    /// How far the clock is behind the latest time that the vault had seen when it went to work.
    pub(crate) fn clock_behind(&self) -> Duration {
        self.not_before.since(self.clock.now())
    }

    /// Fails while the clock stands before a time that the vault has seen: nothing new is issued then.
    pub(crate) fn time_is_right(&self) -> Result<(), Failure> {
        if !self.clock_behind().is_zero() {
            return Err(Failure::new(
                Reason::Unavailable,
                "the server's clock has gone back: nothing is issued until it has caught up, or was set right and the server \
                 started again",
            ));
        }
        Ok(())
    }

    /// The tenant's name.
    #[must_use]
    pub const fn tenant_name(&self) -> &'static str {
        TENANT_DEFAULT
    }

    /// Whether a login may name this tenant.
    ///
    /// # Errors
    /// Fails as any login does where there is no such tenant.
    pub fn check_tenant(&self, name: &str) -> Result<(), LoginError> {
        if name.is_empty() || name == TENANT_DEFAULT { Ok(()) } else { Err(LoginError::Refused("no such tenant".to_owned())) }
    }

    /// Asks policy.
    #[must_use]
    pub fn decide(&self, who: &Authenticated, action: Action, resource: &Resource) -> Decision {
        let context = self.context(who);
        self.decide_on(&Query { caller: &who.caller, action, resource, context: &context })
    }

    /// The same, where the context is known.
    pub(crate) fn decide_on(&self, query: &Query<'_>) -> Decision {
        let (decision, remembered) = self.in_force.load().decide_or_remember(query);
        if remembered { &self.decisions.remembered } else { &self.decisions.made }.add_one();
        decision
    }

    /// Says how policy would decide, and why.
    #[must_use]
    pub fn explain(&self, principal: &Principal, action: Action, path: &Path) -> Explanation {
        let caller: Caller = self.caller(principal.clone());
        let context = self.context_without_pod();
        let resource = Resource::Path(path.clone());
        self.in_force.load().explain(&Query { caller: &caller, action, resource: &resource, context: &context })
    }

    /// The policies in force.
    pub(crate) fn in_force(&self) -> Arc<Policies> {
        self.in_force.load_full()
    }

    /// Tells when the policies in force change.
    #[must_use]
    pub fn policy_changes(&self) -> watch::Receiver<u64> {
        self.policy_version.subscribe()
    }

    /// Ends when the vault is sealed.
    #[must_use]
    pub fn ending(&self) -> CancellationToken {
        self.ending.clone()
    }

    /// Waits for the turn to change what the vault keeps about itself.
    pub async fn change(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().await
    }

    /// Reads a cluster's keys and begins to follow its pods, before it is registered.
    ///
    /// # Errors
    /// Fails where that cannot be done.
    pub async fn start_cluster(&self, name: &Name, settings: &ClusterSettings) -> Result<Arc<ClusterRuntime>, Failure> {
        let known = match self.clusters.find(name.as_str()) {
            Some(row) => self.known_pods(row.value.id).await?,
            None => Known::default(),
        };
        ClusterRuntime::start(settings, &*self.clock, (&self.session_losses, &self.gate.changes), known).await
    }

    /// Writes what was planned, with its audit record, and lets it take effect in memory.
    ///
    /// # Errors
    /// Fails with a conflict where the state has changed since it was planned.
    pub async fn commit<T>(&self, planned: Planned<T>, record: &Record) -> Result<(T, StoredRecord), Failure> {
        let Planned { batch, answer, then, policy } = planned;
        let stored = self.write(batch, record).await?;
        let changes = !then.is_empty();
        for change in then {
            change();
        }
        if changes {
            self.look_at_sessions();
        }
        self.follow(policy)?;
        Ok((answer, stored))
    }

    /// Seals a page token: `list` says which list it leads on in.
    ///
    /// # Errors
    /// Fails where the cipher does.
    pub fn page_token(&self, list: &str, last: &str) -> Result<String, Failure> {
        let sealed = self.page_sealer.seal_within(list.as_bytes(), last.as_bytes());
        sealed.map(|token| token.expose().to_owned()).map_err(|_| Failure::internal("a page token cannot be sealed"))
    }

    /// Opens a page token of this list.
    #[must_use]
    pub fn open_page_token(&self, list: &str, token: &str) -> Option<String> {
        let bytes = self.page_sealer.open_within(list.as_bytes(), token).ok()?;
        String::from_utf8(bytes.expose().to_vec()).ok()
    }

    /// A keyed hash of a request, to tell a repetition from another request.
    #[must_use]
    pub fn fingerprint(&self, method: &str, request: &[u8]) -> [u8; 32] {
        self.repeat_key.tag_parts(&[method.as_bytes(), b"\0", request])
    }

    /// Takes note that a record was re-encrypted.
    pub(crate) fn rewritten(&self, key: &RecordKey, version: u64) {
        self.mounts.rewritten(key, version);
        self.erasures.rewritten(key, version);
        self.operators.rewritten(key, version);
        self.clusters.rewritten(key, version);
        self.grants.rewritten(key, version);
        self.policies.rewritten(key, version);
        self.sessions.rewritten(key, version);
        self.gate.rewritten(key, version);
        self.denials.rewritten(key, version);
        self.bootstrap.rewritten(key, version);
    }

    /// Reads all tables again, after a write of which it is not known whether it was done.
    pub(crate) async fn reload(&self) -> Result<(), Failure> {
        self.mounts.reload(&self.barrier).await?;
        self.erasures.reload(&self.barrier).await?;
        self.operators.reload(&self.barrier).await?;
        self.clusters.reload(&self.barrier).await?;
        self.grants.reload(&self.barrier).await?;
        self.policies.reload(&self.barrier).await?;
        self.sessions.reload(&self.barrier).await?;
        self.gate.reload(&self.barrier).await?;
        self.denials.reload(&self.barrier).await?;
        self.bootstrap.reload(&self.barrier).await?;
        self.look_at_sessions();
        self.follow(PolicyChange::Other)
    }

    fn follow(&self, change: PolicyChange) -> Result<(), Failure> {
        let before = self.in_force.load();
        let version = *self.policy_version.borrow() + 1;
        let after = match change {
            PolicyChange::None => return Ok(()),
            PolicyChange::Added(grant) => {
                before.with_grant(version, grant).map_err(|_| Failure::internal("a grant does not compile"))?
            }
            PolicyChange::Removed(id) => before.without_grant(version, &id),
            PolicyChange::Other => self.compile(version)?,
        };
        self.in_force.store(Arc::new(after));
        self.policy_version.send_replace(version);
        Ok(())
    }

    pub(crate) fn context_without_pod(&self) -> Context {
        Context {
            now: self.now(),
            tenant: self.tenant_name().to_owned(),
            seal: match self.seal {
                SealKind::Shamir => "shamir",
                SealKind::StaticKey => "static-key",
            }
            .to_owned(),
            pod: None,
            image: ImageFacts::default(),
            host: None,
            workload: PodSecurity::Unknown,
            until: None,
        }
    }

    /// Figures for operators.
    ///
    /// # Errors
    /// Fails where the store does.
    pub async fn status(&self) -> Result<Status, Failure> {
        let store_revision = self.barrier.revision().await?.0;
        Ok(Status { store: self.barrier.store_kind(), store_revision, audit_size: self.log.size() })
    }
}

/// Figures of a vault at work.
pub struct Status {
    /// The store's kind.
    pub store: &'static str,
    /// The store's revision.
    pub store_revision: u64,
    /// Entries in the audit log.
    pub audit_size: u64,
}
