//! Revocation lists.

use super::{
    DistinguishedName, PrivateKey, Serial, X509Error,
    certificate::{authority_key, distribution_point, extension},
    der::{Der, ENUMERATED, SEQUENCE, constructed},
};

/// A certificate in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revoked {
    /// Its number.
    pub serial: Serial,
    /// Since when, in seconds since 1970.
    pub at: u64,
    /// Why, as RFC 5280 numbers it; 0 for no reason.
    pub reason: u8,
}

/// Everything that a list says.
#[derive(Debug, Clone)]
pub struct CrlFields<'a> {
    /// The issuer.
    pub issuer: &'a DistinguishedName,
    /// The id of its key.
    pub authority: &'a [u8],
    /// The list's number: higher than that of the list before.
    pub number: u64,
    /// When it was made, in seconds since 1970.
    pub this_update: u64,
    /// Until when it counts.
    pub next_update: u64,
    /// The certificates.
    pub revoked: &'a [Revoked],
    /// Where the list is, where it is one for a part of the certificates only.
    pub part: Option<&'a str>,
}

impl CrlFields<'_> {
    /// The list, signed.
    ///
    /// # Errors
    /// [`X509Error::Unsigned`] where there are no random numbers.
    pub fn sign(&self, key: &PrivateKey) -> Result<Vec<u8>, X509Error> {
        key.seal(&Der::build(SEQUENCE, |der| {
            der.unsigned(&[1]);
            key.algorithm(der);
            der.raw(self.issuer.der());
            der.time(self.this_update);
            der.time(self.next_update);
            if !self.revoked.is_empty() {
                der.within(SEQUENCE, |der| self.revoked.iter().for_each(|revoked| entry(der, revoked)));
            }
            der.within(constructed(0), |der| {
                der.within(SEQUENCE, |der| {
                    authority_key(der, self.authority);
                    extension(der, 20, false, |der| der.unsigned(&self.number.to_be_bytes()));
                    if let Some(url) = self.part {
                        extension(der, 28, true, |der| der.within(SEQUENCE, |der| distribution_point(der, url)));
                    }
                });
            });
        }))
    }
}

fn entry(der: &mut Der, revoked: &Revoked) {
    der.within(SEQUENCE, |der| {
        der.unsigned(revoked.serial.as_bytes());
        der.time(revoked.at);
        if revoked.reason != 0 {
            der.within(SEQUENCE, |der| extension(der, 21, false, |der| der.value(ENUMERATED, &[revoked.reason])));
        }
    });
}
