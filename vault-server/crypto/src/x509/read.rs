//! Certificates, as others wrote them.

use std::net::IpAddr;

use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer as _,
};

use super::{DistinguishedName, PublicKey, SubjectName, X509Error};

/// What a CA needs to know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadCertificate {
    /// The whole certificate.
    pub der: Vec<u8>,
    /// The number's bytes.
    pub serial: Vec<u8>,
    /// The subject.
    pub subject: DistinguishedName,
    /// The issuer.
    pub issuer: DistinguishedName,
    /// The key.
    pub key: PublicKey,
    /// The first second, since 1970.
    pub not_before: u64,
    /// The last second.
    pub not_after: u64,
    /// Whether it may sign certificates.
    pub ca: bool,
    /// Whether it may sign revocation lists.
    pub signs_crls: bool,
    /// How many CAs may be below it; none for any number.
    pub path_length: Option<u32>,
    /// The id that the certificate gives its key; the usual one where it says none.
    pub key_id: Vec<u8>,
    /// The names it is for.
    pub names: Vec<SubjectName>,
}

impl ReadCertificate {
    /// Reads a certificate, of which nothing may be left over.
    ///
    /// # Errors
    /// [`X509Error::Malformed`] where it is none, [`X509Error::KeyKind`] and [`X509Error::KeyWeak`] for its key.
    pub fn read(der: &[u8]) -> Result<Self, X509Error> {
        let malformed = X509Error::Malformed("certificate");
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| malformed)?;
        if !rest.is_empty() {
            return Err(malformed);
        }
        let key = PublicKey::read(certificate.public_key())?;
        let basic = certificate.basic_constraints().map_err(|_| malformed)?.map(|found| found.value);
        let usage = certificate.key_usage().map_err(|_| malformed)?.map(|found| found.value);
        let key_id = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        let second = |time: i64| u64::try_from(time).map_err(|_| malformed);
        let named = certificate.subject_alternative_name().map_err(|_| malformed)?;
        Ok(Self {
            der: der.to_vec(),
            serial: certificate.raw_serial().to_vec(),
            subject: DistinguishedName::of(certificate.subject().as_raw()),
            issuer: DistinguishedName::of(certificate.issuer().as_raw()),
            key_id: key_id.unwrap_or_else(|| key.id()),
            key,
            not_before: second(certificate.validity().not_before.timestamp())?,
            not_after: second(certificate.validity().not_after.timestamp())?,
            ca: basic.is_some_and(|basic| basic.ca) && usage.is_none_or(|usage| usage.key_cert_sign()),
            signs_crls: usage.is_none_or(|usage| usage.crl_sign()),
            path_length: basic.and_then(|basic| basic.path_len_constraint),
            names: named.map(|named| names(&named.value.general_names)).transpose()?.unwrap_or_default(),
        })
    }

    /// Checks that this certificate was signed by the holder of a key.
    ///
    /// # Errors
    /// [`X509Error::Signature`] where it was not.
    pub fn check_signed_by(&self, key: &PublicKey) -> Result<(), X509Error> {
        let (_, certificate) = X509Certificate::from_der(&self.der).map_err(|_| X509Error::Malformed("certificate"))?;
        refuse_sha1(certificate.signature_algorithm.algorithm.as_bytes())?;
        key.with_parsed(|info| certificate.verify_signature(Some(info)).map_err(|_| X509Error::Signature))
    }

    /// Whether it names itself as its issuer.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }
}

/// RSA with SHA-1, which nobody should believe any more.
const RSA_SHA1: &[&[u8]] = &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05], &[0x2b, 0x0e, 0x03, 0x02, 0x1d]];

pub(super) fn refuse_sha1(algorithm: &[u8]) -> Result<(), X509Error> {
    if RSA_SHA1.contains(&algorithm) { Err(X509Error::Signature) } else { Ok(()) }
}

/// The names that are hosts, addresses or URIs.
///
/// # Errors
/// [`X509Error::Malformed`] where there is one of another kind: a name that is passed over would be one that nobody checks.
pub(super) fn names(given: &[GeneralName<'_>]) -> Result<Vec<SubjectName>, X509Error> {
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Ok(SubjectName::Dns((*name).to_owned())),
        GeneralName::URI(uri) => Ok(SubjectName::Uri((*uri).to_owned())),
        GeneralName::IPAddress(bytes) => <[u8; 4]>::try_from(*bytes)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
            .map(SubjectName::Ip)
            .map_err(|_| X509Error::Malformed("IP address of 4 or 16 bytes")),
        _ => Err(X509Error::Malformed("host, address or URI: no other names are certified")),
    };
    given.iter().map(name).collect()
}
