//! The names that certificates are for: what is one, and which a role lets be asked for.
//!
//! Nothing is repaired: a name in capitals, with a dot at its end or in another spelling is refused, so that what a role
//! was asked about is what the certificate says.

use std::net::IpAddr;

use coffer_core::limits::{PKI_NAME_BYTES_MAX, PKI_URI_BYTES_MAX};
use coffer_crypto::x509::SubjectName;

use super::{PkiError, Workload};

/// Bytes in a label of a host's name.
const LABEL_BYTES_MAX: usize = 63;

/// The name that a text is: a URI has `://`, an address is one, and anything else is a host.
pub(super) fn parse(text: &str) -> Result<SubjectName, PkiError> {
    if text.contains("://") {
        check_uri(text)?;
        return Ok(SubjectName::Uri(text.to_owned()));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SubjectName::Ip(address));
    }
    check_host(text.strip_prefix("*.").unwrap_or(text))?;
    Ok(SubjectName::Dns(text.to_owned()))
}

/// Checks that a name from a request would have been one as text.
pub(super) fn check(name: &SubjectName) -> Result<(), PkiError> {
    match name {
        SubjectName::Ip(_) => Ok(()),
        SubjectName::Uri(uri) => check_uri(uri),
        SubjectName::Dns(host) => match parse(host)? {
            SubjectName::Dns(_) => Ok(()),
            SubjectName::Ip(_) | SubjectName::Uri(_) => Err(no_host(host)),
        },
    }
}

fn no_host(host: &str) -> PkiError {
    let shown: String = host.chars().filter(|c| !c.is_control()).take(LABEL_BYTES_MAX).collect();
    PkiError::told(format!(
        "'{shown}' is no host's name: labels of 1 to {LABEL_BYTES_MAX} of a-z 0-9 -, no hyphen at their ends, {PKI_NAME_BYTES_MAX} bytes in all"
    ))
}

pub(super) fn check_host(host: &str) -> Result<(), PkiError> {
    let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(good)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // An address in another spelling has digits last, and no host has.
    let number = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|c| c.is_ascii_digit()));
    // Room for the wildcard before it.
    if host.len() + 2 > PKI_NAME_BYTES_MAX || number || !host.split('.').all(label) { Err(no_host(host)) } else { Ok(()) }
}

fn check_uri(uri: &str) -> Result<(), PkiError> {
    let refused = || {
        PkiError::refused(
            "a URI in a certificate is SCHEME://HOST[/PATH] of at most 512 bytes: lower-case scheme and host, and a path of letters, digits and - . _ ~ : @ without '.' and '..'",
        )
    };
    let (scheme, rest) = uri.split_once("://").ok_or_else(refused)?;
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let scheme_good = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'+' | b'-' | b'.'));
    let segment = |segment: &str| {
        let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~' | b':' | b'@');
        !segment.is_empty() && segment.bytes().all(good) && !matches!(segment, "." | "..")
    };
    let path_good = path.is_none_or(|path| path.split('/').all(segment));
    let host_good = host.parse::<std::net::Ipv4Addr>().is_ok() || check_host(host).is_ok();
    if uri.len() > PKI_URI_BYTES_MAX || !scheme_good || !host_good || !path_good { Err(refused()) } else { Ok(()) }
}

/// A pattern with the names of the workload filled in; none where the caller is no workload and the pattern needs one.
pub(super) fn filled(pattern: &str, workload: Option<Workload<'_>>) -> Option<String> {
    if !pattern.contains('{') {
        return Some(pattern.to_owned());
    }
    let workload = workload?;
    let filled = pattern
        .replace("{namespace}", workload.namespace.as_str())
        .replace("{service_account}", workload.service_account.as_str())
        .replace("{cluster}", workload.cluster.as_str());
    (!filled.contains(['{', '}'])).then_some(filled)
}

/// A pattern with something of the right form in each place, to see whether it is one.
fn tried(pattern: &str) -> String {
    ["{namespace}", "{service_account}", "{cluster}"].iter().fold(pattern.to_owned(), |text, place| text.replace(place, "x"))
}

/// Checks a pattern for hosts: `host`, `*.host` for one label more, `**.host` for any number more.
pub(super) fn check_host_pattern(pattern: &str) -> Result<(), PkiError> {
    let tried = tried(pattern);
    let host = tried.strip_prefix("**.").or_else(|| tried.strip_prefix("*.")).unwrap_or(&tried);
    if host.parse::<IpAddr>().is_ok() {
        return Err(no_host(host));
    }
    check_host(host)
}

/// Whether a pattern lets a host's name be asked for. `wildcards` says whether names such as `*.host` may be.
pub(super) fn host_matches(pattern: &str, host: &str, wildcards: bool) -> bool {
    let below = |host: &str, base: &str| host.strip_suffix(base).and_then(|rest| rest.strip_suffix('.')).map(str::to_owned);
    let (covers_all, host) = host.strip_prefix("*.").map_or((false, host), |host| (true, host));
    if covers_all && !wildcards {
        return false;
    }
    match (pattern.strip_prefix("**."), pattern.strip_prefix("*.")) {
        // Of `*.host` every label could be meant.
        (Some(base), _) => covers_all && host == base || below(host, base).is_some_and(|more| !more.is_empty()),
        (None, Some(base)) if covers_all => host == base,
        (None, Some(base)) => below(host, base).is_some_and(|more| !more.is_empty() && !more.contains('.')),
        (None, None) => !covers_all && host == pattern,
    }
}

/// Checks a pattern for URIs: a whole one, or one that ends in `/**` for all below.
pub(super) fn check_uri_pattern(pattern: &str) -> Result<(), PkiError> {
    let tried = tried(pattern);
    check_uri(tried.strip_suffix("/**").unwrap_or(&tried))
}

/// Whether a pattern lets a URI be asked for.
pub(super) fn uri_matches(pattern: &str, uri: &str) -> bool {
    match pattern.strip_suffix("/**") {
        Some(base) => uri.strip_prefix(base).is_some_and(|rest| rest.starts_with('/')),
        None => uri == pattern,
    }
}

/// Addresses that begin alike: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    bits: u128,
    length: u32,
    four: bool,
}

fn address_bits(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, true),
        IpAddr::V6(address) => (address.to_bits(), false),
    }
}

impl Range {
    pub(super) fn parse(text: &str) -> Result<Self, PkiError> {
        let refused = || PkiError::refused("a range of addresses is ADDRESS or ADDRESS/BITS, without bits behind the first BITS");
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let (bits, four) = address_bits(address.parse().map_err(|_| refused())?);
        let most = if four { 32 } else { 128 };
        let length = length.map_or(Ok(most), |length| length.parse().map_err(|_| refused()))?;
        let range = Self { bits, length, four };
        if length > most || bits != bits & range.mask() { Err(refused()) } else { Ok(range) }
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let (bits, four) = address_bits(address);
        four == self.four && bits & self.mask() == self.bits
    }

    const fn mask(&self) -> u128 {
        if self.length == 0 { 0 } else { u128::MAX << (128 - self.length) }
    }
}

#[cfg(test)]
mod tests;
