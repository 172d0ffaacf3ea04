//! The webhook's certificates: a CA of the injector's own, and a certificate that it signs.
//!
//! All replicas share them in one Secret. Whoever finds that one is missing or near its end makes it, and writes the Secret on the
//! condition that nobody else did: there is no leader. A new CA signs only when the API server is known to believe it, so that at
//! every moment every certificate that is shown is believed.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use x509_parser::{parse_x509_certificate, pem::parse_x509_pem};

/// How long a CA lasts. It is replaced, as a certificate is, when two thirds of that are over.
pub const CA_LIFETIME: Duration = Duration::from_secs(5 * 365 * 24 * 60 * 60);
/// How far other clocks may be behind.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// Why certificates cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Made(#[from] rcgen::Error),
    /// It cannot be read.
    #[error("a certificate in the Secret cannot be read")]
    Read,
}

/// What the Secret has: all of it PEM.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Certificates {
    /// The CAs to believe, the newest first.
    pub bundle: String,
    /// The newest CA's key.
    pub ca_key: String,
    /// What is shown.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// How certificates are made.
#[derive(Debug, Clone)]
pub struct Making {
    /// The names of the webhook's service.
    pub names: Vec<String>,
    /// How long a certificate lasts.
    pub lifetime: Duration,
    /// How long a CA lasts.
    pub ca_lifetime: Duration,
}

/// The first and the last second of a certificate.
fn life(pem: &str) -> Result<(SystemTime, SystemTime), CertificateError> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).map_err(|_| CertificateError::Read)?;
    let (_, certificate) = parse_x509_certificate(&pem.contents).map_err(|_| CertificateError::Read)?;
    let at = |time: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time).unwrap_or(0));
    Ok((at(certificate.validity().not_before.timestamp()), at(certificate.validity().not_after.timestamp())))
}

/// Whether two thirds of a certificate's life are over. The hour for clocks that are behind does not count.
fn is_due(pem: &str, now: SystemTime) -> Result<bool, CertificateError> {
    let (begin, end) = life(pem)?;
    let begin = begin + BACKDATED;
    Ok(now >= begin + end.duration_since(begin).unwrap_or_default() / 3 * 2)
}

impl Certificates {
    /// The newest CA.
    fn newest(&self) -> &str {
        const END: &str = "-----END CERTIFICATE-----";
        self.bundle.find(END).and_then(|at| self.bundle.get(..at + END.len())).unwrap_or_default()
    }

    /// What is to be written to the Secret now, where the API server believes `believed`; nothing where all is well.
    ///
    /// # Errors
    /// Where something cannot be made.
    pub fn renewed(&self, making: &Making, believed: &str, now: SystemTime) -> Result<Option<Self>, CertificateError> {
        if self.bundle.is_empty() || is_due(self.newest(), now).unwrap_or(true) {
            let (ca, ca_key) = make_ca(making, now)?;
            // The one before is believed for as long as what it signed is shown.
            let before = self.newest();
            let bundle = if before.is_empty() { ca } else { format!("{ca}{before}\n") };
            let made = Self { bundle, ca_key, ..self.clone() };
            // Where nothing can be shown yet there is nothing to wait for.
            return if self.certificate.is_empty() { made.signed(making, now).map(Some) } else { Ok(Some(made)) };
        }
        let newest_is_believed = believed.contains(self.newest());
        if newest_is_believed
            && (self.certificate.is_empty() || is_due(&self.certificate, now).unwrap_or(true) || !self.is_signed_by_newest())
        {
            return self.signed(making, now).map(Some);
        }
        Ok(None)
    }

    fn is_signed_by_newest(&self) -> bool {
        let signed = || {
            let (_, ca) = parse_x509_pem(self.newest().as_bytes()).ok()?;
            let (_, ca) = parse_x509_certificate(&ca.contents).ok().map(|(rest, ca)| (rest.len(), ca))?;
            let (_, certificate) = parse_x509_pem(self.certificate.as_bytes()).ok()?;
            let (_, certificate) = parse_x509_certificate(&certificate.contents).ok().map(|(rest, read)| (rest.len(), read))?;
            Some(certificate.issuer() == ca.subject())
        };
        signed().unwrap_or(false)
    }

    fn signed(&self, making: &Making, now: SystemTime) -> Result<Self, CertificateError> {
        let issuer = Issuer::from_ca_cert_pem(self.newest(), KeyPair::from_pem(&self.ca_key)?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(making.names.clone())?;
        params.distinguished_name.push(DnType::CommonName, "Coffer injector");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = ((now - BACKDATED).into(), (now + making.lifetime).into());
        let certificate = params.signed_by(&key, &issuer)?.pem();
        Ok(Self { certificate, key: key.serialize_pem(), ..self.clone() })
    }
}

fn make_ca(making: &Making, now: SystemTime) -> Result<(String, String), CertificateError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    // A name of its own: a certificate tells by it which CA signed it.
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    params.distinguished_name.push(DnType::CommonName, format!("Coffer injector CA {since}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = ((now - BACKDATED).into(), (now + making.ca_lifetime).into());
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn making() -> Making {
        Making {
            names: vec!["coffer-injector.coffer.svc".into()],
            lifetime: Duration::from_secs(300),
            ca_lifetime: Duration::from_secs(3_000),
        }
    }

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + secs)
    }

    #[test]
    fn a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() {
        let first = Certificates::default().renewed(&making(), "", at(0)).unwrap().unwrap();
        assert!(!first.certificate.is_empty() && first.is_signed_by_newest());
        assert!(first.renewed(&making(), &first.bundle, at(199)).unwrap().is_none());
        let second = first.renewed(&making(), &first.bundle, at(201)).unwrap().unwrap();
        assert!(second.certificate != first.certificate && second.key != first.key && second.bundle == first.bundle);
    }

    #[test]
    fn a_new_ca_signs_nothing_before_it_is_believed() {
        let first = Certificates::default().renewed(&making(), "", at(0)).unwrap().unwrap();
        let second = first.renewed(&making(), &first.bundle, at(2_001)).unwrap().unwrap();
        assert_eq!(second.certificate, first.certificate, "what is shown is believed still");
        assert!(second.bundle.contains(first.newest()) && second.newest() != first.newest());
        assert!(second.renewed(&making(), &first.bundle, at(2_002)).unwrap().is_none(), "nobody believes the new one yet");
        let third = second.renewed(&making(), &second.bundle, at(2_003)).unwrap().unwrap();
        assert!(third.is_signed_by_newest() && third.certificate != first.certificate);
        assert!(third.renewed(&making(), &third.bundle, at(2_004)).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_read_is_made_anew() {
        let broken = Certificates { bundle: "x".into(), ..Certificates::default() };
        assert!(broken.renewed(&making(), "", at(0)).unwrap().unwrap().is_signed_by_newest());
        let first = Certificates::default().renewed(&making(), "", at(0)).unwrap().unwrap();
        let broken = Certificates { certificate: "x".into(), ..first.clone() };
        assert!(broken.renewed(&making(), &first.bundle, at(1)).unwrap().unwrap().is_signed_by_newest());
    }
}
