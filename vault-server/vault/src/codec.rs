//! Records as bytes: CBOR (RFC 8949) maps, so that members can be added.

use coffer_secret::SecretBytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::Failure;

/// A record's bytes, for the barrier.
pub(crate) fn encode<T: Serialize>(record: &T) -> Result<SecretBytes, Failure> {
    let mut bytes = Vec::with_capacity(256);
    ciborium::into_writer(record, &mut bytes).map_err(|_| Failure::internal("a record cannot be written"))?;
    Ok(SecretBytes::from(bytes))
}

/// The record of these bytes. Bytes that opened and cannot be read are a fault of ours.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    ciborium::from_reader(bytes).map_err(|_| Failure::internal("a record cannot be read"))
}
