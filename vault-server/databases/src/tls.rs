//! TLS to a database, and why there is no connection to it.

use std::{error::Error, io, sync::Arc};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::{DatabaseError, Fault};

/// TLS that believes these CA certificates (PEM), and no other.
pub(crate) fn believing(ca_pem: &str) -> Result<ClientConfig, DatabaseError> {
    let wrong = |detail: String| DatabaseError::new(Fault::Configuration, detail);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|_| wrong("the CA certificates cannot be read".to_owned()))?;
        roots.add(certificate).map_err(|error| wrong(format!("a CA certificate cannot be used: {error}")))?;
    }
    if roots.is_empty() {
        return Err(wrong("there is no CA certificate to believe".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Why there is no connection: all that the error says, and what of it is the certificate's fault.
pub(crate) fn unconnected(error: &(dyn Error + 'static)) -> DatabaseError {
    let (mut words, mut fault) = (error.to_string(), Fault::Unreachable);
    let mut cause = Some(error);
    while let Some(this) = cause {
        let io = this.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = this.downcast_ref::<rustls::Error>().or_else(|| io.and_then(|inner| inner.downcast_ref()));
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            fault = Fault::Certificate;
        }
        cause = this.source();
        if let Some(cause) = cause {
            words = format!("{words}: {cause}");
        }
    }
    DatabaseError::new(fault, words)
}
