//! When certificates begin and end.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Bytes in a CA file, at most: the client's own limit.
const BUNDLE_BYTES_MAX: u64 = 1 << 20;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// When a certificate begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dates {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

/// The dates of a certificate (DER); none where it cannot be read.
pub(super) fn dates(der: &[u8]) -> Option<Dates> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    Some(Dates { from: at(validity.not_before)?, until: at(validity.not_after)? })
}

/// The dates of all certificates of a CA file.
pub(super) fn of_bundle(path: &Path) -> Result<Vec<Dates>, String> {
    let plain = |error: std::io::Error| crate::failure::plain(&error);
    if std::fs::metadata(path).map_err(plain)?.len() > BUNDLE_BYTES_MAX {
        return Err(format!("larger than {BUNDLE_BYTES_MAX} bytes"));
    }
    of_text(&std::fs::read_to_string(path).map_err(plain)?)
}

/// The dates of all certificates in a text (PEM).
pub(super) fn of_text(text: &str) -> Result<Vec<Dates>, String> {
    let mut all = Vec::new();
    for part in text.split(BEGIN).skip(1) {
        let body: String = part.split(END).next().unwrap_or_default().split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| "a certificate that cannot be read")?;
        all.push(dates(&der).ok_or("a certificate that cannot be read")?);
    }
    if all.is_empty() { Err("no certificate (BEGIN CERTIFICATE)".into()) } else { Ok(all) }
}
