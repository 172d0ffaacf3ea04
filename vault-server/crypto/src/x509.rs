//! X.509 (RFC 5280): keys, certificates, signing requests (PKCS#10) and revocation lists, as a CA needs them.
//!
//! What is written is written here, byte by byte, so that every field is one that the caller chose and an issuer's name is
//! that of its certificate, unchanged. What comes from elsewhere is read by `x509-parser` and checked: of a request only
//! the key, the proof that its holder made it, and the names it asks for come out.

mod certificate;
mod crl;
mod der;
mod key;
mod name;
mod pem;
mod read;
mod request;

pub use certificate::{CertificateFields, ExtendedKeyUsage, KeyUsage, Kind, Serial, SubjectName, key_usage_bits};
pub use crl::{CrlFields, Revoked};
pub use key::{KeyKind, PrivateKey, PublicKey, RSA_BITS_MAX, RSA_BITS_MIN};
pub use name::{DistinguishedName, Subject};
pub use pem::{Block, blocks, encode, encode_secret};
pub use read::ReadCertificate;
pub use request::{ReadRequest, make_request};

/// Why something of X.509 cannot be read, made or believed. Says nothing of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum X509Error {
    /// It is not what it should be.
    #[error("it is no {0}")]
    Malformed(&'static str),
    /// The key is of a kind that is not accepted.
    #[error("keys are ECDSA P-256 or P-384, Ed25519, or RSA of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits")]
    KeyKind,
    /// The key is weak.
    #[error("the RSA key is weak: it has {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, and an odd exponent from 65537")]
    KeyWeak,
    /// The signature does not hold, or is of an algorithm that is not accepted.
    #[error("its signature does not hold")]
    Signature,
    /// The private key is of a kind that does not sign here.
    #[error("private keys are unencrypted PKCS#8 (BEGIN PRIVATE KEY) of ECDSA P-256, P-384 or Ed25519")]
    PrivateKey,
    /// There are no random numbers, or the library fails.
    #[error("it cannot be signed")]
    Unsigned,
}

/// Bytes as hexadecimal digits: the number of a certificate.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

#[cfg(test)]
mod tests;
