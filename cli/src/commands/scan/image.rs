//! `coffer scan image`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use coffer_images::{Against, Choice, Facts, Image as Opened, OpenError, gather, judge_against};
use coffer_packages::{Subject, bill};
use coffer_registry::{Client, Credentials, Reference, Registries};
use tokio::{runtime::Handle, task::spawn_blocking};

use super::{
    attest::{Asked, attest},
    report::{Options, show, today, unshown},
};
use crate::{
    app::App,
    args::parse_ttl,
    commands::advisories,
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
/// With --advisories, the packages in it are compared with what is known of them: those of dpkg and apk, modules in programs of Go, and crates in
/// programs that cargo auditable made.
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
  coffer scan image app.tar --advisories advisories.coffer
  coffer scan image app.tar --sbom app.cdx.json
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
    /// Advisories to compare the image's packages with, as `coffer advisories import` makes them
    #[arg(long, value_name = "FILE")]
    advisories: Option<PathBuf>,
    /// Write what is in the image as CycloneDX 1.5; - for standard output in place of the table
    #[arg(long, value_name = "FILE")]
    sbom: Option<PathBuf>,
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
        // Before anything is pulled: a wrong name should not take a minute to be told.
        let advisories = self.advisories.as_deref().map(advisories::open).transpose()?;
        let facts = self.facts(app).await?;
        let against = Against { advisories: advisories.as_ref(), today: Some(today(app)) };
        let mut report = judge_against(&self.image, &facts, &against);
        let exit = match &self.sbom {
            Some(path) if path.as_os_str() == "-" => {
                app.out.raw(self.bill(&facts).as_bytes())?;
                unshown(app, &mut report, &self.options)?
            }
            path => {
                let write =
                    |path: &PathBuf| fs::write(path, self.bill(&facts)).map_err(|error| Failure::file("write", path, &error));
                path.as_ref().map(write).transpose()?;
                show(app, &mut report, &self.options)?
            }
        };
        if let Some(signer) = &self.attest {
            let day = advisories.as_ref().map(|advisories| advisories.newest.unwrap_or(advisories.made));
            let exceptions = self.options.lasting(app)?;
            let asked = Asked { signer, ttl: self.ttl, fail_on: self.options.fail_on(), advisories: day, exceptions };
            attest(app, &asked, &facts, &report).await?;
        }
        Ok(exit)
    }

    /// The bill of materials.
    fn bill(&self, facts: &Facts) -> String {
        let digest = facts.manifest.as_ref().or(facts.config_digest.as_ref()).map(ToString::to_string);
        let subject = Subject {
            name: &self.image,
            digest: digest.as_deref(),
            scanner: env!("CARGO_PKG_VERSION"),
            distribution: facts.distribution.as_ref(),
        };
        bill(&subject, &facts.packages)
    }

    /// What is known of the image, from wherever it is.
    async fn facts(&self, app: &App) -> Result<Facts> {
        let choice = Choice { name: self.tag.clone(), platform: self.platform.clone() };
        let path = PathBuf::from(&self.image);
        if path.exists() {
            return self.looked_at(app, move || Opened::open(&path, &choice)).await;
        }
        let (client, reference) = self.registry(app)?;
        let runtime = Handle::current();
        self.looked_at(app, move || Opened::pull(client, &reference, &runtime, &choice)).await
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
