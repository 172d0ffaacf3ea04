//! Whom a scan of an image trusts, as it is given.

use std::path::{Path, PathBuf};

use clap::Args;
use coffer_images::{Trust, TrustFile};

use crate::{
    app::App,
    failure::{Failure, Result},
    input::Source,
};

/// Bytes of a file of what is trusted, or of a key, at most.
pub(crate) const TRUST_BYTES_MAX: usize = 4 << 20;

/// Whom a scan trusts.
#[derive(Args)]
pub(super) struct Trusted {
    /// A YAML file of what is trusted: registries, cosign_keys, signed_as and bases. May be repeated, as may what follows
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// A public key (PEM: P-256, P-384 or RSA) that must have signed the image, as cosign does; of several, one of them
    #[arg(long, value_name = "FILE")]
    cosign_key: Vec<PathBuf>,
    /// What a signature may call the image beside its own name: where a copy was signed
    #[arg(long, value_name = "HOST[/PATH]")]
    signed_as: Vec<String>,
    /// A registry that the image may be from
    #[arg(long, value_name = "HOST[/PATH]")]
    trusted_registry: Vec<String>,
    /// A YAML file of base images that the image may be built on, as coffer scan base prints it
    #[arg(long, value_name = "FILE")]
    trusted_base: Vec<PathBuf>,
}

impl Trusted {
    /// All of it.
    ///
    /// # Errors
    /// Where a file cannot be read, or something of it cannot be trusted.
    pub(super) fn read(&self, app: &App) -> Result<Trust> {
        let mut trust = Trust::default();
        for path in &self.trust {
            let file = parsed(app, path)?;
            trust.add(file).map_err(|error| unused(path, error.to_string()))?;
        }
        for path in &self.trusted_base {
            let TrustFile { registries, cosign_keys, signed_as, bases } = parsed(app, path)?;
            if !(registries.is_empty() && cosign_keys.is_empty() && signed_as.is_empty()) {
                return Err(unused(path, "it has more than bases".to_owned()).next(format!("--trust {}", path.display())));
            }
            trust.add(TrustFile { bases, ..TrustFile::default() }).map_err(|error| unused(path, error.to_string()))?;
        }
        for path in &self.cosign_key {
            let pem = app.input.text(&Source::File(path.clone()), TRUST_BYTES_MAX)?;
            let file = TrustFile { cosign_keys: vec![pem.expose().to_owned()], ..TrustFile::default() };
            trust.add(file).map_err(|error| unused(path, error.to_string()))?;
        }
        let given =
            TrustFile { registries: self.trusted_registry.clone(), signed_as: self.signed_as.clone(), ..TrustFile::default() };
        if !given.registries.is_empty() || !given.signed_as.is_empty() {
            trust.add(given).map_err(|error| Failure::usage(error.to_string()))?;
        }
        // A name is nothing without a key: whoever gives one means to have signatures looked at.
        if trust.has_names() && !trust.has_keys() {
            return Err(Failure::usage("what signatures may call an image is given, and no key that they are verified with")
                .next("--cosign-key FILE"));
        }
        Ok(trust)
    }
}

fn parsed(app: &App, path: &Path) -> Result<TrustFile> {
    let text = app.input.text(&Source::of_file(&path.display().to_string()), TRUST_BYTES_MAX)?;
    serde_saphyr::from_str(text.expose()).map_err(|error| unused(path, error.to_string()))
}

fn unused(path: &Path, why: String) -> Box<Failure> {
    Failure::usage(format!("{} has nothing that can be trusted", path.display())).why(why)
}
