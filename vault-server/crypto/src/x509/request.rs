//! Signing requests (PKCS#10, RFC 2986).

use x509_parser::{certification_request::X509CertificationRequest, extensions::ParsedExtension, prelude::FromDer as _};

use super::{
    DistinguishedName, PrivateKey, PublicKey, SubjectName, X509Error,
    der::{Der, SEQUENCE, constructed},
    read::{names, refuse_sha1},
};

/// All that is taken from a request. What else it asks for, nobody reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRequest {
    /// The key, whose holder has signed the request.
    pub key: PublicKey,
    /// The subject.
    pub subject: DistinguishedName,
    /// The subject's common names.
    pub common_names: Vec<String>,
    /// The alternative names.
    pub names: Vec<SubjectName>,
    /// Whether it asks to be a CA.
    pub asks_for_ca: bool,
}

impl ReadRequest {
    /// Reads a request, of which nothing may be left over, and checks that the holder of its key made it.
    ///
    /// # Errors
    /// [`X509Error::Malformed`] where it is none or asks for names of other kinds, [`X509Error::KeyKind`] and
    /// [`X509Error::KeyWeak`] for its key, [`X509Error::Signature`] where the signature does not hold.
    pub fn read(der: &[u8]) -> Result<Self, X509Error> {
        let malformed = X509Error::Malformed("certificate signing request");
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| malformed)?;
        if !rest.is_empty() {
            return Err(malformed);
        }
        let info = &request.certification_request_info;
        let key = PublicKey::read(&info.subject_pki)?;
        refuse_sha1(request.signature_algorithm.algorithm.as_bytes())?;
        request.verify_signature().map_err(|_| X509Error::Signature)?;
        let (mut asked, mut asks_for_ca) = (Vec::new(), false);
        for extension in request.requested_extensions().into_iter().flatten() {
            match extension {
                ParsedExtension::SubjectAlternativeName(given) => asked.extend(names(&given.general_names)?),
                ParsedExtension::BasicConstraints(basic) => asks_for_ca |= basic.ca,
                ParsedExtension::ParseError { .. } => return Err(malformed),
                _ => {}
            }
        }
        let common_names = info.subject.iter_common_name().map(|name| name.as_str().map(str::to_owned));
        Ok(Self {
            key,
            subject: DistinguishedName::of(info.subject.as_raw()),
            common_names: common_names.collect::<Result<_, _>>().map_err(|_| malformed)?,
            names: asked,
            asks_for_ca,
        })
    }
}

/// A request for a certificate of this key, for a CA elsewhere.
///
/// # Errors
/// [`X509Error::Unsigned`] where there are no random numbers.
pub fn make_request(subject: &DistinguishedName, key: &PrivateKey) -> Result<Vec<u8>, X509Error> {
    key.seal(&Der::build(SEQUENCE, |der| {
        der.unsigned(&[0]);
        der.raw(subject.der());
        der.raw(key.public().info());
        der.within(constructed(0), |_| {});
    }))
}
