//! Ciphers, key hierarchy, shares, sealed tokens and signatures.
//!
//! The only crate that names a library of cryptography: what it offers to the others is in its own words, so that a
//! cipher can be exchanged in one place. Start with [`key`] and [`mod@derive`] (which key is for what) and [`xaes`] (how
//! what is stored is sealed).
//!
//! What is wiped: keys, derived keys, cipher states and plaintexts, when their owners are dropped. What is not: the
//! stack frames and registers that a cipher worked in, and what ring keeps inside its own types (random numbers,
//! hashes, signature checks), which it does not wipe.

pub mod derive;
pub mod ecdsa;
pub mod hash;
pub mod jwt;
pub mod key;
pub mod mark;
pub mod password;
pub mod random;
pub mod recipients;
pub mod scram;
pub mod shamir;
pub mod share;
pub mod sign;
pub mod siv;
pub mod spki;
pub mod token;
pub mod x509;
pub mod xaes;

/// Does not build where a feature that wipes was lost on the way through the dependencies.
const _: () = {
    const fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<aes::Aes256>();
    wiped::<aes_gcm::Aes256Gcm>();
    wiped::<aes_siv::siv::Aes256Siv>();
    wiped::<sha2::Sha256>(); // and with it HMAC and HKDF, which are made of it
    wiped::<coffer_secret::SecretBytes>();
    wiped::<coffer_secret::SecretString>();
    wiped::<coffer_secret::SecretArray<32>>();
};
