//! Objects as they are: read, made, and replaced on the condition that nobody else did.

use serde_json::Value;

use crate::{ApiError, ApiServer};

/// Bytes of an object: etcd takes 1.5 MiB, and JSON makes it longer.
pub const OBJECT_BYTES_MAX: usize = 4 << 20;
/// What an API server answers where there is no such object, and where another write came first.
const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;

impl ApiServer {
    /// The object, or the list of objects, at a path of the API; none where there is none.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn object(&self, path: &str) -> Result<Option<Value>, ApiError> {
        match self.server.get(path, OBJECT_BYTES_MAX).await {
            Ok(answer) => serde_json::from_slice(&answer).map(Some).map_err(|error| ApiError::Unreadable(Box::new(error))),
            Err(ApiError::Refused(NOT_FOUND)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an object in the collection at a path. Whether it was made: not where there is one already.
    ///
    /// # Errors
    /// See [`ApiError`]; [`ApiError::Told`] with what the API server says.
    pub async fn create_object(&self, path: &str, object: &Value) -> Result<bool, ApiError> {
        not_in_conflict(self.server.tell(path, object, OBJECT_BYTES_MAX).await)
    }

    /// Writes an object in place of the one at a path. Whether it was written: not where it has another `resourceVersion` than the
    /// object, if that names one.
    ///
    /// # Errors
    /// See [`ApiError`]; [`ApiError::Told`] with what the API server says.
    pub async fn replace_object(&self, path: &str, object: &Value) -> Result<bool, ApiError> {
        not_in_conflict(self.server.replace(path, object, OBJECT_BYTES_MAX).await)
    }
}

fn not_in_conflict(answer: Result<Vec<u8>, ApiError>) -> Result<bool, ApiError> {
    match answer {
        Ok(_) => Ok(true),
        Err(ApiError::Told(CONFLICT, _)) => Ok(false),
        Err(error) => Err(error),
    }
}
