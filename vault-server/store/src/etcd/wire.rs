//! Generated from `proto/etcd.proto`.
#![allow(
    missing_docs,
    unnameable_types,
    unreachable_pub,
    unused_qualifications,
    dead_code,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    clippy::too_many_lines,
    clippy::use_self,
    clippy::wildcard_imports,
    reason = "generated"
)]
tonic::include_proto!("etcdserverpb");
