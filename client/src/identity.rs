//! The key pair that a client shows in TLS, and that its sessions are bound to.

use std::{fmt, sync::Arc};

use coffer_secret::SecretString;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    SignatureScheme,
    crypto::ring,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use sha2::{Digest, Sha256};

/// A client's certificate and private key. Clones are handles of one key.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    pem: SecretString,
    pin: String,
    key: Arc<CertifiedKey>,
}

/// Why an identity cannot be made or read. Holds nothing of the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The key pair cannot be made.
    #[error("a key pair cannot be made: {0}")]
    Generate(#[source] rcgen::Error),
    /// The text has no certificate.
    #[error("there is no certificate in the PEM text (BEGIN CERTIFICATE)")]
    NoCertificate,
    /// The text has no private key.
    #[error("there is no usable private key in the PEM text (BEGIN PRIVATE KEY: P-256, P-384, Ed25519 or RSA)")]
    NoKey,
    /// Certificate and key do not belong together.
    #[error("the certificate is not that of the private key")]
    Mismatch,
}

impl Identity {
    /// Makes a new P-256 key pair in memory, with a self-signed certificate: all that a session needs, since the vault
    /// binds it to the key and not to a name.
    ///
    /// # Errors
    /// [`IdentityError::Generate`] where the system gives no random numbers.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IdentityError::Generate)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "coffer client");
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
        let certificate = params.self_signed(&key).map_err(IdentityError::Generate)?;
        let pem = SecretString::from(certificate.pem() + &key.serialize_pem());
        Self::from_pem(pem)
    }

    /// Reads an identity: certificates, the client's own first, and its private key, in one PEM text.
    ///
    /// # Errors
    /// [`IdentityError`] says which part is missing or wrong.
    pub fn from_pem(pem: SecretString) -> Result<Self, IdentityError> {
        let bytes = pem.expose().as_bytes();
        let certificates =
            CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>().map_err(|_| IdentityError::NoCertificate)?;
        if certificates.is_empty() {
            return Err(IdentityError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(bytes).map_err(|_| IdentityError::NoKey)?;
        let key = ring::sign::any_supported_type(&key).map_err(|_| IdentityError::NoKey)?;
        let pin = hex::encode(Sha256::digest(key.public_key().ok_or(IdentityError::NoKey)?.as_ref()));
        let key = CertifiedKey::new(certificates, key);
        key.keys_match().map_err(|_| IdentityError::Mismatch)?;
        Ok(Self { inner: Arc::new(Inner { pem, pin, key: Arc::new(key) }) })
    }

    /// The identity as PEM text, private key included: whoever has it can use sessions bound to it.
    #[must_use]
    pub fn to_pem(&self) -> SecretString {
        self.inner.pem.duplicate()
    }

    /// The pin: SHA-256 of the public key (SubjectPublicKeyInfo, DER) as 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn pin(&self) -> &str {
        &self.inner.pin
    }

    /// The public key (SubjectPublicKeyInfo, DER), of which [`Identity::pin`] is the hash.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.inner.key.key.public_key().map(|key| key.as_ref().to_vec()).unwrap_or_default()
    }

    /// A signature of the key over `message`: ECDSA over P-256 with SHA-256, ASN.1 DER. The caller puts something before the message that nothing
    /// else is signed with: TLS signs with the same key.
    ///
    /// # Errors
    /// [`IdentityError::NoKey`] where the key is of another kind.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, IdentityError> {
        let signer = self.inner.key.key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).ok_or(IdentityError::NoKey)?;
        signer.sign(message).map_err(|_| IdentityError::NoKey)
    }

    pub(crate) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.inner.key)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("pin", &self.inner.pin).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData;

    use super::*;

    #[test]
    fn a_generated_identity_survives_its_pem_form() {
        let identity = Identity::generate().unwrap();
        let again = Identity::from_pem(identity.to_pem()).unwrap();
        assert_eq!(again.pin(), identity.pin());
        assert_ne!(Identity::generate().unwrap().pin(), identity.pin());
    }

    #[test]
    fn the_pin_is_the_hash_of_the_public_key_in_spki_form() {
        let identity = Identity::generate().unwrap();
        let pem = identity.to_pem();
        let (_, key) = pem.expose().split_at(pem.expose().find("-----BEGIN PRIVATE").unwrap());
        let key = KeyPair::from_pem(key).unwrap();
        assert_eq!(identity.pin(), hex::encode(Sha256::digest(key.subject_public_key_info())));
    }

    #[test]
    fn a_pem_text_without_a_part_is_refused_by_name() {
        let pem = Identity::generate().unwrap().to_pem();
        let (certificate, key) = pem.expose().split_at(pem.expose().find("-----BEGIN PRIVATE").unwrap());
        let other = Identity::generate().unwrap().to_pem();
        let (other_certificate, _) = other.expose().split_at(other.expose().find("-----BEGIN PRIVATE").unwrap());
        let read = |text: &str| Identity::from_pem(SecretString::from(text.to_owned())).unwrap_err();
        assert!(matches!(read(certificate), IdentityError::NoKey));
        assert!(matches!(read(key), IdentityError::NoCertificate));
        assert!(matches!(read(""), IdentityError::NoCertificate));
        assert!(matches!(read(&format!("{other_certificate}{key}")), IdentityError::Mismatch));
    }

    #[test]
    fn debug_shows_no_key() {
        let text = format!("{:?}", Identity::generate().unwrap());
        assert!(!text.contains("PRIVATE"), "{text}");
    }
}
