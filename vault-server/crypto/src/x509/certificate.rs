//! Certificates, as they are signed here.

use std::net::IpAddr;

use super::{
    DistinguishedName, PrivateKey, PublicKey, X509Error,
    der::{Der, OCTET_STRING, OID, SEQUENCE, constructed, context},
};
use crate::random;

/// Bytes of a serial.
const SERIAL_BYTES: usize = 20;
/// Bytes of it that say when the certificate ends.
const HOUR_BYTES: usize = 4;

/// A certificate's number: 126 random bits, and the hour in which the certificate ends, so that what is kept about it is
/// found by its number, and by the hour once it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; SERIAL_BYTES]);

impl Serial {
    /// A new number for a certificate that ends at this moment, in seconds since 1970.
    ///
    /// # Errors
    /// [`X509Error::Unsigned`] where there are no random numbers.
    pub fn random(not_after: u64) -> Result<Self, X509Error> {
        let mut bytes: [u8; SERIAL_BYTES] = random::bytes().map_err(|_| X509Error::Unsigned)?;
        // Positive, and as long as all others.
        bytes[0] = bytes[0] & 0x7f | 0x40;
        let hour = u32::try_from(not_after / 3_600).unwrap_or(u32::MAX);
        bytes[SERIAL_BYTES - HOUR_BYTES..].copy_from_slice(&hour.to_be_bytes());
        Ok(Self(bytes))
    }

    /// The number of these bytes, where it could be one of ours.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; SERIAL_BYTES] = bytes.try_into().ok()?;
        (bytes[0] & 0xc0 == 0x40).then_some(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SERIAL_BYTES] {
        &self.0
    }

    /// A random byte of it: certificates are spread by it over several lists.
    #[must_use]
    pub const fn spread(&self) -> u8 {
        let [_, spread, ..] = self.0;
        spread
    }

    /// The hour since 1970 in which the certificate ends.
    #[must_use]
    pub const fn hour(&self) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

impl std::fmt::Display for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::str::FromStr for Serial {
    type Err = X509Error;

    /// Hexadecimal digits, with or without the colons that OpenSSL writes.
    fn from_str(text: &str) -> Result<Self, X509Error> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        let malformed = X509Error::Malformed("serial number of a certificate made here: 40 hexadecimal digits");
        hex::decode(digits).ok().and_then(|bytes| Self::from_bytes(&bytes)).ok_or(malformed)
    }
}

/// A name that a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectName {
    /// A host.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A URI.
    Uri(String),
}

impl std::fmt::Display for SubjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(name) | Self::Uri(name) => f.write_str(name),
            Self::Ip(address) => write!(f, "{address}"),
        }
    }
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyUsage {
    /// Signing, as TLS does.
    DigitalSignature,
    /// Signing what shall not be denied later.
    ContentCommitment,
    /// Encrypting keys: RSA.
    KeyEncipherment,
    /// Agreeing on keys: ECDH.
    KeyAgreement,
    /// Signing certificates.
    CertificateSign,
    /// Signing revocation lists.
    CrlSign,
}

impl KeyUsage {
    /// Those that a role can give.
    pub const OF_ROLES: &[Self] = &[Self::DigitalSignature, Self::ContentCommitment, Self::KeyEncipherment, Self::KeyAgreement];

    /// The name in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DigitalSignature => "digital-signature",
            Self::ContentCommitment => "content-commitment",
            Self::KeyEncipherment => "key-encipherment",
            Self::KeyAgreement => "key-agreement",
            Self::CertificateSign => "certificate-sign",
            Self::CrlSign => "crl-sign",
        }
    }

    const fn bit(self) -> u16 {
        1 << (15
            - match self {
                Self::DigitalSignature => 0,
                Self::ContentCommitment => 1,
                Self::KeyEncipherment => 2,
                Self::KeyAgreement => 4,
                Self::CertificateSign => 5,
                Self::CrlSign => 6,
            })
    }
}

/// The bits of several usages.
#[must_use]
pub fn key_usage_bits(usages: impl IntoIterator<Item = KeyUsage>) -> u16 {
    usages.into_iter().fold(0, |bits, usage| bits | usage.bit())
}

/// What a certificate may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExtendedKeyUsage {
    /// TLS servers.
    ServerAuth,
    /// TLS clients.
    ClientAuth,
    /// Signing programs.
    CodeSigning,
    /// Mail.
    EmailProtection,
}

impl ExtendedKeyUsage {
    /// All of them.
    pub const ALL: &[Self] = &[Self::ServerAuth, Self::ClientAuth, Self::CodeSigning, Self::EmailProtection];

    /// The name in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServerAuth => "server-auth",
            Self::ClientAuth => "client-auth",
            Self::CodeSigning => "code-signing",
            Self::EmailProtection => "email-protection",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::ServerAuth => 1,
            Self::ClientAuth => 2,
            Self::CodeSigning => 3,
            Self::EmailProtection => 4,
        }
    }
}

/// What a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A CA's, with this many CAs below it at most; none for any number.
    Ca(Option<u8>),
    /// Anybody else's.
    EndEntity,
}

/// Everything that a certificate says.
#[derive(Debug, Clone)]
pub struct CertificateFields<'a> {
    /// The number.
    pub serial: Serial,
    /// The issuer.
    pub issuer: &'a DistinguishedName,
    /// The subject.
    pub subject: &'a DistinguishedName,
    /// The first second, since 1970.
    pub not_before: u64,
    /// The last second.
    pub not_after: u64,
    /// The key.
    pub key: &'a PublicKey,
    /// The id of a CA's key, where it has another than the usual one.
    pub key_id: Option<&'a [u8]>,
    /// What it is.
    pub kind: Kind,
    /// The names it is for.
    pub names: &'a [SubjectName],
    /// What the key may be used for ([`key_usage_bits`]).
    pub key_usages: u16,
    /// What the certificate may be used for.
    pub extended: &'a [ExtendedKeyUsage],
    /// The id of the issuer's key; none for a root.
    pub authority: Option<&'a [u8]>,
    /// Where the issuer's certificate is.
    pub issuer_url: Option<&'a str>,
    /// Where its revocation list is.
    pub crl_url: Option<&'a str>,
}

impl CertificateFields<'_> {
    /// The certificate, signed.
    ///
    /// # Errors
    /// [`X509Error::Unsigned`] where there are no random numbers.
    pub fn sign(&self, key: &PrivateKey) -> Result<Vec<u8>, X509Error> {
        key.seal(&Der::build(SEQUENCE, |der| {
            der.within(constructed(0), |der| der.unsigned(&[2]));
            der.unsigned(self.serial.as_bytes());
            key.algorithm(der);
            der.raw(self.issuer.der());
            der.within(SEQUENCE, |der| {
                der.time(self.not_before);
                der.time(self.not_after);
            });
            der.raw(self.subject.der());
            der.raw(self.key.info());
            der.within(constructed(3), |der| der.within(SEQUENCE, |der| self.extensions(der)));
        }))
    }

    fn extensions(&self, der: &mut Der) {
        extension(der, 19, true, |der| {
            der.within(SEQUENCE, |der| {
                if let Kind::Ca(path_length) = self.kind {
                    der.yes();
                    if let Some(length) = path_length {
                        der.unsigned(&[length]);
                    }
                }
            });
        });
        if self.key_usages != 0 {
            extension(der, 15, true, |der| der.named_bits(self.key_usages));
        }
        if !self.extended.is_empty() {
            extension(der, 37, false, |der| {
                der.within(SEQUENCE, |der| {
                    for usage in self.extended {
                        der.value(OID, &[0x2b, 6, 1, 5, 5, 7, 3, usage.number()]);
                    }
                });
            });
        }
        if matches!(self.kind, Kind::Ca(_)) {
            let usual = self.key.id();
            extension(der, 14, false, |der| der.value(OCTET_STRING, self.key_id.unwrap_or(&usual)));
        }
        if let Some(authority) = self.authority {
            authority_key(der, authority);
        }
        if !self.names.is_empty() {
            // Critical where there is no other name (RFC 5280, 4.2.1.6).
            extension(der, 17, self.subject.is_empty(), |der| {
                der.within(SEQUENCE, |der| self.names.iter().for_each(|name| general(der, name)))
            });
        }
        if let Some(url) = self.issuer_url {
            extension_of(der, &[0x2b, 6, 1, 5, 5, 7, 1, 1], false, |der| {
                der.within(SEQUENCE, |der| {
                    der.within(SEQUENCE, |der| {
                        der.value(OID, &[0x2b, 6, 1, 5, 5, 7, 0x30, 2]);
                        der.value(context(6), url.as_bytes());
                    });
                });
            });
        }
        if let Some(url) = self.crl_url {
            extension(der, 31, false, |der| {
                der.within(SEQUENCE, |der| {
                    der.within(SEQUENCE, |der| distribution_point(der, url));
                });
            });
        }
    }
}

fn general(der: &mut Der, name: &SubjectName) {
    match name {
        SubjectName::Dns(name) => der.value(context(2), name.as_bytes()),
        SubjectName::Uri(uri) => der.value(context(6), uri.as_bytes()),
        SubjectName::Ip(IpAddr::V4(address)) => der.value(context(7), &address.octets()),
        SubjectName::Ip(IpAddr::V6(address)) => der.value(context(7), &address.octets()),
    }
}

/// The `distributionPoint` of a URL.
pub(super) fn distribution_point(der: &mut Der, url: &str) {
    der.within(constructed(0), |der| der.within(constructed(0), |der| der.value(context(6), url.as_bytes())));
}

/// The extension that names the signer's key.
pub(super) fn authority_key(der: &mut Der, id: &[u8]) {
    extension(der, 35, false, |der| der.within(SEQUENCE, |der| der.value(context(0), id)));
}

/// An extension of the arc 2.5.29.
pub(super) fn extension(der: &mut Der, number: u8, critical: bool, fill: impl FnOnce(&mut Der)) {
    extension_of(der, &[0x55, 0x1d, number], critical, fill);
}

fn extension_of(der: &mut Der, oid: &[u8], critical: bool, fill: impl FnOnce(&mut Der)) {
    der.within(SEQUENCE, |der| {
        der.value(OID, oid);
        if critical {
            der.yes();
        }
        der.within(OCTET_STRING, fill);
    });
}
