//! Signatures, registries and base images: an image in Debian's registry, signed with openssl and pushed as cosign would.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_crypto::{hash::sha256, x509::hex};
use coffer_tests::{
    command::Coffer,
    port::Port,
    process::Process,
    programs::Programs,
    wait::{self, PATIENCE},
};
use serde_json::{Value, json};

use super::Builder;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Bytes of a file of what is trusted, at most.
const TRUST_BYTES_MAX: usize = 4 << 20;

/// Debian's registry, without TLS, and what signs what is in it.
struct Registry {
    builder: Builder,
    port: Port,
    _process: Process,
}

impl Registry {
    fn start() -> Result<Self> {
        let (builder, port) = (Builder::new()?, Port::reserve()?);
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{}'}}\n",
            builder.path("data").display(),
            port.address()
        );
        fs::write(builder.path("config.yml"), config)?;
        let log = builder.path("log");
        let mut process = Process::start(Command::new("docker-registry").arg("serve").arg(builder.path("config.yml")), &log)?;
        wait::until(PATIENCE, "the registry to listen", || {
            ensure!(process.ended()?.is_none(), "{}", fs::read_to_string(&log)?);
            Ok(TcpStream::connect(port.address()).ok())
        })?;
        Ok(Self { builder, port, _process: process })
    }

    /// Asks, and gives the head and the body.
    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<(String, Vec<u8>)> {
        let mut stream = TcpStream::connect(self.port.address())?;
        let host = self.port.address();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: {MANIFEST}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").context("a head")?;
        let (head, body) = answer.split_at(end + 4);
        let head = String::from_utf8(head.to_vec())?;
        ensure!(head.starts_with("HTTP/1.1 2"), "{method} {path}: {head}{}", String::from_utf8_lossy(body));
        Ok((head, body.to_vec()))
    }

    /// Puts a blob there, and gives its descriptor.
    fn blob(&self, repository: &str, kind: &str, bytes: &[u8]) -> Result<Value> {
        let digest = digest_of(bytes);
        let (head, _) = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "x", b"")?;
        let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).context("a place")?;
        let path = location.split_once(&self.port.address().to_string()).context("a place here")?.1;
        self.ask("PUT", &format!("{path}&digest={digest}"), "application/octet-stream", bytes)?;
        Ok(json!({ "mediaType": kind, "digest": digest, "size": bytes.len() }))
    }

    fn manifest(&self, repository: &str, at: &str, manifest: &Value) -> Result<()> {
        let kind = manifest["mediaType"].as_str().unwrap_or(MANIFEST);
        self.ask("PUT", &format!("/v2/{repository}/manifests/{at}"), kind, manifest.to_string().as_bytes()).map(drop)
    }

    /// An image, and its digest.
    fn push(&self, repository: &str, content: &str) -> Result<String> {
        let name = format!("{repository}:1").replace('/', "-");
        self.builder.image("scratch", &name, &["--user", "65532"], |root| Ok(fs::write(root.join("app"), content)?))?;
        let to = format!("docker://{}/{repository}:1", self.port.address());
        self.builder.run("buildah", &["push", "--quiet", "--tls-verify=false", &format!("localhost/{name}"), &to])?;
        let (_, manifest) = self.ask("GET", &format!("/v2/{repository}/manifests/1"), "x", b"")?;
        Ok(digest_of(&manifest))
    }

    /// A key, as cosign makes them.
    fn key(&self, name: &str) -> Result<PathBuf> {
        let (key, public) = (self.builder.path(&format!("{name}.key")), self.builder.path(&format!("{name}.pub")));
        let (key, public_text) = (key.display().to_string(), public.display().to_string());
        let kind = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
        self.builder.run("openssl", &[&["genpkey"], &kind[..], &["-out", &key]].concat())?;
        self.builder.run("openssl", &["pkey", "-in", &key, "-pubout", "-out", &public_text])?;
        Ok(public)
    }

    /// A signature by openssl, and openssl's own word that it holds.
    fn signature(&self, key: &str, message: &[u8]) -> Result<String> {
        let path = |name: &str| self.builder.path(name).display().to_string();
        fs::write(path("message"), message)?;
        let private = path(&format!("{key}.key"));
        self.builder.run("openssl", &["dgst", "-sha256", "-sign", &private, "-out", &path("signature"), &path("message")])?;
        let public = path(&format!("{key}.pub"));
        let verify = ["dgst", "-sha256", "-verify", &public, "-signature", &path("signature"), &path("message")];
        ensure!(self.builder.run("openssl", &verify)? == "Verified OK");
        Ok(STANDARD.encode(fs::read(path("signature"))?))
    }

    /// Signs `of` at the tag of `at`, by simple signing.
    fn sign(&self, key: &str, repository: &str, at: &str, of: &str) -> Result<()> {
        let name = format!("{}/{repository}", self.port.address());
        let critical = json!({
            "identity": { "docker-reference": name },
            "image": { "docker-manifest-digest": of },
            "type": "cosign container image signature",
        });
        let payload = json!({ "critical": critical, "optional": null }).to_string();
        let mut layer = self.blob(repository, "application/vnd.dev.cosign.simplesigning.v1+json", payload.as_bytes())?;
        layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": self.signature(key, payload.as_bytes())? });
        let config = self.blob(repository, "application/vnd.oci.image.config.v1+json", b"{}")?;
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] });
        self.manifest(repository, &format!("{}.sig", at.replace(':', "-")), &manifest)
    }

    /// Signs an image with a bundle, which the tag names that stands for what refers to the image.
    fn bundle(&self, key: &str, repository: &str, image: &str) -> Result<()> {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": image.replace("sha256:", "") } }],
            "predicateType": "https://sigstore.dev/cosign/sign/v1",
            "predicate": {},
        })
        .to_string();
        let kind = "application/vnd.in-toto+json";
        let message = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
        let signatures = [json!({ "sig": self.signature(key, message.as_bytes())? })];
        let envelope = json!({ "payload": STANDARD.encode(&statement), "payloadType": kind, "signatures": signatures });
        let hint = json!({ "publicKey": { "hint": "" } });
        let bundle = json!({ "mediaType": BUNDLE, "verificationMaterial": hint, "dsseEnvelope": envelope }).to_string();
        let layer = self.blob(repository, BUNDLE, bundle.as_bytes())?;
        let config = self.blob(repository, "application/vnd.oci.empty.v1+json", b"{}")?;
        let subject = json!({ "mediaType": MANIFEST, "digest": image, "size": 1 });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE, "config": config, "layers": [layer], "subject": subject,
        });
        let digest = digest_of(manifest.to_string().as_bytes());
        self.manifest(repository, &digest, &manifest)?;
        let of = json!({ "mediaType": MANIFEST, "artifactType": BUNDLE, "digest": digest, "size": manifest.to_string().len() });
        let index = "application/vnd.oci.image.index.v1+json";
        let list = json!({ "schemaVersion": 2, "mediaType": index, "manifests": [of] });
        self.manifest(repository, &image.replace(':', "-"), &list)
    }
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&sha256(bytes)))
}

/// The exit code, and how some checks came out.
fn judged(coffer: &Coffer, arguments: &[&str], checks: &[&str]) -> Result<(i32, Vec<String>)> {
    let ran = coffer.run([&["scan", "image", "--plain-http", "--all", "-o", "json"], arguments].concat())?;
    let report: Value = serde_json::from_str(&ran.stdout).with_context(|| format!("{ran:?}"))?;
    let of = |check: &&str| {
        let finding = report["findings"].as_array()?.iter().find(|finding| finding["id"] == **check)?;
        finding["status"].as_str().map(str::to_owned)
    };
    Ok((ran.code, checks.iter().filter_map(of).collect()))
}

#[test]
#[ignore = "needs docker-registry: tests/run"]
fn an_image_is_signed_or_not_by_a_key_that_is_trusted() -> Result<()> {
    let (registry, coffer) = (Registry::start()?, Coffer::new(Programs::built()?)?);
    let keys = [registry.key("release")?, registry.key("other")?].map(|path| path.display().to_string());
    let host = registry.port.address().to_string();
    let at = |repository: &str| format!("{host}/{repository}:1");
    let checked = |repository: &str, key: &str| judged(&coffer, &[&at(repository), "--cosign-key", key], &["IMG-18", "IMG-19"]);
    let (passed, unsigned) = ([0, 0].map(|_| "pass"), ["fail", "not_applicable"]);
    let expect = |what: &str, found: (i32, Vec<String>), code: i32, statuses: [&str; 2]| {
        ensure!(found.0 == code && found.1 == statuses, "{what}: {found:?}");
        Ok(())
    };

    let simple = registry.push("team/simple", "one")?;
    expect("before it is signed", checked("team/simple", &keys[0])?, 7, unsigned)?;
    registry.sign("release", "team/simple", &simple, &simple)?;
    expect("signed", checked("team/simple", &keys[0])?, 0, passed)?;
    expect("by another key", checked("team/simple", &keys[1])?, 7, unsigned)?;
    // Without a key nothing is asked of it.
    let found = judged(&coffer, &[&at("team/simple")], &["IMG-18", "IMG-19"])?;
    expect("no key", found, 0, ["not_applicable", "not_applicable"])?;

    let bundle = registry.push("team/bundle", "two")?;
    registry.bundle("release", "team/bundle", &bundle)?;
    expect("a bundle", checked("team/bundle", &keys[0])?, 0, passed)?;
    expect("a bundle by another", checked("team/bundle", &keys[1])?, 7, unsigned)?;

    let moved = registry.push("team/moved", "three")?;
    registry.sign("release", "team/moved", &moved, &simple)?;
    expect("of another image", checked("team/moved", &keys[0])?, 7, ["fail", "fail"])?;
    // Whoever attests has the vault refuse it: the failure is what is handed in.
    let ran = coffer.run(["scan", "image", "--plain-http", &at("team/moved"), "--cosign-key", &keys[0]])?;
    ensure!(ran.stdout.contains("it is about another image"), "{ran:?}");
    Ok(())
}

#[test]
#[ignore = "needs docker-registry: tests/run"]
fn registries_and_base_images_are_trusted_by_a_file() -> Result<()> {
    let (registry, coffer) = (Registry::start()?, Coffer::new(Programs::built()?)?);
    let image = registry.push("team/base", "one")?;
    registry.key("release")?;
    registry.sign("release", "team/base", &image, &image)?;
    let host = registry.port.address().to_string();
    let at = format!("{host}/team/base:1");
    let printed = coffer.run(["scan", "base", "--plain-http", &at])?;
    ensure!(printed.code == 0, "{printed:?}");
    let file = |name: &str, text: &str| -> Result<String> {
        let path = registry.builder.path(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let bases = file("bases.yaml", &printed.stdout)?;
    let key = fs::read_to_string(registry.builder.path("release.pub"))?.replace('\n', "\n  ");
    let trust = format!("registries: ['{host}/team']\ncosign_keys:\n- |\n  {key}\n{}", printed.stdout);
    let all = ["IMG-18", "IMG-19", "IMG-20", "IMG-21"];
    let found = judged(&coffer, &[&at, "--trust", &file("trust.yaml", &trust)?], &all)?;
    ensure!(found == (0, vec!["pass".to_owned(); 4]), "{found:?}");
    let found = judged(&coffer, &[&at, "--trusted-base", &bases, "--trusted-registry", "docker.io"], &all[2..])?;
    ensure!(found == (7, vec!["fail".to_owned(), "pass".to_owned()]), "{found:?}");
    // The longest file that is read, and one that is a byte longer.
    let padded = |bytes: usize| format!("{trust}#{}", "x".repeat(bytes - trust.len() - 1));
    let found = judged(&coffer, &[&at, "--trust", &file("long.yaml", &padded(TRUST_BYTES_MAX))?], &all)?;
    ensure!(found == (0, vec!["pass".to_owned(); 4]), "{found:?}");
    let ran =
        coffer.run(["scan", "image", "--plain-http", &at, "--trust", &file("longer.yaml", &padded(TRUST_BYTES_MAX + 1))?])?;
    ensure!(ran.code == 2 && ran.stderr.contains("longer.yaml"), "{ran:?}");
    for (arguments, told) in [
        (["--trust", &file("unknown.yaml", "registry: [a.example]\n")?], "unknown field `registry`"),
        (["--trusted-base", &file("more.yaml", &trust)?], "it has more than bases"),
        (["--trusted-registry", "busybox"], "\"busybox\" is no registry"),
        (["--signed-as", "a.example"], "no key that they are verified with"),
        (["--cosign-key", &registry.builder.path("release.key").display().to_string()], "something else than public keys"),
    ] {
        let ran = coffer.run([&["scan", "image", "--plain-http", &at], &arguments[..]].concat())?;
        ensure!(ran.code == 2 && ran.stderr.contains(told), "{arguments:?}: {ran:?}");
    }
    Ok(())
}
