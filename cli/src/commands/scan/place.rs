//! Where an image is: what a scan and what is printed of a base image ask alike.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use coffer_images::{Choice, Image, OpenError};
use coffer_registry::{Client, Credentials, Reference, Registries};
use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{
    app::App,
    exit::Exit,
    failure::{Failure, Result},
    input::Source,
};

/// Bytes of a file of registries' passwords or CAs, at most.
pub(crate) const REGISTRY_FILE_BYTES_MAX: usize = 1 << 20;

/// Where an image is.
#[derive(Args)]
pub(super) struct Place {
    /// A folder, an archive, or HOST/REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "IMAGE")]
    pub(super) image: String,
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
}

impl Place {
    /// Does something with the image, from wherever it is, on a thread that may wait.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        app: &App,
        look: impl FnOnce(Image) -> std::result::Result<T, OpenError> + Send + 'static,
    ) -> Result<T> {
        let choice = Choice { name: self.tag.clone(), platform: self.platform.clone() };
        let path = PathBuf::from(&self.image);
        let looked = if path.exists() {
            spawn_blocking(move || look(Image::open(&path, &choice)?)).await
        } else {
            let (client, reference) = self.registry(app)?;
            let runtime = Handle::current();
            spawn_blocking(move || look(Image::pull(client, &reference, &runtime, &choice)?)).await
        };
        match looked {
            Ok(looked) => looked.map_err(|error: OpenError| self.unopened(&error)),
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
