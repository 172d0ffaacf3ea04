//! The one order in which every request is dealt with:
//!
//! 1. the caller's session is opened;
//! 2. the request is parsed;
//! 3. policy decides;
//! 4. the handler runs, and what it writes goes into the store in one transaction with its audit record;
//! 5. the record is durable: in the audit log, or for a write in the store, from which the log has it soon;
//! 6. the answer leaves.
//!
//! A refusal takes the same road.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use async_trait::async_trait;
use coffer_core::{
    action::Action,
    clock::Timestamp,
    id::RequestId,
    limits::{IDEMPOTENCY_KEY_BYTES_MAX, REQUEST_ID_CHARS_MAX},
    path::Path,
    policy::Resource,
    reason::Reason,
};
use coffer_secret::{SecretBytes, SecretString};
use coffer_vault::{Authenticated, Failure, Idempotency, Outcome, Planned, Record, StoredRecord, Unsealed};
use prost::Message;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use crate::{
    peer::{Caller, Peer},
    rpc::{Access, Rpc},
    services::Api,
    status::status,
};

/// The header of every answer that names the request; a caller may send one of its own.
pub(crate) const REQUEST_ID: &str = "coffer-request-id";
/// How often a change is thought out anew because the state changed meanwhile.
const ATTEMPTS_MAX: usize = 16;

/// What one RPC does, apart from what all of them do.
#[async_trait]
pub(crate) trait Operation: Sized + Send + Sync + 'static {
    /// The request on the wire.
    type Request: Message + Default + Send + 'static;
    /// The answer on the wire.
    type Response: Message + Default + Send + 'static;
    /// The RPC.
    const RPC: Rpc;
    /// Whether it changes what the vault keeps about itself: such changes are made one at a time.
    const CHANGES_VAULT: bool = false;

    /// Takes the request apart. What is refused here is refused before policy is asked.
    fn parse(request: Self::Request) -> Result<Self, Failure>;

    /// The path it concerns; none for the vault as a whole.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// What the audit record says beside the path: names and numbers, never values.
    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// The key under which a repetition of the request gets the same answer; empty for none.
    fn idempotency_key(_request: &Self::Request) -> &str {
        ""
    }

    /// What must be done before the change is thought out, once: hashing, asking others.
    async fn prepare(&mut self, _call: &Call) -> Result<(), Failure> {
        Ok(())
    }

    /// Notes the position of the request's record in the answer, where the answer has a place for it.
    fn receipt(_response: &mut Self::Response, _index: u64) {}

    /// Thinks the change out, or finds the answer. May be called again where the state changed meanwhile.
    async fn run(&self, call: &mut Call) -> Result<Planned<Self::Response>, Failure>;
}

/// A request under way.
pub(crate) struct Call {
    /// The vault.
    pub(crate) vault: Arc<Unsealed>,
    /// Who asks.
    pub(crate) who: Authenticated,
    /// The request.
    pub(crate) id: RequestId,
    /// What the audit log will say.
    pub(crate) record: Record,
}

impl Call {
    /// Whether the caller may do something else as well.
    pub(crate) fn permits(&self, action: Action, resource: &Resource) -> bool {
        self.vault.decide(&self.who, action, resource).permitted
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.vault.now()
    }
}

/// What is known of a request before it is looked into.
pub(crate) struct Envelope {
    /// The request's id, in its records.
    pub(crate) id: RequestId,
    /// The id that the caller is told: the caller's own, where it sent one.
    pub(crate) told: String,
    /// The other end.
    pub(crate) peer: Peer,
    token: Option<SecretString>,
}

impl Envelope {
    /// Reads the headers.
    pub(crate) fn open<T>(request: &Request<T>, api: &Api) -> Self {
        let peer = request.extensions().get::<Caller>().map(|caller| caller.peer);
        let peer = peer.unwrap_or(Peer { key: None, address: None, local: false });
        let id = api.vault().new_request_id();
        let told = own_id(request.metadata()).unwrap_or_else(|| id.to_string());
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer ")).map(SecretString::copied_from);
        Self { id, told, peer, token }
    }

    pub(crate) fn answer<T>(&self, result: Result<T, Failure>) -> Result<Response<T>, Status> {
        let header = self.told.parse().ok();
        match result {
            Ok(answer) => {
                let mut response = Response::new(answer);
                header.map(|id| response.metadata_mut().insert(REQUEST_ID, id));
                Ok(response)
            }
            Err(failure) => {
                let mut status = status(&failure, &self.told);
                header.map(|id| status.metadata_mut().insert(REQUEST_ID, id));
                Err(status)
            }
        }
    }

    /// A record of this request that says how it was answered.
    pub(crate) fn record(&self, rpc: Rpc, now: Timestamp) -> Record {
        let address = self.peer.address.map(|address: IpAddr| address.to_string());
        let mut record = Record::request(self.id, rpc.full_name(), now, address);
        if self.told != self.id.to_string() {
            record.detail("caller_request_id", &self.told);
        }
        record
    }
}

fn own_id(metadata: &MetadataMap) -> Option<String> {
    let id = metadata.get(REQUEST_ID)?.to_str().ok()?;
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ((1..=REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.chars().all(good)).then(|| id.to_owned())
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(Failure::new(Reason::LimitExceeded, "an idempotency key has at most 64 bytes"));
    }
    Ok(())
}

impl Api {
    /// Deals with a request that needs a session.
    pub(crate) async fn serve<O: Operation>(&self, request: Request<O::Request>) -> Result<Response<O::Response>, Status> {
        let envelope = Envelope::open(&request, self);
        let answer = self.steps::<O>(&envelope, request.into_inner()).await;
        envelope.answer(answer)
    }

    async fn steps<O: Operation>(&self, envelope: &Envelope, request: O::Request) -> Result<O::Response, Failure> {
        let mut call = self.begin(envelope, O::RPC).await?;
        let key = O::idempotency_key(&request).to_owned();
        let fingerprint = if key.is_empty() {
            [0; 32]
        } else {
            let request = SecretBytes::from(request.encode_to_vec());
            call.vault.fingerprint(O::RPC.method, request.expose())
        };
        let mut operation = match check_key(&key).and_then(|()| O::parse(request)) {
            Ok(operation) => operation,
            Err(failure) => return refuse(call, failure).await,
        };
        call.record.details(operation.details());
        if let Err(failure) = authorise(&mut call, O::RPC, operation.path()) {
            return refuse(call, failure).await;
        }
        let repeat = match Idempotency::new(&call.vault, &call.who, &key, fingerprint) {
            Ok(repeat) => repeat,
            Err(failure) => return refuse(call, failure).await,
        };
        // Before anything is done outside for it.
        match earlier_answer::<O>(&mut call, repeat.as_ref()).await {
            Ok(None) => {}
            Ok(Some(mut answer)) => {
                O::receipt(&mut answer, call.vault.append(call.record.answered(Outcome::Ok)).await?);
                return Ok(answer);
            }
            Err(failure) => return refuse(call, failure).await,
        }
        if let Err(failure) = operation.prepare(&call).await {
            return refuse(call, failure).await;
        }
        match perform(&mut call, &operation, repeat.as_ref()).await {
            Ok((answer, Some(stored))) => {
                call.vault.append_written(stored).await?;
                Ok(answer)
            }
            Ok((mut answer, None)) => {
                O::receipt(&mut answer, call.vault.append(call.record.answered(Outcome::Ok)).await?);
                Ok(answer)
            }
            Err(failure) => refuse(call, failure).await,
        }
    }

    /// Opens the session.
    pub(crate) async fn begin(&self, envelope: &Envelope, rpc: Rpc) -> Result<Call, Failure> {
        let vault = self.vault().unsealed()?;
        let now = vault.now();
        let opened = match (&envelope.token, &envelope.peer.key) {
            (Some(token), Some(key)) => vault.authenticate(token.expose(), key),
            _ => Err(Failure::session()),
        };
        let mut record = envelope.record(rpc, now);
        match opened {
            Ok(who) => {
                record.caller(&who);
                tracing::Span::current().record("caller", who.claims.holder.kind());
                Ok(Call { vault, who, id: envelope.id, record })
            }
            // A good session is heard from any address: others' failures must not shut its holder out.
            Err(_) if self.strangers().turned_away(envelope.peer.address, now) => {
                Err(Failure::new(Reason::Busy, "too many failures from this address: try again in a minute"))
            }
            Err(failure) => {
                self.strangers().failed(envelope.peer.address, now);
                vault.append(record.answered(Outcome::Denied(failure.reason))).await?;
                Err(failure)
            }
        }
    }
}

/// Asks policy, and notes in the record what it was asked and what decided.
pub(crate) fn authorise(call: &mut Call, rpc: Rpc, path: Option<&Path>) -> Result<(), Failure> {
    let Access::Permission(action) = rpc.access else { return Ok(()) };
    let resource = path.map_or(Resource::System, |path| Resource::Path(path.clone()));
    permit(call, action, &resource)
}

/// The same for an action that only the request itself tells.
pub(crate) fn permit(call: &mut Call, action: Action, resource: &Resource) -> Result<(), Failure> {
    call.vault.permit(&call.who, action, resource, &mut call.record)
}

/// Has a refusal recorded, durably, before it is answered.
pub(crate) async fn refuse<T>(call: Call, failure: Failure) -> Result<T, Failure> {
    let outcome = match failure.reason {
        Reason::NotFoundOrDenied | Reason::ConditionUnmet | Reason::SelfGrant | Reason::RoleNotHeld => {
            Outcome::Denied(failure.reason)
        }
        reason => Outcome::Failed(reason),
    };
    call.vault.append(call.record.answered(outcome)).await?;
    Err(failure)
}

/// The answer that the request got before, if it is one that was made.
async fn earlier_answer<O: Operation>(call: &mut Call, repeat: Option<&Idempotency>) -> Result<Option<O::Response>, Failure> {
    let Some(repeat) = repeat else { return Ok(None) };
    let Some(answer) = repeat.earlier_answer(&call.vault).await? else { return Ok(None) };
    call.record.detail("repeated", true);
    O::Response::decode(answer.expose()).map(Some).map_err(|_| Failure::internal("an earlier answer cannot be read"))
}

async fn perform<O: Operation>(
    call: &mut Call,
    operation: &O,
    repeat: Option<&Idempotency>,
) -> Result<(O::Response, Option<StoredRecord>), Failure> {
    let vault = Arc::clone(&call.vault);
    let _one_at_a_time = if O::CHANGES_VAULT { Some(vault.change().await) } else { None };
    for _ in 0..ATTEMPTS_MAX {
        if let Some(answer) = earlier_answer::<O>(call, repeat).await? {
            return Ok((answer, None));
        }
        let mut planned = operation.run(call).await?;
        if planned.batch.is_empty() {
            return Ok((planned.answer, None));
        }
        if let Some(repeat) = repeat {
            repeat.remember(&mut planned.batch, &planned.answer.encode_to_vec(), call.now())?;
        }
        match vault.commit(planned, &call.record).await {
            Err(failure) if failure.reason == Reason::Conflict => {}
            done => return done.map(|(answer, stored)| (answer, Some(stored))),
        }
    }
    Err(Failure::conflict())
}
