//! Compiles the .proto files without protoc, and keeps their descriptors for tests and reflection.

use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 22] = [
    "coffer/v1/advisory.proto",
    "coffer/v1/audit.proto",
    "coffer/v1/auth.proto",
    "coffer/v1/cluster.proto",
    "coffer/v1/database.proto",
    "coffer/v1/gate.proto",
    "coffer/v1/grant.proto",
    "coffer/v1/keys.proto",
    "coffer/v1/kubernetes.proto",
    "coffer/v1/kv.proto",
    "coffer/v1/lease.proto",
    "coffer/v1/mount.proto",
    "coffer/v1/operator.proto",
    "coffer/v1/pki.proto",
    "coffer/v1/policy.proto",
    "coffer/v1/posture.proto",
    "coffer/v1/preview.proto",
    "coffer/v1/session.proto",
    "coffer/v1/snapshot.proto",
    "coffer/v1/system.proto",
    "coffer/v1/transit.proto",
    "coffer/v1/watch.proto",
];

/// Messages with a field that opens something: their `Debug` is written by hand, in `src/redacted.rs`.
const SECRET_MESSAGES: [&str; 28] = [
    "coffer.v1.InitRequest",
    "coffer.v1.InitResponse",
    "coffer.v1.UnsealRequest",
    "coffer.v1.RecoverRequest",
    "coffer.v1.RecoverResponse",
    "coffer.v1.SubmitRekeyShareRequest",
    "coffer.v1.SubmitRekeyShareResponse",
    "coffer.v1.RestoreStart",
    "coffer.v1.Session",
    "coffer.v1.LoginWorkloadRequest",
    "coffer.v1.LoginPasswordRequest",
    "coffer.v1.LoginBootstrapRequest",
    "coffer.v1.CreateOperatorRequest",
    "coffer.v1.SetPasswordRequest",
    "coffer.v1.GetSecretResponse",
    "coffer.v1.PutSecretRequest",
    "coffer.v1.IssueCredentialResponse",
    "coffer.v1.PutConnectionRequest",
    "coffer.v1.IssueCertificateResponse",
    "coffer.v1.ImportIssuerRequest",
    "coffer.v1.EncryptItem",
    "coffer.v1.DecryptResult",
    "coffer.v1.SignDataItem",
    "coffer.v1.VerifyDataItem",
    "coffer.v1.HmacItem",
    "coffer.v1.CreateDataKeyResponse",
    "coffer.v1.GetRandomResponse",
    "coffer.v1.ImportTransitKeyRequest",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("coffer.v1.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        .build_server(env::var_os("CARGO_FEATURE_SERVER").is_some())
        .build_transport(false)
        .skip_debug(SECRET_MESSAGES)
        // In one order: a request that is repeated is known by its bytes.
        .btree_map("coffer.v1.IssueCredentialRequest.parameters")
        .compile_fds(descriptors)?;
    Ok(())
}
