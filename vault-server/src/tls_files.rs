//! The server's certificate: given, or made at first start and signed by a CA of the server's own.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::{config::Tls, files};

/// How long a CA that was made here lasts.
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How long a certificate that was made here lasts: it is made anew at every start, and well before its end.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// When a certificate is made anew.
pub(crate) const RENEW_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often it is looked whether a certificate that was given has been replaced.
pub(crate) const CERTIFICATE_LOOK_AFTER: Duration = Duration::from_secs(10);
/// The CA's certificate, in the directory where it was made.
pub(crate) const CA: &str = "ca.pem";
/// How far other clocks may be behind.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// A certificate chain and its key, PEM.
pub(crate) struct Pair {
    pub(crate) chain: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

/// Reads the certificate that was given, or makes one.
pub(crate) fn load(tls: &Tls) -> anyhow::Result<Pair> {
    match (&tls.directory, &tls.certificate, &tls.key) {
        (None, Some(certificate), Some(key)) => Ok(Pair { chain: read(certificate)?, key: read(key)? }),
        (Some(directory), ..) => make(directory, &tls.names),
        _ => anyhow::bail!("tls: give either 'directory', or 'certificate' and 'key'"),
    }
}

pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    files::read_at_most(files::PEM_BYTES_MAX, path).map(String::into_bytes)
}

fn make(directory: &Path, names: &[String]) -> anyhow::Result<Pair> {
    if !directory.is_dir() {
        // Certificates are for everybody to read; keys are closed by themselves.
        let made = fs::create_dir_all(directory).and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o755)));
        made.with_context(|| format!("{} cannot be made", directory.display()))?;
    }
    let (ca_path, ca_key_path) = (directory.join(CA), directory.join("ca.key"));
    if !ca_path.exists() || !ca_key_path.exists() {
        let (ca, key) = make_ca().context("a CA cannot be made")?;
        files::write(&ca_key_path, key.as_bytes(), 0o600)?;
        files::write(&ca_path, ca.as_bytes(), 0o644)?;
    }
    let ca_key = String::from_utf8(read(&ca_key_path)?).context("the CA's key is not PEM")?;
    let ca = String::from_utf8(read(&ca_path)?).context("the CA is not PEM")?;
    let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&ca_key)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec()).context("tls.names: not names or addresses")?;
    params.distinguished_name.push(DnType::CommonName, "Coffer vault server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    lasting(&mut params, CERTIFICATE_LIFETIME);
    let certificate = params.signed_by(&key, &issuer)?.pem();
    files::write(&directory.join("server.pem"), certificate.as_bytes(), 0o644)?;
    files::write(&directory.join("server.key"), key.serialize_pem().as_bytes(), 0o600)?;
    Ok(Pair { chain: certificate.into_bytes(), key: key.serialize_pem().into_bytes() })
}

fn make_ca() -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Coffer vault CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lasting(&mut params, CA_LIFETIME);
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

#[expect(clippy::disallowed_methods, reason = "certificates are dated by the machine's clock")]
fn lasting(params: &mut CertificateParams, lifetime: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + lifetime).into();
}
