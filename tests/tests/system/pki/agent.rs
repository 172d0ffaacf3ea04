//! An agent that holds a certificate: replaced before its end, and never away from its key.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use anyhow::{Context as _, Result, ensure};
use coffer_client::proto::PkiRole;
use coffer_tests::{
    issuer::Pod,
    memory,
    process::Process,
    programs::Programs,
    wait::{self, PATIENCE},
};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use super::{PATH, Pki, credentials::belong_together, put_role};
use crate::vault::TOKEN_LIFETIME;

/// Seconds that a certificate lasts.
const LIFE: u64 = 12;
/// How often the certificate must have changed.
const CERTIFICATES: usize = 3;
/// How long that may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// A pod with an agent.
struct Served {
    folder: TempDir,
    log: PathBuf,
}

/// What the files of one moment hold.
struct Files {
    certificate: String,
    key: Vec<u8>,
    ca: String,
    text: String,
}

impl Served {
    fn new(pki: &Pki) -> Result<Self> {
        let folder = memory::folder()?;
        fs::create_dir(folder.path().join("secrets"))?;
        fs::write(folder.path().join("token"), pki.vault.token(&Pod::new("shop", "api")?, TOKEN_LIFETIME)?)?;
        let file = |name: &str, form: &str| {
            format!(
                "[[secrets]]\nname = \"{name}\"\ncredential = \"{PATH}\"\nttl = \"{LIFE}s\"\n{form}\n\
                 parameters = {{ common_name = \"web.shop.svc\", alt_names = \"a.web.shop.svc\" }}\n"
            )
        };
        let text = "{{ secret.serial }} {{ secret.lease.expires }}";
        let config = [
            file("tls.crt", "field = \"certificate\""),
            file("tls.key", "field = \"private_key\""),
            file("ca.crt", "field = \"ca_chain\""),
            file("about", &format!("template = \"{text}\"")),
            format!(
                "[vault]\naddress = \"{}\"\nca_file = \"{}\"\ntoken_file = \"{}\"\n[output]\ndirectory = \"{}\"\n",
                pki.vault.server.url()?,
                pki.vault.server.ca().display(),
                folder.path().join("token").display(),
                folder.path().join("secrets").display(),
            ),
        ];
        fs::write(folder.path().join("agent.toml"), config.concat())?;
        Ok(Self { log: pki.vault.server.folder().join("agent.log"), folder })
    }

    fn start(&self) -> Result<Process> {
        let mut command = Command::new(Programs::built()?.agent());
        command.env_clear().args(["sidecar", "--config"]).arg(self.folder.path().join("agent.toml"));
        Process::start(&mut command, &self.log)
    }

    /// The files of this moment, all of one swap; none where there are none yet, or they were swapped meanwhile.
    fn files(&self, pki: &Pki) -> Result<Option<Files>> {
        let at = self.folder.path().join("secrets");
        let read = |of: &Path| {
            let now = at.join(fs::read_link(of)?);
            Ok::<_, io::Error>(Files {
                certificate: fs::read_to_string(now.join("tls.crt"))?,
                key: fs::read(now.join("tls.key"))?,
                ca: fs::read_to_string(now.join("ca.crt"))?,
                text: fs::read_to_string(now.join("about"))?,
            })
        };
        let files = match read(&at.join("..data")) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        pki.vault.server.canaries().add("a certificate's key", &files.key);
        Ok(Some(files))
    }
}

/// The number of the files' certificate, and when it ends, as the template says it.
fn end(files: &Files) -> Result<(String, SystemTime)> {
    let (serial, expires) = files.text.split_once(' ').context("the template has both")?;
    Ok((serial.to_owned(), humantime::parse_rfc3339(expires)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_the_agent_s_files_has_a_certificate_that_holds_with_its_key_at_every_moment() -> Result<()> {
    let mut pki = Pki::new("p256").await?;
    let role = PkiRole { allowed_hosts: vec!["web.shop.svc".into(), "a.web.shop.svc".into()], ..PkiRole::default() };
    put_role(&pki.admin, "pki/roles/web", PkiRole { ttl_seconds: 3_600, ..role }).await?;
    let served = Served::new(&pki)?;
    let mut agent = served.start()?;
    wait::until(PATIENCE, "the first certificate", || served.files(&pki)).with_context(|| agent.log().unwrap_or_default())?;

    let (mut seen, give_up) = (BTreeSet::new(), Instant::now() + DEADLINE);
    while seen.len() < CERTIFICATES {
        if let Some(files) = served.files(&pki)? {
            ensure!(belong_together(files.certificate.as_bytes(), &files.key)?, "a certificate without its key");
            ensure!(files.ca == pki.root.certificate);
            let (serial, expires) = end(&files)?;
            ensure!(expires > SystemTime::now(), "a certificate has ended before it was replaced\n{}", agent.log()?);
            seen.insert(serial);
        }
        ensure!(Instant::now() < give_up, "the certificate does not change: {seen:?}\n{}", agent.log()?);
        sleep(Duration::from_millis(20)).await;
    }
    // Four files, and one certificate each time.
    let made = agent.log()?.lines().filter(|line| line.contains("made") && line.contains(PATH)).count();
    ensure!(made == seen.len() || made == seen.len() + 1, "{made} were made, {} were seen\n{}", seen.len(), agent.log()?);

    // While the vault is away the files stay, even for an agent that is started anew; then they are replaced again.
    pki.vault.server.kill()?;
    agent.kill()?;
    let agent = served.start()?;
    let kept = || Ok(agent.log()?.contains("stay in use").then_some(()));
    wait::until(PATIENCE, "the agent to keep the files", kept).with_context(|| agent.log().unwrap_or_default())?;
    let during = wait::until(PATIENCE, "the files", || served.files(&pki))?;
    ensure!(belong_together(during.certificate.as_bytes(), &during.key)?);
    pki.vault.restart().await?;
    let other = || Ok(served.files(&pki)?.filter(|files| files.certificate != during.certificate));
    let after = wait::until(DEADLINE, "another certificate", other).with_context(|| agent.log().unwrap_or_default())?;
    ensure!(belong_together(after.certificate.as_bytes(), &after.key)? && end(&after)?.1 > SystemTime::now());
    Ok(())
}
