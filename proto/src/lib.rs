//! The `coffer.v1` protocol: the .proto files beside this crate, and the code generated from them; nothing else.
//!
//! The feature `server` adds the server's side. Messages that carry a secret have no field in their `Debug`.

mod redacted;

/// The messages, clients and (with the feature `server`) servers of `coffer.v1`.
#[allow(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    clippy::too_many_lines,
    clippy::wildcard_imports,
    unused_qualifications,
    reason = "generated"
)]
pub mod v1 {
    tonic::include_proto!("coffer.v1");
}

/// The descriptors of all .proto files: an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/coffer.v1.bin"));
