//! Kubernetes service-account tokens (JWT, RFC 7519), verified offline against a cluster's keys.
//!
//! Signatures are RS256 or ES256 and nothing else. Which of the two is decided by the key that the token names, never
//! by the token: one that says something else is refused before any arithmetic. A token's claims are read only after
//! its signature was found right, except for [`issuer_unverified`], which does no more than choose among clusters.
//!
//! Errors tell an operator which rule was broken and hold nothing of the token; what a caller is told is decided
//! elsewhere, and is one thing for all of them.

mod claims;
mod keys;
mod provider;

use std::time::Duration;

use coffer_core::{clock::Timestamp, limits::SERVICE_ACCOUNT_TOKEN_BYTES_MAX};
use jsonwebtoken::{Validation, errors::ErrorKind};
use serde::Deserialize;

use self::claims::Claims;
pub use self::{
    claims::{Node, Pod, ServiceAccountClaims},
    keys::{KeySet, KeySetError, RSA_BITS_MAX, RSA_BITS_MIN},
};

/// What a token must say, and when it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// The issuer: this and no other.
    pub issuer: &'a str,
    /// The audience: one of the token's.
    pub audience: &'a str,
    /// The present.
    pub now: Timestamp,
    /// How far the issuer's clock may be from ours.
    pub skew: Duration,
    /// Whether the token must be bound to a pod.
    pub require_pod: bool,
}

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// It has more than [`SERVICE_ACCOUNT_TOKEN_BYTES_MAX`] bytes.
    #[error("the token is too long")]
    TooLong,
    /// It is no token: not three parts, not base64url, not JSON, an algorithm that signs nothing (`none`), or a header
    /// that asks for what is not understood (`crit`, compression, encryption).
    #[error("the token is malformed")]
    Malformed,
    /// Its algorithm is not that of the key it names.
    #[error("the token's algorithm is not its key's")]
    Algorithm,
    /// It names a key that the set does not have. The cluster may have new ones: fetch them, at a bounded rate,
    /// since anyone can name a key.
    #[error("the token names an unknown key")]
    UnknownKey,
    /// Its signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing or has another form than Kubernetes gives it.
    #[error("the token's claims are not those of a service account")]
    Claims,
    /// It is of another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// It is for another audience.
    #[error("the token is for another audience")]
    Audience,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet, or was issued in the future.
    #[error("the token is not valid yet")]
    NotYet,
    /// Its subject is not the service account that it names.
    #[error("the token's subject is not its service account")]
    Subject,
    /// It is not bound to a pod.
    #[error("the token is not bound to a pod")]
    NoPod,
}

impl KeySet {
    /// The claims of a token that one of these keys signed and that says what is expected.
    ///
    /// # Errors
    /// [`JwtError`].
    pub fn verify(&self, token: &str, expect: &Expect<'_>) -> Result<ServiceAccountClaims, JwtError> {
        check_form(token)?;
        let header = jsonwebtoken::decode_header(token).map_err(|_| JwtError::Malformed)?;
        let understood = header.crit.is_none() && header.zip.is_none() && header.enc.is_none();
        if !understood || header.typ.is_some_and(|typ| typ != "JWT") {
            return Err(JwtError::Malformed);
        }
        let key_id = header.kid.ok_or(JwtError::UnknownKey)?;
        let key = self.key(&key_id).ok_or(JwtError::UnknownKey)?;
        if header.alg != key.algorithm {
            return Err(JwtError::Algorithm);
        }
        // The library checks algorithm and signature, and that claims are there; their content is checked by us,
        // since it asks the system for the time and takes an issuer that is a list.
        let mut validation = Validation::new(key.algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[expect.issuer]);
        validation.set_audience(&[expect.audience]);
        validation.validate_exp = false;
        let token = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation).map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => JwtError::Signature,
            ErrorKind::InvalidAlgorithm => JwtError::Algorithm,
            ErrorKind::InvalidIssuer => JwtError::Issuer,
            ErrorKind::InvalidAudience => JwtError::Audience,
            ErrorKind::Json(_) | ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => JwtError::Claims,
            _ => JwtError::Malformed,
        })?;
        token.claims.check(expect, key_id)
    }
}

/// The issuer that a token claims, to choose the cluster whose keys it is then verified with; not to be believed.
#[must_use]
pub fn issuer_unverified(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    check_form(token).ok()?;
    jsonwebtoken::dangerous::insecure_decode_claims::<Issuer>(token).ok().map(|claims| claims.iss)
}

/// What is checked before anything is decoded.
fn check_form(token: &str) -> Result<(), JwtError> {
    if token.len() > SERVICE_ACCOUNT_TOKEN_BYTES_MAX {
        return Err(JwtError::TooLong);
    }
    let mut parts = token.split('.');
    if parts.clone().count() == 3 && parts.all(|part| !part.is_empty()) { Ok(()) } else { Err(JwtError::Malformed) }
}

#[cfg(test)]
mod tests;
