//! `coffer migrate`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    app::App,
    exit::Exit,
    failure::{Failure, Result},
    input::Source,
    output::Format,
};

mod annotations;
mod manifest;

/// Bytes of a manifest, at most.
pub(crate) const MANIFEST_BYTES_MAX: usize = 8 << 20;

/// Bring over what was made for another vault
#[derive(Subcommand)]
pub(crate) enum Migrate {
    Manifest(Manifest),
}

impl Migrate {
    pub(crate) fn run(self, app: &App) -> Result<Exit> {
        match self {
            Self::Manifest(command) => command.run(app),
        }
    }
}

/// Rewrite manifests with annotations for vault-k8s, the injector of Vault and OpenBao
///
/// Annotations vault.hashicorp.com/* become coffer.dev/*, wherever they stand: in pods, templates of Deployments and Jobs, patches, and
/// templates of charts. Everything else stays as it is, byte for byte. What has no counterpart is told on standard error, and is taken
/// out. The exit code is 7 where there was such.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer migrate manifest deployment.yaml > new.yaml
  coffer migrate manifest --mount secret=kv --mount team/kv=kv deployment.yaml
  kubectl get deployment api -o yaml | coffer migrate manifest - | kubectl apply -f -")]
pub(crate) struct Manifest {
    /// The file; - for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// What a mount of the old vault is called now [default: secret=kv]
    #[arg(long = "mount", value_name = "OLD=NEW", value_parser = parse_mount)]
    mounts: Vec<(String, String)>,
}

fn parse_mount(text: &str) -> std::result::Result<(String, String), &'static str> {
    let both = text.split_once('=').map(|(old, new)| (old.trim_matches('/'), new.trim_matches('/')));
    let (old, new) = both.filter(|(old, new)| !old.is_empty() && !new.is_empty() && !new.contains('/')).ok_or("write OLD=NEW")?;
    Ok((old.to_owned(), new.to_owned()))
}

/// Something that people should know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Note {
    line: usize,
    annotation: String,
    what: String,
    /// Whether it is lost.
    lost: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    manifest: &'a str,
    notes: &'a [Note],
}

impl Manifest {
    fn run(self, app: &App) -> Result<Exit> {
        let source = Source::of_file(&self.file);
        let text = app.input.text(&source, MANIFEST_BYTES_MAX)?;
        let mounts: BTreeMap<String, String> = match self.mounts.is_empty() {
            true => BTreeMap::from([("secret".to_owned(), "kv".to_owned())]),
            false => self.mounts.into_iter().collect(),
        };
        let (manifest, notes) = manifest::rewritten(text.expose(), &mounts)
            .map_err(|why| Failure::usage(format!("{} cannot be rewritten: {why}", source.name())))?;
        if app.out.format == Format::Table {
            for Note { line, annotation, what, .. } in &notes {
                app.out.note(&format!("line {line}: {annotation}: {what}"));
            }
            app.out.raw(manifest.as_bytes())?;
        } else {
            app.out.result(&Report { manifest: &manifest, notes: &notes }, |_| String::new())?;
        }
        Ok(if notes.iter().any(|note| note.lost) { Exit::CheckFailed } else { Exit::Done })
    }
}
