//! `coffer scan image` on images that a real builder made, from everywhere that an image can come from.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{cluster::Cluster, command::Coffer, programs::Programs};
use serde_json::Value;
use tempfile::TempDir;

mod access;
mod packages;
mod trust;

/// What was planted: none of it may be in anything that is printed.
const PLANTED: &str = "kX93jd82nQw1Zr7Tb5Yp";

/// A builder with a storage of its own.
struct Builder(TempDir);

impl Builder {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        if program == "buildah" {
            command.arg("--root").arg(self.path("root")).arg("--runroot").arg(self.path("run")).args(["--storage-driver", "vfs"]);
        }
        let output = command.args(arguments).output().with_context(|| format!("{program} cannot be started"))?;
        ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// An image on another, with what is done to its root and said of it.
    fn image(&self, from: &str, name: &str, config: &[&str], change: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let container = self.run("buildah", &["from", from])?;
        change(Path::new(&self.run("buildah", &["mount", &container])?))?;
        self.run("buildah", &["umount", &container])?;
        if !config.is_empty() {
            self.run("buildah", &[&["config"], config, &[&container]].concat())?;
        }
        self.run("buildah", &["commit", "--quiet", "--format", "oci", &container, &format!("localhost/{name}")])?;
        self.run("buildah", &["rm", &container]).map(drop)
    }

    fn push(&self, name: &str, to: &str) -> Result<()> {
        self.run("buildah", &["push", "--quiet", &format!("localhost/{name}"), to]).map(drop)
    }

    /// The private key, made for this test.
    fn key(&self) -> Result<PathBuf> {
        let path = self.path("key.pem");
        self.run("openssl", &["genpkey", "-algorithm", "ed25519", "-out", path.to_str().context("a path")?])?;
        Ok(path)
    }
}

/// A check that fails, where, and what that is seen from.
#[derive(Debug, PartialEq)]
struct Failed {
    id: String,
    subject: String,
    evidence: String,
}

/// The exit code, and what fails in an image. Nothing that was planted is told.
fn failures(coffer: &Coffer, arguments: &[&str]) -> Result<(i32, Vec<Failed>)> {
    let ran = coffer.run([&["scan", "image", "-o", "json"], arguments].concat())?;
    ensure!(!ran.stdout.contains(PLANTED) && !ran.stderr.contains(PLANTED), "the secret is told: {ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).with_context(|| format!("{ran:?}"))?;
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().context("findings")?.iter();
    let failed = findings.filter(|finding| finding["status"] == "fail");
    let failed = failed.map(|finding| Failed {
        id: text(finding, "id"),
        subject: text(finding, "subject"),
        evidence: text(finding, "evidence"),
    });
    Ok((ran.code, failed.collect()))
}

#[test]
fn planted_secrets_are_found_wherever_they_are_and_wherever_the_image_is() -> Result<()> {
    let (builder, coffer) = (Builder::new()?, Coffer::new(Programs::built()?)?);
    let key = builder.key()?;
    builder.image("scratch", "planted:1", &["--label", &format!("note=password: {PLANTED}")], |root| {
        fs::create_dir_all(root.join("app"))?;
        fs::copy(&key, root.join("app/key.pem"))?;
        builder.run(
            "tar",
            &[
                "-czf",
                root.join("app/backup.tgz").to_str().context("a path")?,
                "-C",
                builder.0.path().to_str().context("a path")?,
                "key.pem",
            ],
        )?;
        Ok(fs::write(root.join("app/.netrc"), format!("machine example.com login app password {PLANTED}"))?)
    })?;
    let variable = format!("DB_PASSWORD={PLANTED}");
    builder.image("localhost/planted:1", "planted:2", &["--env", &variable, "--user", "65532"], |root| {
        fs::remove_file(root.join("app/.netrc"))?;
        Ok(fs::remove_file(root.join("app/key.pem"))?)
    })?;
    let at = |name: &str| builder.path(name).display().to_string();
    builder.push("planted:2", &format!("oci:{}:2", at("layout")))?;
    builder.push("planted:2", &format!("oci-archive:{}:2", at("oci.tar")))?;
    builder.push("planted:2", &format!("docker-archive:{}:localhost/planted:2", at("docker.tar")))?;
    let zstd = format!("oci:{}:2", at("zstd"));
    builder.run("buildah", &["push", "--quiet", "--compression-format", "zstd", "localhost/planted:2", &zstd])?;

    for image in ["layout", "oci.tar", "docker.tar", "zstd"] {
        let (code, failed) = failures(&coffer, &[&at(image)])?;
        ensure!(code == 7, "{image}: {code}");
        let expected = [
            (
                "IMG-01",
                "layer 1: /app/key.pem",
                "a private key (private-key), line 1; layer 2 hides it, and it is pulled all the same",
            ),
            ("IMG-01", "layer 1: /app/backup.tgz!key.pem", "a private key (private-key), line 1"),
            ("IMG-07", "layer 1: /app/.netrc", "a login in .netrc; layer 2 hides it, and it is pulled all the same"),
            (
                "IMG-09",
                "layer 1: /app/key.pem",
                "a private key (private-key), line 1; layer 2 hides it, and it is pulled all the same",
            ),
            ("IMG-08", "label: note", "a value whose name says that it is secret (secret-value)"),
            ("IMG-45", "environment: DB_PASSWORD", "a value that looks like a password"),
        ];
        for (id, subject, evidence) in expected {
            let found = failed
                .iter()
                .any(|failed| (failed.id.as_str(), failed.subject.as_str(), failed.evidence.as_str()) == (id, subject, evidence));
            ensure!(found, "{image}: no {id} at {subject}: {evidence}, but {failed:#?}");
        }
    }
    Ok(())
}

#[test]
fn a_clean_image_fails_nothing_that_counts_and_one_that_was_changed_is_told() -> Result<()> {
    let (builder, coffer) = (Builder::new()?, Coffer::new(Programs::built()?)?);
    builder.image("scratch", "clean:1", &["--user", "65532"], |root| Ok(fs::write(root.join("app"), "nothing")?))?;
    let layout = builder.path("layout").display().to_string();
    builder.push("clean:1", &format!("oci:{layout}:1"))?;
    let (code, failed) = failures(&coffer, &[&layout])?;
    ensure!((code, failed.len()) == (0, 0), "{code}: {failed:?}");

    let index: Value = serde_json::from_slice(&fs::read(builder.path("layout/index.json"))?)?;
    let blob = |digest: &Value| builder.path("layout/blobs").join(digest.as_str().unwrap_or_default().replace(':', "/"));
    let manifest: Value = serde_json::from_slice(&fs::read(blob(&index["manifests"][0]["digest"]))?)?;
    let layer = blob(&manifest["layers"][0]["digest"]);
    let mut bytes = fs::read(&layer)?;
    bytes.extend_from_slice(&bytes.clone());
    fs::write(&layer, bytes)?;
    let (code, failed) = failures(&coffer, &[&layout])?;
    ensure!(code == 7 && failed.iter().any(|failed| failed.id == "IMG-42"), "{code}: {failed:?}");
    Ok(())
}

#[test]
fn what_cannot_be_scanned_is_refused_with_what_to_do() -> Result<()> {
    let coffer = Coffer::new(Programs::built()?)?;
    let file = coffer.home().join("file");
    fs::write(&file, "no image")?;
    for (image, code, said) in [
        ("./nothing", 2, "there is no file ./nothing"),
        (file.to_str().context("a path")?, 2, "is no archive of an image"),
        (coffer.home().to_str().context("a path")?, 2, "is no OCI layout"),
        ("127.0.0.1:1/app:1", 8, "the registry 127.0.0.1:1 cannot be reached"),
    ] {
        let ran = coffer.run(["scan", "image", image])?;
        ensure!(ran.code == code && ran.stderr.contains(said), "{image}: {ran:?}");
    }
    Ok(())
}

#[test]
#[ignore = "needs Kubernetes: tests/run"]
fn an_image_in_a_registry_is_scanned_without_being_stored() -> Result<()> {
    let (cluster, builder) = (Cluster::of_this_run()?, Builder::new()?);
    let coffer = Coffer::new(Programs::built()?)?;
    let key = builder.key()?;
    cluster.push("planted:1", "FROM 127.0.0.1:5000/busybox:1\nCOPY key.pem /key.pem\n", &[&key])?;
    cluster.push("planted:2", "FROM 127.0.0.1:5000/planted:1\nRUN rm /key.pem\n", &[])?;
    let address =
        cluster.kubectl(["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}"])?;
    let image = format!("{}:5000/planted:2", address.trim());
    let (code, failed) = failures(&coffer, &["--plain-http", &image])?;
    ensure!(code == 7, "{code}");
    let is_hidden =
        |failed: &Failed| failed.id == "IMG-09" && failed.subject.ends_with("/key.pem") && failed.evidence.contains("hides it");
    let hidden = failed.iter().any(is_hidden);
    ensure!(hidden, "{failed:#?}");
    let ran = coffer.run(["scan", "image", "--plain-http", &image.replace("planted:2", "planted:none")])?;
    ensure!(ran.code == 8 && ran.stderr.contains("404"), "{ran:?}");
    Ok(())
}
