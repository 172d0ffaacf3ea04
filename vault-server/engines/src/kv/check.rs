//! Limits of requests.

use coffer_core::limits::{
    CUSTOM_METADATA_ENTRIES_MAX, CUSTOM_METADATA_KEY_BYTES_MAX, CUSTOM_METADATA_VALUE_BYTES_MAX, FIELD_NAME_BYTES_MAX,
    FIELDS_MAX, SECRET_BYTES_MAX, TTL_SECS_MAX, VERSIONS_KEPT_MAX,
};

use super::{Fields, KvError, Settings};

pub(super) fn fields(fields: &Fields) -> Result<(), KvError> {
    if fields.is_empty() {
        return Err(KvError::Limit("a secret has at least one field"));
    }
    if fields.len() > FIELDS_MAX {
        return Err(KvError::Limit("fields in a secret"));
    }
    if fields.keys().any(|name| name.is_empty() || name.len() > FIELD_NAME_BYTES_MAX) {
        return Err(KvError::Limit("bytes in the name of a field"));
    }
    let bytes = fields.iter().map(|(name, value)| name.len().saturating_add(value.len()));
    if bytes.fold(0, usize::saturating_add) > SECRET_BYTES_MAX {
        return Err(KvError::Limit("bytes in a secret"));
    }
    Ok(())
}

pub(super) const fn ttl(secs: u64) -> Result<(), KvError> {
    if secs == 0 || secs > TTL_SECS_MAX {
        return Err(KvError::Limit("seconds until a version expires"));
    }
    Ok(())
}

pub(super) fn settings(settings: &Settings) -> Result<(), KvError> {
    if settings.max_versions > VERSIONS_KEPT_MAX {
        return Err(KvError::Limit("versions kept of a secret"));
    }
    if settings.custom_metadata.len() > CUSTOM_METADATA_ENTRIES_MAX {
        return Err(KvError::Limit("entries in custom metadata"));
    }
    for (key, value) in &settings.custom_metadata {
        if key.is_empty() || key.len() > CUSTOM_METADATA_KEY_BYTES_MAX {
            return Err(KvError::Limit("bytes in a key of custom metadata"));
        }
        if value.len() > CUSTOM_METADATA_VALUE_BYTES_MAX {
            return Err(KvError::Limit("bytes in a value of custom metadata"));
        }
    }
    Ok(())
}

pub(super) fn versions(versions: &[u64]) -> Result<(), KvError> {
    if u32::try_from(versions.len()).is_ok_and(|count| count <= VERSIONS_KEPT_MAX) {
        Ok(())
    } else {
        Err(KvError::Limit("versions in a request"))
    }
}

pub(super) fn some_versions(list: &[u64]) -> Result<(), KvError> {
    if list.is_empty() {
        return Err(KvError::Limit("a request names at least one version"));
    }
    versions(list)
}
