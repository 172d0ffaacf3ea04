//! Names of subjects and issuers.

use x509_parser::{prelude::FromDer as _, x509::X509Name};

use super::{
    X509Error,
    der::{Der, OID, PRINTABLE_STRING, SEQUENCE, SET, UTF8_STRING},
};

/// What a name is made of, where it is made here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Two letters; none for none.
    pub country: Option<&'a str>,
    /// The organisation.
    pub organisation: Option<&'a str>,
    /// The common name.
    pub common_name: Option<&'a str>,
}

/// The name of a subject or an issuer, as it is encoded: two are the same where their bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinguishedName(Vec<u8>);

impl DistinguishedName {
    /// The name of these parts.
    #[must_use]
    pub fn new(subject: &Subject<'_>) -> Self {
        let parts = [
            (6, PRINTABLE_STRING, subject.country),
            (10, UTF8_STRING, subject.organisation),
            (3, UTF8_STRING, subject.common_name),
        ];
        Self(Der::build(SEQUENCE, |der| {
            for (attribute, tag, value) in parts {
                let Some(value) = value else { continue };
                der.within(SET, |der| {
                    der.within(SEQUENCE, |der| {
                        der.value(OID, &[0x55, 0x04, attribute]);
                        der.value(tag, value.as_bytes());
                    });
                });
            }
        }))
    }

    /// The name of an encoding that was read before.
    pub(super) fn of(encoded: &[u8]) -> Self {
        Self(encoded.to_vec())
    }

    /// The encoding.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// Whether it has no part.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [SEQUENCE, 0]
    }

    /// The name in words, for people: `C=DE, O=Shop, CN=Root`.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn text(&self) -> Result<String, X509Error> {
        let (_, name) = X509Name::from_der(&self.0).map_err(|_| X509Error::Malformed("name"))?;
        Ok(name.to_string())
    }
}
