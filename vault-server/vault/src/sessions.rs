//! Sessions: made at login, opened with every request, ended early.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use coffer_barrier::Batch;
use coffer_core::{
    clock::Timestamp,
    id::SessionId,
    limits::{BOOTSTRAP_LIFETIME, OPERATOR_SESSION_LIFETIME},
    policy::{Caller, PodFacts},
    principal::{Name, Principal},
    recent::Recent,
    session::{Holder, SESSION_VERSION, SessionClaims},
};
use coffer_crypto::{hash, random};
use coffer_kubernetes::PodState;
use coffer_secret::SecretString;

use crate::{
    Failure, LoginError, Planned, PolicyChange, Record, Unsealed,
    records::{BootstrapRecord, DenyRecord, SessionRecord},
    table::{Change, Row},
};

/// The one row of the bootstrap table.
pub(crate) const BOOTSTRAP: &str = "credential";
/// What policy sees where a token does not say it.
const UNKNOWN: &str = "unknown";
/// How long the news of a new pod may take.
pub(crate) const POD_NEWS_TIME_MAX: Duration = Duration::from_secs(30);
/// Stored sessions that end in one transaction.
const SESSIONS_ENDED_AT_ONCE: usize = 64;
/// Session tokens that are remembered as opened.
const OPENED_TOKENS_MAX: usize = 8_192;
/// What a bootstrap credential begins with.
const BOOTSTRAP_PREFIX: &str = "coffer-bootstrap-";

/// A caller whose session holds.
pub struct Authenticated {
    /// What the session says.
    pub claims: Arc<SessionClaims>,
    /// Principal and roles, for policy.
    pub caller: Caller,
    /// The pod, for a workload.
    pub pod: Option<PodFacts>,
}

/// What session tokens say that were opened lately, by the hash of the token: what a token says never changes, and
/// opening it costs more than all that is asked about it then, each time anew.
pub(crate) struct OpenedTokens(Mutex<Recent<[u8; 32], Arc<SessionClaims>>>);

impl Default for OpenedTokens {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(OPENED_TOKENS_MAX)))
    }
}

impl OpenedTokens {
    fn claims(&self, token: &str, open: impl FnOnce() -> Option<SessionClaims>) -> Result<Arc<SessionClaims>, Failure> {
        let name = hash::sha256(token.as_bytes());
        if let Some(claims) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Ok(Arc::clone(claims));
        }
        let claims = Arc::new(open().ok_or_else(Failure::session)?);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(name, Arc::clone(&claims));
        Ok(claims)
    }
}

/// A new session.
pub struct NewSession {
    /// The token.
    pub token: SecretString,
    /// What it says.
    pub claims: SessionClaims,
    /// The principal.
    pub principal: Principal,
}

impl Unsealed {
    /// Opens a session token that came over a connection with this key.
    ///
    /// # Errors
    /// Fails, always in the same way, where the session does not hold.
    pub fn authenticate(&self, token: &str, thumbprint: &[u8; 32]) -> Result<Authenticated, Failure> {
        let claims = self.opened.claims(token, || {
            let bytes = self.session_sealer.open(token).ok()?;
            SessionClaims::decode(bytes.expose()).ok()
        })?;
        if claims.tenant != self.tenant.id || claims.check(self.now_for(claims.issued), thumbprint).is_err() {
            return Err(Failure::session());
        }
        let principal = self.holder_lives(&claims)?;
        let pod = pod_facts(&claims.holder);
        Ok(Authenticated { caller: self.caller(principal), pod, claims })
    }

    /// Whether the session of these claims still holds: for streams, which outlive the check at their beginning.
    #[must_use]
    pub fn still_holds(&self, who: &Authenticated) -> bool {
        who.claims.check(self.now_for(who.claims.issued), &who.claims.thumbprint).is_ok()
            && self.holder_lives(&who.claims).is_ok()
    }

    /// A session for a workload or the bootstrap credential: nothing is stored.
    ///
    /// # Errors
    /// Fails where random numbers or the cipher do.
    pub(crate) fn issue(
        &self,
        holder: Holder,
        epoch: u64,
        thumbprint: [u8; 32],
        expires: Timestamp,
    ) -> Result<NewSession, Failure> {
        self.time_is_right()?;
        let claims = SessionClaims {
            version: SESSION_VERSION,
            id: SessionId::from_bytes(random::bytes().map_err(|_| Failure::internal("no random numbers"))?),
            tenant: self.tenant.id,
            holder,
            thumbprint,
            issued: self.now(),
            expires,
            epoch,
        };
        let unsealable = |_| Failure::internal("a session cannot be sealed");
        let bytes = claims.encode().map_err(|_| Failure::internal("a session cannot be written"))?;
        let token = self.session_sealer.seal(&bytes).map_err(unsealable)?;
        Ok(NewSession { token, principal: claims.holder.principal(), claims })
    }

    /// Plans a session for an operator whom a login let in.
    ///
    /// # Errors
    /// Fails where the operator is gone meanwhile.
    pub fn issue_operator(&self, name: &Name, thumbprint: [u8; 32]) -> Result<Planned<NewSession>, Failure> {
        let row = self.operators.find(name.as_str()).ok_or_else(Failure::login)?;
        let holder = Holder::Operator { id: row.value.id, name: name.clone() };
        let expires = self.now().plus(OPERATOR_SESSION_LIFETIME);
        let session = self.issue(holder, 0, thumbprint, expires)?;
        let mut batch = Batch::default();
        let mut then = self.forget_expired_sessions(&mut batch)?;
        let record = SessionRecord {
            id: session.claims.id,
            principal: session.principal.to_string(),
            created: session.claims.issued,
            expires,
        };
        then.push(self.sessions.put(&mut batch, &record.id.to_string(), record)?);
        Ok(Planned { batch, answer: session, then, policy: PolicyChange::None })
    }

    /// A page of operators' sessions behind an id, and whether there are more.
    pub fn sessions(&self, after: &str, limit: usize) -> (Vec<Arc<SessionRecord>>, bool) {
        let now = self.now();
        let (page, more) = self.sessions.page(after, limit, |session| session.expires > now);
        (page.into_iter().map(|(_, row)| row.value).collect(), more)
    }

    /// Plans that an operator's session ends.
    ///
    /// # Errors
    /// Fails where the record cannot be named.
    pub fn revoke_session(&self, id: SessionId) -> Result<Planned<()>, Failure> {
        let mut batch = Batch::default();
        let then = self.sessions.delete(&mut batch, &id.to_string())?.into_iter().collect();
        Ok(Planned { batch, answer: (), then, policy: PolicyChange::None })
    }

    /// Plans that the caller's session ends.
    ///
    /// # Errors
    /// Fails where the record cannot be written.
    pub fn log_out(&self, who: &Authenticated) -> Result<Planned<()>, Failure> {
        match who.claims.holder {
            Holder::Operator { .. } => self.revoke_session(who.claims.id),
            Holder::Workload { .. } | Holder::Bootstrap => self.revoke_principal(&session_denial(who.claims.id)),
        }
    }

    /// Plans that all sessions of a principal (or of a pod: `pod:UID`) end that began before now.
    ///
    /// # Errors
    /// Fails where the record cannot be written.
    pub fn revoke_principal(&self, principal: &str) -> Result<Planned<()>, Failure> {
        let (mut batch, mut then) = (Batch::default(), Vec::new());
        then.push(self.deny(principal, &mut batch)?);
        if let Ok(operator @ Principal::Operator(_)) = principal.parse() {
            self.end_sessions_but(&operator, None, &mut batch, &mut then)?;
        }
        Ok(Planned { batch, answer: (), then, policy: PolicyChange::None })
    }

    /// Adds to a batch that an operator's stored sessions end, but the one to `keep`. What does not fit into one
    /// transaction ends by a denial of all.
    pub(crate) fn end_sessions_but(
        &self,
        principal: &Principal,
        keep: Option<SessionId>,
        batch: &mut Batch,
        then: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        let name = principal.to_string();
        let (sessions, more) = self.sessions.page("", SESSIONS_ENDED_AT_ONCE, |session| session.principal == name);
        if more && !batch.is_empty() {
            return Ok(());
        }
        if more {
            then.push(self.deny(&name, batch)?);
            return Ok(());
        }
        for (id, row) in sessions {
            if Some(row.value.id) != keep {
                then.extend(self.sessions.delete(batch, &id)?);
            }
        }
        Ok(())
    }

    /// Makes a bootstrap credential: 256 random bits, of which the store keeps the hash.
    pub(crate) fn new_bootstrap(&self) -> Result<Planned<(SecretString, Timestamp)>, Failure> {
        let expires = self.now().plus(BOOTSTRAP_LIFETIME);
        let (credential, record) = bootstrap_record(expires)?;
        let mut batch = Batch::default();
        let put = self.bootstrap.put(&mut batch, BOOTSTRAP, record)?;
        Ok(Planned { batch, answer: (credential, expires), then: vec![put], policy: PolicyChange::None })
    }

    /// A session for the holder of the bootstrap credential, or, once, for a pod of the service account that the vault began with.
    ///
    /// # Errors
    /// Fails, always in the same way, where the credential is not the one in force.
    pub async fn login_bootstrap(
        &self,
        credential: &SecretString,
        thumbprint: [u8; 32],
        peer: Option<IpAddr>,
    ) -> Result<NewSession, LoginError> {
        let refused = || LoginError::Refused("not the bootstrap credential in force".to_owned());
        let row = self.bootstrap.find(BOOTSTRAP).ok_or_else(refused)?;
        if row.value.workload.is_some() && !credential.expose().starts_with(BOOTSTRAP_PREFIX) {
            return self.bootstrap_for_workload(credential, thumbprint, peer).await;
        }
        // A hash of 256 random bits: comparing it in variable time tells nothing that opens anything.
        let same = hash::sha256(credential.expose().as_bytes()).as_slice() == row.value.hash.as_slice();
        if !same || row.value.expires <= self.now() {
            return Err(refused());
        }
        Ok(self.issue(Holder::Bootstrap, row.version, thumbprint, row.value.expires)?)
    }

    async fn bootstrap_for_workload(
        &self,
        token: &SecretString,
        thumbprint: [u8; 32],
        peer: Option<IpAddr>,
    ) -> Result<NewSession, LoginError> {
        let refused = || LoginError::Refused("not of the service account that the vault began with, or not any more".to_owned());
        let principal = self.checked_workload(token, "", peer).await?.holder.principal().to_string();
        let _one_at_a_time = self.change().await;
        let row = self.bootstrap.find(BOOTSTRAP).ok_or_else(refused)?;
        if row.value.workload.as_ref() != Some(&principal) || row.value.expires <= self.now() {
            return Err(refused());
        }
        let spent = BootstrapRecord { workload: None, ..(*row.value).clone() };
        let mut batch = Batch::default();
        let put = self.bootstrap.put(&mut batch, BOOTSTRAP, spent)?;
        let planned = Planned { batch, answer: (), then: vec![put], policy: PolicyChange::None };
        let record = Record::event("bootstrap_by_service_account", self.now())?.detailed("principal", &principal);
        let ((), stored) = self.commit(planned, &record).await?;
        self.append_written(stored).await?;
        let row = self.bootstrap.find(BOOTSTRAP).ok_or_else(refused)?;
        Ok(self.issue(Holder::Bootstrap, row.version, thumbprint, row.value.expires)?)
    }

    fn deny(&self, principal: &str, batch: &mut Batch) -> Result<Change, Failure> {
        // One millisecond on, so that a session of this very moment ends too.
        let before = self.now().plus(Duration::from_millis(1));
        self.denials.put(batch, &denial(principal), DenyRecord { before })
    }

    fn denied(&self, principal: &str, issued: Timestamp) -> bool {
        !self.denials.is_empty()
            && self.denials.find(&denial(principal)).is_some_and(|row: Row<DenyRecord>| issued < row.value.before)
    }

    /// The principal of a session, if what the session stands on is still there.
    fn holder_lives(&self, claims: &SessionClaims) -> Result<Principal, Failure> {
        match &claims.holder {
            Holder::Workload { cluster, cluster_id, pod, .. } => {
                let row = self
                    .clusters
                    .find(cluster.as_str())
                    .filter(|row| row.value.id == *cluster_id)
                    .ok_or_else(Failure::session)?;
                if let Some(pod) = pod {
                    let gone = match self.pod_state(row.value.id, &pod.uid) {
                        Some(PodState::Gone) => true,
                        // Ended while nobody looked; or so new that the news of it is still on the way.
                        Some(PodState::Unseen) => self.now().since(claims.issued) >= POD_NEWS_TIME_MAX,
                        Some(PodState::Alive { .. } | PodState::Unknown) | None => false,
                    };
                    if gone || self.denied(&format!("pod:{}", pod.uid), claims.issued) {
                        return Err(Failure::session());
                    }
                }
            }
            Holder::Operator { id, name } => {
                let lives = self.operators.find(name.as_str()).is_some_and(|row| row.value.id == *id)
                    && self.sessions.find(&claims.id.to_string()).is_some();
                if !lives {
                    return Err(Failure::session());
                }
            }
            Holder::Bootstrap => {
                let row = self.bootstrap.find(BOOTSTRAP).ok_or_else(Failure::session)?;
                if claims.ended_by(row.version) {
                    return Err(Failure::session());
                }
            }
        }
        let principal = claims.holder.principal();
        let denied = self.denied(&principal.to_string(), claims.issued) || self.denied(&session_denial(claims.id), claims.issued);
        if denied { Err(Failure::session()) } else { Ok(principal) }
    }

    /// Rides along with a new session: a few that are over leave the store, and denials that can deny nothing any more.
    fn forget_expired_sessions(&self, batch: &mut Batch) -> Result<Vec<Change>, Failure> {
        const AT_ONCE: usize = 8;
        let now = self.now();
        let (spent, _) = self.denials.page("", AT_ONCE, |denial| denial.before.plus(OPERATOR_SESSION_LIFETIME) <= now);
        let (expired, _) = self.sessions.page("", AT_ONCE, |session| session.expires <= now);
        let mut then = Vec::new();
        for (id, _) in &expired {
            then.extend(self.sessions.delete(batch, id)?);
        }
        for (name, _) in &spent {
            then.extend(self.denials.delete(batch, name)?);
        }
        Ok(then)
    }
}

/// What the end of one session is denied as.
fn session_denial(id: SessionId) -> String {
    format!("session:{id}")
}

/// A denial's name: a principal can be longer than a name in the store.
fn denial(principal: &str) -> String {
    hex::encode(hash::sha256(principal.as_bytes()))
}

fn pod_facts(holder: &Holder) -> Option<PodFacts> {
    match holder {
        Holder::Workload { pod: Some(pod), service_account_uid, .. } => Some(PodFacts {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            node: pod.node.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
            service_account_uid: service_account_uid.clone(),
        }),
        _ => None,
    }
}

/// A bootstrap credential of 256 random bits, and what the store keeps of it.
pub(crate) fn bootstrap_record(expires: Timestamp) -> Result<(SecretString, BootstrapRecord), Failure> {
    let secret = random::array::<32>().map_err(|_| Failure::internal("no random numbers"))?;
    let credential = SecretString::from(format!("{BOOTSTRAP_PREFIX}{}", hex::encode(secret.expose())));
    let record = BootstrapRecord { hash: hash::sha256(credential.expose().as_bytes()).to_vec(), expires, workload: None };
    Ok((credential, record))
}
