//! Registries for a test.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpStream,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use coffer_registry::{Client, Credentials, Digest, Reference, Registries};
use coffer_secret::SecretBytes;
use coffer_tests::{
    port::Port,
    process::Process,
    wait::{self, PATIENCE},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The user of registries here, and how `docker login` keeps the password.
pub(crate) const PASSWORD: &str = "canary-password";
const USER: &str = "dXNlcjpjYW5hcnktcGFzc3dvcmQ=";
/// The same as `htpasswd -B` makes it, with the fewest rounds.
const HTPASSWD: &str = "user:$2y$04$abcdefghijklmnopqrstuuag0.YlF7tv7WKWN7rgqJ5KkJ9XU2wny\n";

/// A client, for a registry without TLS where that is asked for.
pub(crate) fn client(plain: &[&str], credentials: Credentials, authorities: Option<&str>) -> Client {
    let authorities = authorities.map(|pem| pem.as_bytes().to_vec());
    let plain_http = plain.iter().map(|host| (*host).to_owned()).collect();
    Client::new(Registries { credentials, plain_http, authorities }).unwrap()
}

/// The credentials of the user, at a registry.
pub(crate) fn user_at(host: &str) -> Credentials {
    Credentials::read(&SecretBytes::copied_from(format!(r#"{{"auths":{{"{host}":{{"auth":"{USER}"}}}}}}"#).as_bytes())).unwrap()
}

pub(crate) fn image(text: &str) -> Reference {
    text.parse().unwrap()
}

/// A CA, and a certificate of 127.0.0.1 by it with its key, PEM.
pub(crate) fn certificates() -> (String, String, String) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    (ca.pem(), certificate.pem(), key.serialize_pem())
}

/// Debian's `docker-registry`, with images that were put into its folder.
pub(crate) struct Registry {
    folder: TempDir,
    port: Port,
    pub(crate) authorities: Option<String>,
    _process: Option<Process>,
}

impl Registry {
    /// One that listens on loopback: `tls` with TLS and the user's password, or without either. `more` is more of its configuration.
    pub(crate) fn start(tls: bool, more: &str, images: &[(&str, &str, &[u8])], blobs: &[&[u8]]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("coffer-registry").tempdir_in("/var/tmp")?;
        let mut registry = Self { folder, port: Port::reserve()?, authorities: None, _process: None };
        let path = |name: &str| registry.folder.path().join(name);
        for (name, tag, manifest) in images {
            put_image(&path("data"), name, tag, manifest, blobs)?;
        }
        let mut config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n{more}http:\n  addr: {}\n",
            path("data").display(),
            registry.host()
        );
        if tls {
            let (ca, certificate, key) = certificates();
            for (name, content) in [("tls.crt", certificate.as_str()), ("tls.key", &key), ("htpasswd", HTPASSWD)] {
                fs::write(path(name), content)?;
            }
            let at = |name: &str| path(name).display().to_string();
            config.push_str(&format!("  tls: {{certificate: {}, key: {}}}\n", at("tls.crt"), at("tls.key")));
            config.push_str(&format!("auth: {{htpasswd: {{realm: here, path: {}}}}}\n", at("htpasswd")));
            registry.authorities = Some(ca);
        }
        fs::write(path("config.yml"), config)?;
        let log = path("log");
        let mut command = Command::new("docker-registry");
        let mut process = Process::start(command.arg("serve").arg(path("config.yml")), &log)?;
        let address = registry.port.address();
        wait::until(PATIENCE, "the registry to listen", || {
            anyhow::ensure!(process.ended()?.is_none(), "{}", fs::read_to_string(&log)?);
            Ok(TcpStream::connect(address).ok())
        })?;
        registry._process = Some(process);
        Ok(registry)
    }

    pub(crate) fn host(&self) -> String {
        self.port.address().to_string()
    }
}

/// Puts an image into a registry's folder, as the registry keeps it.
fn put_image(data: &Path, name: &str, tag: &str, manifest: &[u8], blobs: &[&[u8]]) -> Result<()> {
    let root = data.join("docker/registry/v2");
    let link = |path: String, digest: &Digest| {
        let folder = root.join("repositories").join(name).join(path);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("link"), digest.to_string())
    };
    for content in blobs.iter().chain([&manifest]) {
        let digest = Digest::of(content);
        let hex = digest.to_string().replace("sha256:", "");
        let folder = root.join("blobs/sha256").join(hex.chars().take(2).collect::<String>()).join(&hex);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("data"), content)?;
        link(format!("_layers/sha256/{hex}"), &digest)?;
        if *content == manifest {
            link(format!("_manifests/revisions/sha256/{hex}"), &digest)?;
            link(format!("_manifests/tags/{tag}/current"), &digest)?;
            link(format!("_manifests/tags/{tag}/index/sha256/{hex}"), &digest)?;
        }
    }
    Ok(())
}

/// What an odd registry answers: bytes, and more of them for as long as somebody reads, or silence with the connection open.
pub(crate) enum Answer {
    Whole(Vec<u8>),
    Endless(Vec<u8>),
    Silent(Vec<u8>),
}

impl Answer {
    /// A status, more lines of the head, and a body.
    pub(crate) fn new(status: u16, head: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n{head}\r\n", body.len());
        Self::Whole([head.as_bytes(), body].concat())
    }
}

/// A registry that answers what a test says, without TLS, and keeps the heads of what it was asked, by method and path.
pub(crate) struct Odd {
    pub(crate) host: String,
    asked: Arc<Mutex<BTreeMap<String, String>>>,
    _tasks: JoinSet<()>,
}

impl Odd {
    pub(crate) async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(move |asked, _| answer(asked)).await
    }

    /// The same, which knows too whether it was told an authorisation.
    pub(crate) async fn start_with(answer: impl Fn(&str, bool) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let (noted, answer) = (Arc::clone(&asked), Arc::new(answer));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                connections.spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    let head = String::from_utf8(head).unwrap();
                    let asked = head.split(" HTTP").next().unwrap().to_owned();
                    let answered = answer(&asked, head.to_lowercase().contains("\r\nauthorization:"));
                    noted.lock().unwrap().insert(asked, head);
                    let (Answer::Whole(bytes) | Answer::Endless(bytes) | Answer::Silent(bytes)) = &answered;
                    // Whoever hangs up has heard enough.
                    let mut told = stream.write_all(bytes).await;
                    while told.is_ok() && matches!(answered, Answer::Endless(_)) {
                        told = stream.write_all(&[b'x'; 65_536]).await;
                    }
                    if matches!(answered, Answer::Silent(_)) {
                        drop(stream.read_u8().await);
                    }
                });
            }
        });
        Self { host, asked, _tasks: tasks }
    }

    /// The head of a question, by method and path, in lower case.
    pub(crate) fn head(&self, asked: &str) -> Option<String> {
        self.asked.lock().unwrap().get(asked).map(|head| head.to_lowercase())
    }

    pub(crate) fn image(&self, rest: &str) -> Reference {
        image(&format!("{}/{rest}", self.host))
    }

    pub(crate) fn client(&self) -> Client {
        client(&[&self.host], Credentials::default(), None)
    }
}
