//! `coffer scan image`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use coffer_images::{Choice, Facts, Image as Opened, OpenError, gather, judge};
use coffer_registry::{Client, Credentials, Reference, Registries};
use tokio::{runtime::Handle, task::spawn_blocking};

use super::{
    attest::{Asked, attest},
    report::{Options, show},
};
use crate::{
    app::App,
    args::parse_ttl,
    exit::Exit,
    failure::{Failure, Result},
    input::Source,
    output::Progress,
};

/// Bytes of a file of registries' passwords or CAs, at most.
pub(crate) const REGISTRY_FILE_BYTES_MAX: usize = 1 << 20;

/// Check an image: secrets in it, what it is made of, and how it is run
///
/// Every layer is looked at, also what a later one deletes or replaces: it is pulled with the image all the same. So are archives in layers,
/// the environment, labels, commands and history. No container engine is needed, nothing is unpacked onto the disk, and no text of a secret is
/// shown.
///
/// An image is a folder with an OCI layout, an archive (of OCI's format, or of `docker save`), or else a name in a registry, whose user and
/// password are read from Docker's configuration.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer scan image registry.example.com/team/app:1.4
  coffer scan image ./layout --tag 1.4
  docker save app:1.4 -o app.tar && coffer scan image app.tar
  coffer scan image app.tar -o json | jq '.findings[] | select(.tier == \"gate\")'
  coffer scan image registry.example.com/team/app:1.4 --attest release
  coffer scan image app.tar --sarif app.sarif --fail-on critical")]
pub(crate) struct Image {
    /// A folder, an archive, or HOST/REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Which one, where a folder or an archive has several
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// The platform, where it is for several [default: linux on this machine's processor]
    #[arg(long, value_name = "OS/PROCESSOR")]
    platform: Option<String>,
    /// Docker's configuration with the registry's password [default: config.json in $DOCKER_CONFIG or ~/.docker]
    #[arg(long, value_name = "FILE")]
    docker_config: Option<PathBuf>,
    /// CA certificates (PEM) of the registry, beside the public ones
    #[arg(long, value_name = "FILE")]
    registry_ca: Option<PathBuf>,
    /// The registry has no TLS; it is told no password
    #[arg(long)]
    plain_http: bool,
    /// Have the result signed in the vault by this signer, and kept there: what a grant with --require image=pass asks for
    #[arg(long, value_name = "SIGNER")]
    attest: Option<String>,
    /// How long the verdict counts: at most 365d [default: 30d]
    #[arg(long, value_name = "TIME", requires = "attest", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    #[command(flatten)]
    options: Options,
}

impl Image {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let choice = Choice { name: self.tag.clone(), platform: self.platform.clone() };
        let path = PathBuf::from(&self.image);
        let facts = if path.exists() {
            self.looked_at(app, move || Opened::open(&path, &choice)).await?
        } else {
            let (client, reference) = self.registry(app)?;
            let runtime = Handle::current();
            self.looked_at(app, move || Opened::pull(client, &reference, &runtime, &choice)).await?
        };
        let mut report = judge(&self.image, &facts);
        let exit = show(app, &mut report, &self.options)?;
        if let Some(signer) = &self.attest {
            let asked = Asked { signer, ttl: self.ttl, fail_on: self.options.fail_on() };
            attest(app, &asked, &facts, &report).await?;
        }
        Ok(exit)
    }

    /// What is known of the image, while a person sees how far it is.
    async fn looked_at(
        &self,
        app: &App,
        open: impl FnOnce() -> std::result::Result<Opened, OpenError> + Send + 'static,
    ) -> Result<Facts> {
        let mut progress = Progress::new(&app.out);
        let looked = spawn_blocking(move || {
            let image = open()?;
            Ok(gather(image, &mut |at| {
                progress.say(|| format!("layer {} of {}: {} MB", at.layer, at.layers, at.bytes / 1_000_000));
            }))
        });
        match looked.await {
            Ok(facts) => facts.map_err(|error: OpenError| self.unopened(&error)),
            Err(error) => Err(Failure::new(Exit::Failed, format!("the scan ended early: {error}"))),
        }
    }

    fn unopened(&self, error: &OpenError) -> Box<Failure> {
        let what = format!("cannot look at {}", self.image);
        match error {
            OpenError::Registry(error) => Failure::new(Exit::Unavailable, what).why(error.to_string()),
            OpenError::Several(..) => {
                Failure::usage(what).why(error.to_string()).next(format!("coffer scan image {} --tag TAG", self.image))
            }
            error => Failure::usage(what).why(error.to_string()),
        }
    }

    fn registry(&self, app: &App) -> Result<(Arc<Client>, Reference)> {
        let reference: Reference = self.image.parse().map_err(|error| {
            Failure::usage(format!("there is no file {}, and it is no image in a registry", self.image))
                .why(format!("{error}"))
                .next("write HOST/REPOSITORY:TAG, or the path of a folder or an archive")
        })?;
        let file = |path: &Path| app.input.bytes(&Source::File(path.to_owned()), REGISTRY_FILE_BYTES_MAX);
        let config = self.docker_config.clone().or_else(|| app.environment.docker_config.clone().filter(|path| path.exists()));
        let credentials = match &config {
            Some(path) => Credentials::read(&file(path)?)
                .map_err(|error| Failure::usage(format!("{} cannot be used: {error}", path.display())))?,
            None => Credentials::default(),
        };
        let registries = Registries {
            credentials,
            plain_http: self.plain_http.then(|| reference.host().to_owned()).into_iter().collect(),
            authorities: self.registry_ca.as_deref().map(file).transpose()?.map(|pem| pem.expose().to_vec()),
        };
        let client = Client::new(registries).map_err(|error| Failure::usage(format!("the registry cannot be asked: {error}")))?;
        Ok((Arc::new(client), reference))
    }
}
