//! Requests that create something, repeated: the repetition gets the first one's answer.

use coffer_barrier::{Batch, Expect, RecordKey};
use coffer_core::{clock::Timestamp, limits::IDEMPOTENCY_KEPT, reason::Reason};
use coffer_secret::SecretBytes;

use crate::{Authenticated, Failure, Unsealed, codec, records::IdempotencyRecord};

/// A request that may be repeated under a key.
pub struct Idempotency {
    record: RecordKey,
    request: [u8; 32],
    /// The version of a record whose time is over, to be written over.
    over: std::sync::Mutex<Option<u64>>,
}

impl Idempotency {
    /// A request of this fingerprint under the caller's key; `None` where the key is empty.
    ///
    /// # Errors
    /// Fails where the record cannot be named.
    pub fn new(vault: &Unsealed, who: &Authenticated, key: &str, request: [u8; 32]) -> Result<Option<Self>, Failure> {
        if key.is_empty() {
            return Ok(None);
        }
        let owner = who.caller.principal.to_string();
        let name = vault.repeat_key.tag(format!("{owner}\0{key}").as_bytes());
        let record = vault.repeats.child(hex::encode(name)).map_err(|_| Failure::internal("a record's name is not one"))?;
        Ok(Some(Self { record, request, over: std::sync::Mutex::new(None) }))
    }

    /// The answer that the request got before, if it was made.
    ///
    /// # Errors
    /// Fails where the key was used for another request.
    pub async fn earlier_answer(&self, vault: &Unsealed) -> Result<Option<SecretBytes>, Failure> {
        let Some(found) = vault.barrier.get(&self.record).await? else { return Ok(None) };
        let record: IdempotencyRecord = codec::decode(found.value.expose())?;
        if record.expires <= vault.now() {
            *self.over.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(found.version);
            return Ok(None);
        }
        if record.request != self.request {
            return Err(Failure::new(Reason::IdempotencyMismatch, "this idempotency key was used for another request"));
        }
        Ok(Some(SecretBytes::from(record.answer)))
    }

    /// Adds to a batch that this request got this answer.
    ///
    /// # Errors
    /// Fails where the record cannot be written.
    pub fn remember(&self, batch: &mut Batch, answer: &[u8], now: Timestamp) -> Result<(), Failure> {
        let record =
            IdempotencyRecord { request: self.request.to_vec(), answer: answer.to_vec(), expires: now.plus(IDEMPOTENCY_KEPT) };
        let over = *self.over.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        batch.put(self.record.clone(), over.map_or(Expect::Absent, Expect::Version), codec::encode(&record)?);
        Ok(())
    }
}
