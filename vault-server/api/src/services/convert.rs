//! Between the wire and the vault's own types.

use coffer_core::{clock::Timestamp, id::IdError, principal::Name};
use coffer_proto::v1 as proto;
use coffer_vault::{Failure, ImagePackage};

/// A moment on the wire.
pub(crate) fn time(moment: Timestamp) -> Option<prost_types::Timestamp> {
    let nanos = i32::try_from(moment.millis() % 1000 * 1_000_000).ok()?;
    Some(prost_types::Timestamp { seconds: i64::try_from(moment.secs()).ok()?, nanos })
}

/// A name as a request gives it.
pub(crate) fn name(text: &str) -> Result<Name, Failure> {
    text.parse().map_err(|_| Failure::invalid("a name has 1 to 64 of a-z 0-9 . - _ and begins with a letter"))
}

/// An id as a request gives it.
pub(crate) fn id<T: std::str::FromStr<Err = IdError>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::invalid("an id is 32 lower-case hexadecimal digits"))
}

/// A number of things on the wire.
pub(crate) fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A package as a request gives it.
pub(crate) fn image_package(package: proto::ImagePackage) -> ImagePackage {
    ImagePackage { scope: package.scope, name: package.name, version: package.version }
}

/// A package on the wire.
pub(crate) fn wire_image_package(package: &ImagePackage) -> proto::ImagePackage {
    proto::ImagePackage { scope: package.scope.clone(), name: package.name.clone(), version: package.version.clone() }
}
