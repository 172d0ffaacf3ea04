//! The server's side of TLS: version 1.3 alone, certificates that can be replaced while connections live, and clients
//! that prove to hold a key without anyone vouching for it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature},
    server::{
        ClientHello, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject};

/// Why a server cannot have this certificate and key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The PEM text cannot be read.
    #[error("the {0} is not PEM, or holds none")]
    Pem(&'static str),
    /// The key does not fit the certificate, or is of a kind that cannot be used.
    #[error("certificate and key cannot be used")]
    Key(#[source] Error),
}

/// The server's certificate: read again without a restart.
pub struct ServerCertificate(ArcSwap<CertifiedKey>);

impl ServerCertificate {
    /// The certificate (chain, the server's own first) and key of these PEM texts.
    ///
    /// # Errors
    /// Fails where they cannot be read or do not fit.
    pub fn new(chain_pem: &[u8], key_pem: &[u8]) -> Result<Arc<Self>, TlsError> {
        certified(chain_pem, key_pem).map(|key| Arc::new(Self(ArcSwap::from_pointee(key))))
    }

    /// Replaces the certificate for connections to come.
    ///
    /// # Errors
    /// Fails where they cannot be read or do not fit; the old one stays.
    pub fn replace(&self, chain_pem: &[u8], key_pem: &[u8]) -> Result<(), TlsError> {
        self.0.store(Arc::new(certified(chain_pem, key_pem)?));
        Ok(())
    }
}

fn certified(chain_pem: &[u8], key_pem: &[u8]) -> Result<CertifiedKey, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(TlsError::Pem("certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| TlsError::Pem("key"))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(TlsError::Key)
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerCertificate")
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// TLS as the server speaks it: 1.3, HTTP/2, and a client certificate if there is one.
///
/// # Errors
/// Fails where the ciphers cannot do TLS 1.3.
pub fn server_config(certificate: Arc<ServerCertificate>) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AnyKey(provider.signature_verification_algorithms));
    let mut config = ServerConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Key)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Accepts whatever certificate a client shows, and lets it prove that it holds the key. Sessions are bound to the key,
/// and operators' certificates are pinned by it: the certificate itself says nothing that is believed.
#[derive(Debug)]
struct AnyKey(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
