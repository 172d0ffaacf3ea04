//! Signatures of images as cosign makes them: who made one, and what it says.
//!
//! Both formats are read: simple signing, and sigstore's bundle. A key that is trusted is all that counts. Certificates, logs of transparency
//! and timestamps are not looked at: nothing is asked but where the image is.

use coffer_crypto::spki::VerifyingKey;
use coffer_registry::Digest;

mod bundle;
mod simple;

/// Signatures of an image, and of the index that it is from, that are looked at: each at most.
pub const SIGNATURES_MAX: usize = 64;
/// Bytes of what a signature is of, or of a bundle, at most.
pub const SIGNATURE_BYTES_MAX: usize = 256 << 10;
/// Where a signature of simple signing is in its manifest.
pub(crate) const SIMPLE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// What a layer is that a signature of simple signing is of.
pub(crate) const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// What a layer is that is a bundle, and what its manifest is.
pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// What lies beside an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signatures {
    /// These, and whether there are more.
    Found(Vec<Signature>, More),
    /// Nothing can lie beside it, and why.
    Nowhere(&'static str),
}

/// Whether there is more than was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// There is not.
    No,
    /// There is.
    Yes,
}

/// One signature, of which nothing is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The digest of what it is of, in simple signing; of the bundle otherwise.
    pub digest: Digest,
    /// What it is.
    pub content: Content,
}

/// What a signature is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A signature in base64, and what it is of.
    Simple {
        /// What is signed.
        payload: Vec<u8>,
        /// The signature, as it is written.
        signature: String,
    },
    /// A bundle, JSON.
    Bundle(Vec<u8>),
    /// It was not read, and why.
    Unread(&'static str),
}

/// What comes of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It is nobody's who is trusted, or none, and why.
    None(&'static str),
    /// It was made by this key, and says this, or something that is no signature of an image.
    By(&'a VerifyingKey, Result<Claim, &'static str>),
}

/// What the maker of a signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The manifests, or indexes, that it is about.
    pub images: Vec<Digest>,
    /// What the image is called, where the signature says so: bundles do not.
    pub name: Option<String>,
}

impl Signature {
    /// Who made it, of those who are trusted, and what they say. What is signed is read only once it is known who signed it.
    #[must_use]
    pub fn verdict<'a>(&self, keys: &'a [VerifyingKey]) -> Verdict<'a> {
        let signed = match &self.content {
            Content::Simple { payload, signature } => simple::signed(payload, signature),
            Content::Bundle(bundle) => bundle::signed(bundle),
            Content::Unread(why) => Err(*why),
        };
        let signed = match signed {
            Ok(signed) => signed,
            Err(why) => return Verdict::None(why),
        };
        let Some(key) = keys.iter().find(|key| key.verify(&signed.message, &signed.signature).is_ok()) else {
            return Verdict::None("it is by no key that is trusted");
        };
        match (signed.read)(&signed.payload) {
            Ok(claim) => Verdict::By(key, Ok(claim)),
            Err(NoClaim::Wrong(why)) => Verdict::By(key, Err(why)),
            Err(NoClaim::Attests) => Verdict::None("it attests something about an image, and does not sign it"),
        }
    }
}

/// What is verified, and what is read once it is.
struct Signed {
    message: Vec<u8>,
    signature: Vec<u8>,
    payload: Vec<u8>,
    read: fn(&[u8]) -> Result<Claim, NoClaim>,
}

/// Why what is signed signs no image.
enum NoClaim {
    /// It is not what it should be.
    Wrong(&'static str),
    /// It is what it should be, and something else.
    Attests,
}

#[cfg(test)]
mod tests;
