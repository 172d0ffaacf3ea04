//! What holds for a whole mount.

use coffer_barrier::{Barrier, Batch, Expect, encoding};
use coffer_core::{id::IssuerId, limits::PKI_ADDRESS_BYTES_MAX, principal::Name};

use super::{Found, Part, Pki, PkiError, issuer::Signer, names, record::ConfigRecord};
use coffer_crypto::x509::Serial;

use crate::Planned;

/// What holds for a whole mount.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// The issuer of roles that name none.
    pub default_issuer: Option<Name>,
    /// Where the server answers for certificates and lists of this mount: `http://HOST[:PORT]`; empty for nowhere. It is
    /// written into certificates.
    pub url: String,
}

/// Plain HTTP: a list that is needed to believe TLS cannot be behind it, and is signed itself.
fn check_url(url: &str) -> Result<(), PkiError> {
    let refused = || {
        PkiError::told(format!(
            "the address of lists is http://HOST[:PORT] of at most {PKI_ADDRESS_BYTES_MAX} bytes, without a path"
        ))
    };
    if url.is_empty() {
        return Ok(());
    }
    let place = url.strip_prefix("http://").ok_or_else(refused)?;
    let (host, port) = place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port)));
    let port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port));
    let host = host.parse::<std::net::Ipv4Addr>().is_ok() || names::check_host(host).is_ok();
    if url.len() <= PKI_ADDRESS_BYTES_MAX && host && port { Ok(()) } else { Err(refused()) }
}

impl ConfigRecord {
    fn config(&self) -> Result<Config, PkiError> {
        let default = self.default.as_ref().map(|issuer| issuer.name.parse()).transpose();
        let default_issuer = default.map_err(|_| PkiError::damaged("the configuration of a mount"))?;
        Ok(Config { default_issuer, url: self.url.clone() })
    }
}

impl Pki {
    /// The configuration; the one that every mount begins with where nobody has changed it.
    pub(super) async fn config_record(&self, barrier: &Barrier) -> Result<Found<ConfigRecord>, PkiError> {
        let key = self.key([b"config".as_slice(), b"config"])?;
        let found = self.find(barrier, key.clone()).await?;
        Ok(found.unwrap_or_else(|| Found { key, expect: Expect::Absent, record: ConfigRecord::default() }))
    }

    /// What holds for the whole mount.
    pub async fn config(&self, barrier: &Barrier) -> Result<Config, PkiError> {
        self.config_record(barrier).await?.record.config()
    }

    /// Where an issuer's certificate is, and the list that will have a certificate of this number; nowhere where the mount has no
    /// address.
    pub(super) async fn urls(
        &self,
        barrier: &Barrier,
        signer: &Signer,
        serial: &Serial,
    ) -> Result<Option<(String, String)>, PkiError> {
        let url = self.config_record(barrier).await?.record.url;
        let part = Part::of_serial(serial, signer.parts);
        Ok((!url.is_empty()).then(|| (self.url(&url, signer.id, "crt"), self.list_url(&url, signer.id, part))))
    }

    /// Where a list is.
    pub(super) async fn crl_url(&self, barrier: &Barrier, issuer: IssuerId, part: Part) -> Result<Option<String>, PkiError> {
        let url = self.config_record(barrier).await?.record.url;
        Ok((!url.is_empty()).then(|| self.list_url(&url, issuer, part)))
    }

    fn url(&self, base: &str, issuer: IssuerId, end: &str) -> String {
        format!("{base}/pki/{}/{issuer}.{end}", self.mount)
    }

    fn list_url(&self, base: &str, issuer: IssuerId, part: Part) -> String {
        if part == Part::WHOLE {
            return self.url(base, issuer, "crl");
        }
        self.url(base, issuer, &format!("{}-of-{}.crl", part.number, part.of))
    }

    /// Plans another configuration.
    pub async fn put_config(&self, barrier: &Barrier, config: Config) -> Result<Planned<Config>, PkiError> {
        check_url(&config.url)?;
        let mut found = self.config_record(barrier).await?;
        found.record.url.clone_from(&config.url);
        found.record.default = match &config.default_issuer {
            Some(name) => Some(self.issuer_ref(barrier, name).await?),
            None => None,
        };
        let mut batch = Batch::new();
        batch.put(found.key, found.expect, encoding::encode(&found.record)?);
        Ok(Planned { batch, outcome: config })
    }
}
