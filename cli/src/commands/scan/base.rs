//! `coffer scan base`.

use clap::Args;
use coffer_images::{Base as Entry, OpenError};
use serde::Serialize;

use super::place::Place;
use crate::{
    app::App,
    exit::Exit,
    failure::{Failure, Result},
};

/// Print the layers of a base image, for --trusted-base and --trust
///
/// What is printed names the image as you do, and its layers by the digests of what is in them: an image that is built on it begins with
/// the same ones, whatever it is called and however they are compressed. Nothing is scanned: look at a base image before you trust it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  coffer scan base debian:12 > bases.yaml
  coffer scan image registry.example.com/team/app:1.4 --trusted-base bases.yaml")]
pub(crate) struct Base {
    #[command(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct Shown {
    bases: Vec<Entry>,
}

impl Base {
    pub(crate) async fn run(self, app: &App) -> Result<Exit> {
        let diff_ids = self.place.with(app, |image| Ok::<_, OpenError>(image.config.rootfs.diff_ids)).await?;
        if diff_ids.is_empty() {
            return Err(Failure::usage(format!("{} has no layers: every image is built on it", self.place.image)));
        }
        let shown = Shown { bases: vec![Entry { name: self.place.image, diff_ids }] };
        let yaml = serde_saphyr::to_string(&shown)
            .map_err(|error| Failure::new(Exit::Failed, format!("the entry cannot be written: {error}")))?;
        app.out.result(&shown, |_| yaml)?;
        Ok(Exit::Done)
    }
}
