//! `coffer scan image`.

use std::{fs, path::PathBuf, time::Duration};

use clap::Args;
use coffer_images::{Against, Facts, Stored, gather_with, judge_against};
use coffer_packages::{Subject, bill};

use super::{
    attest::{Asked, attest},
    place::Place,
    report::{Options, show, today, unshown},
    stored,
    trust::Trusted,
};
use crate::{
    app::App,
    args::parse_ttl,
    commands::advisories,
    exit::Exit,
    failure::{Failure, Result},
    output::Progress,
};

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
///
/// With --cosign-key it must be signed, with --trusted-registry be from there, with --trusted-base be built on one of them; --trust has all of it
/// in a file. Signatures lie beside the image, or beside the index that it is from, and are verified with the key alone: no transparency log is asked.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer scan image registry.example.com/team/app:1.4
  coffer scan image ./layout --tag 1.4
  docker save app:1.4 -o app.tar && coffer scan image app.tar
  coffer scan image app.tar -o json | jq '.findings[] | select(.tier == \"gate\")'
  coffer scan image registry.example.com/team/app:1.4 --attest release --stored-values
  coffer scan image registry.example.com/team/app:1.4 --cosign-key cosign.pub --trusted-registry registry.example.com/team
  coffer scan image app.tar --advisories advisories.coffer
  coffer scan image app.tar --sbom app.cdx.json
  coffer scan image app.tar --sarif app.sarif --fail-on critical")]
pub(crate) struct Image {
    #[command(flatten)]
    place: Place,
    /// Advisories to compare the image's packages with, as `coffer advisories import` makes them
    #[arg(long, value_name = "FILE")]
    advisories: Option<PathBuf>,
    /// Write what is in the image as CycloneDX 1.5; - for standard output in place of the table
    #[arg(long, value_name = "FILE")]
    sbom: Option<PathBuf>,
    /// Have the result signed in the vault by this signer, and kept there: what a grant with --require image=pass asks for
    #[arg(long, value_name = "SIGNER")]
    attest: Option<String>,
    /// Look for values that the vault stores, too, in every form that looks machine-made: the vault gives keyed hashes of them, and no value
    #[arg(long, requires = "attest")]
    stored_values: bool,
    /// How long the verdict counts: at most 365d [default: 30d]
    #[arg(long, value_name = "TIME", requires = "attest", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    #[command(flatten)]
    trusted: Trusted,
    #[command(flatten)]
    options: Options,
}

impl Image {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        // Before anything is pulled: a wrong name should not take a minute to be told.
        let advisories = self.advisories.as_deref().map(advisories::open).transpose()?;
        let trust = self.trusted.read(app)?;
        let stored = match &self.attest {
            Some(signer) if self.stored_values => Some(stored::marks(app, signer).await?),
            _ => None,
        };
        let facts = self.facts(app, trust.has_keys(), stored).await?;
        let against = Against { advisories: advisories.as_ref(), today: Some(today(app)), trust: Some(&trust) };
        let mut report = judge_against(&self.place.image, &facts, &against);
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
            name: &self.place.image,
            digest: digest.as_deref(),
            scanner: env!("CARGO_PKG_VERSION"),
            distribution: facts.distribution.as_ref(),
        };
        bill(&subject, &facts.packages)
    }

    /// What is known of the image, while a person sees how far it is. Its signatures are asked for only where they matter.
    async fn facts(&self, app: &App, is_to_be_signed: bool, stored: Option<Stored>) -> Result<Facts> {
        let mut progress = Progress::new(&app.out);
        let looked = self.place.with(app, move |mut image| {
            let signatures = is_to_be_signed.then(|| image.signatures()).transpose()?;
            let facts = gather_with(image, stored, &mut |at| {
                progress.say(|| format!("layer {} of {}: {} MB", at.layer, at.layers, at.bytes / 1_000_000));
            });
            Ok(Facts { signatures, ..facts })
        });
        looked.await
    }
}
