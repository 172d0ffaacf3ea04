//! The images that users install, by the command that they build them with: here the agent's, which is built for these tests anyway.
//! All of them are in Kubernetes' hands with `tests/run --images`.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::cluster::Cluster;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Bytes in the agent's image, at most: every node pulls it.
const AGENT_IMAGE_BYTES_MAX: u64 = 10 << 20;
const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PROGRAM: &str = "coffer-agent";

/// Runs a command, which must succeed, and gives what it printed.
fn printed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?} cannot be started"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn git(arguments: &[&str]) -> Result<String> {
    Ok(printed(Command::new("git").current_dir(TOP).args(arguments))?.trim().to_owned())
}

fn read(path: &Path) -> Result<Value> {
    serde_json::from_slice(&fs::read(path)?).with_context(|| path.display().to_string())
}

/// The agent's image, from its archive.
struct Image {
    output: TempDir,
    /// What the command printed of it: a reference with a digest.
    reference: String,
    digest: String,
    config: Value,
    /// Bytes that a node pulls.
    bytes: u64,
    /// The files of its layer: mode, owner, bytes and time, as `tar` shows them, by name.
    files: BTreeMap<String, String>,
    root: PathBuf,
}

impl Image {
    fn pushed(cluster: &Cluster) -> Result<Self> {
        let output = tempfile::tempdir()?;
        let references = cluster.push_shipped(&["agent"], output.path())?;
        let [reference] = references.as_slice() else { anyhow::bail!("printed {references:?}") };
        let (archive, root) = (output.path().join("archive"), output.path().join("root"));
        fs::create_dir(&archive)?;
        fs::create_dir(&root)?;
        let unpack = |from: &Path, to: &Path| printed(Command::new("tar").arg("-xf").arg(from).arg("-C").arg(to));
        unpack(&output.path().join("coffer-agent.oci.tar"), &archive)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).with_context(|| format!("{value} is no text"));
        let blob = |digest: &str| archive.join("blobs").join(digest.replace(':', "/"));
        let digest = text(&read(&archive.join("index.json"))?["manifests"][0]["digest"])?;
        let manifest = read(&blob(&digest))?;
        let layers = manifest["layers"].as_array().context("layers")?;
        ensure!(layers.len() == 1, "one layer, and nothing below it: {layers:?}");
        let layer = blob(&text(&layers[0]["digest"])?);
        unpack(&layer, &root)?;
        let listed = printed(
            Command::new("tar")
                .env("TZ", "UTC")
                .args(["--list", "--verbose", "--numeric-owner", "--full-time", "-f"])
                .arg(&layer),
        )?;
        let files = listed.lines().filter_map(|line| line.rsplit_once(' ')).filter(|(_, name)| !name.ends_with('/'));
        Ok(Self {
            reference: reference.clone(),
            config: read(&blob(&text(&manifest["config"]["digest"])?))?,
            bytes: fs::metadata(&layer)?.len() + fs::metadata(blob(&text(&manifest["config"]["digest"])?))?.len(),
            files: files.map(|(about, name)| (name.to_owned(), about.split_whitespace().collect::<Vec<_>>().join(" "))).collect(),
            digest,
            output,
            root,
        })
    }

    fn program(&self) -> PathBuf {
        self.root.join(PROGRAM)
    }

    /// The bill of materials in the image.
    fn bill(&self) -> Result<Value> {
        read(&self.root.join("usr/share/doc/coffer-agent/coffer-agent.cdx.json"))
    }
}

#[test]
#[ignore = "needs Kubernetes, for its registry: tests/run"]
fn the_agents_image_is_a_small_static_program_that_says_where_it_is_from() -> Result<()> {
    let cluster = Cluster::of_this_run()?;
    let image = Image::pushed(&cluster)?;
    let registry = cluster.registry()?;
    ensure!(image.reference == format!("{registry}/coffer-agent:{}@{}", env!("CARGO_PKG_VERSION"), image.digest));
    ensure!(image.bytes <= AGENT_IMAGE_BYTES_MAX, "{} bytes", image.bytes);

    let config = &image.config["config"];
    ensure!(config["User"] == "65532:65532" && config["Entrypoint"] == json!(["/coffer-agent"]), "{config}");
    ensure!(config["Cmd"].is_null() && config["Volumes"].is_null() && config["ExposedPorts"].is_null(), "{config}");
    let committed: i64 = git(&["log", "-1", "--format=%ct"])?.parse()?;
    let created = printed(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d"]).arg(format!("@{committed}")))?;
    ensure!(image.config["created"] == created.trim(), "{}", image.config["created"]);
    let labels = config["Labels"].as_object().context("labels")?;
    let label = |name: &str| labels.get(&format!("org.opencontainers.image.{name}")).and_then(Value::as_str).unwrap_or_default();
    ensure!(label("title") == PROGRAM && label("version") == env!("CARGO_PKG_VERSION"), "{labels:?}");
    ensure!(label("created") == created.trim() && label("licenses") == "Apache-2.0", "{labels:?}");
    ensure!(label("revision").trim_end_matches("-dirty") == git(&["rev-parse", "HEAD"])?, "{labels:?}");
    ensure!(label("source") == env!("CARGO_PKG_REPOSITORY") && !label("description").is_empty(), "{labels:?}");

    // Nothing but the program and what is said of it: no shell, no user's file, nothing that the program's user may write.
    let names: Vec<&str> = image.files.keys().map(String::as_str).collect();
    let doc = "usr/share/doc/coffer-agent";
    ensure!(names == [PROGRAM, &format!("{doc}/LICENSE"), &format!("{doc}/coffer-agent.cdx.json")], "{names:?}");
    let time = created.trim().replace('T', " ").replace('Z', "");
    for (name, about) in &image.files {
        let mode = if name == PROGRAM { "-r-xr-xr-x" } else { "-r--r--r--" };
        ensure!(about.starts_with(&format!("{mode} 0/0 ")) && about.ends_with(&time), "{name}: {about}");
    }

    let program = image.program();
    let headers = printed(Command::new("readelf").args(["--wide", "--program-headers", "--dynamic"]).arg(&program))?;
    ensure!(headers.contains("LOAD") && !headers.contains("INTERP") && !headers.contains("NEEDED"), "not static: {headers}");
    let version = printed(Command::new(&program).arg("--version").env_clear())?;
    ensure!(version.trim() == format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION")), "{version}");
    // Where it was built is nobody's business, and differs from machine to machine.
    let home = PathBuf::from(std::env::var_os("HOME").context("HOME")?);
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let bytes = fs::read(&program)?;
    let has = |text: &str| memmem(&bytes, text.as_bytes());
    ensure!(has("/cargo/registry/src/"), "paths of dependencies are there, so that a panic says where it was");
    for folder in [fs::canonicalize(TOP)?, fs::canonicalize(cargo)?] {
        let folder = folder.to_str().context("a plain path")?;
        ensure!(!has(folder), "{folder} is in the program");
    }

    // What was pushed is what Helm installs with the values that were written.
    let values = read(&image.output.path().join("values.yaml"))?;
    let expected =
        json!({ "repository": format!("{registry}/coffer-agent"), "tag": env!("CARGO_PKG_VERSION"), "digest": image.digest });
    ensure!(values == json!({ "injector": { "agentImage": expected } }), "{values}");
    let manifest = printed(
        Command::new("helm")
            .args(["template", "coffer", &format!("{TOP}/charts/coffer"), "--set", "injector.vaultCA=ca", "--values"])
            .arg(image.output.path().join("values.yaml")),
    )?;
    ensure!(manifest.contains(&format!("--agent-image={registry}/coffer-agent@{}", image.digest)), "{manifest}");
    Ok(())
}

#[test]
#[ignore = "needs Kubernetes, for its registry: tests/run"]
fn the_bill_of_materials_names_what_is_in_the_program_and_nothing_else() -> Result<()> {
    let image = Image::pushed(&Cluster::of_this_run()?)?;
    let bill = image.bill()?;
    ensure!(bill["bomFormat"] == "CycloneDX" && bill["specVersion"] == "1.5" && bill["serialNumber"].is_null(), "{bill}");
    ensure!(bill == read(&image.output.path().join("coffer-agent.cdx.json"))?, "the file beside the image is another");
    ensure!(bill["metadata"]["component"]["name"] == PROGRAM, "{}", bill["metadata"]);

    // The versions and checksums of Cargo.lock.
    let lock: toml::Table = toml::from_str(&fs::read_to_string(Path::new(TOP).join("Cargo.lock"))?)?;
    let locked: BTreeMap<(&str, &str), Option<&str>> = lock["package"]
        .as_array()
        .context("packages")?
        .iter()
        .filter_map(|package| {
            let text = |name: &str| package.get(name).and_then(toml::Value::as_str);
            Some(((text("name")?, text("version")?), text("checksum")))
        })
        .collect();
    let components = bill["components"].as_array().context("components")?;
    let mut names = Vec::new();
    for component in components.iter().filter(|component| component["bom-ref"] != "rust") {
        let text = |name: &str| component[name].as_str().with_context(|| format!("{name} of {component}"));
        let (name, version) = (text("name")?, text("version")?);
        let checksum = locked.get(&(name, version)).with_context(|| format!("{name} {version} is not in Cargo.lock"))?;
        ensure!(component["hashes"][0]["content"].as_str() == *checksum, "{component}");
        let purl = format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"));
        // Coffer's own are in no registry.
        let whole = text("purl")?.split('?').next() == Some(&purl) && text("purl")?.contains("?vcs_url=") == checksum.is_none();
        ensure!(whole && !component["licenses"][0]["expression"].is_null(), "{component}");
        names.push(name);
    }
    for name in [PROGRAM, "coffer-client", "rustls", "ring", "tonic", "tokio"] {
        ensure!(names.contains(&name), "{name} is not among {names:?}");
    }
    // Of the tests, of the build, of macros, and of other programs.
    for name in ["tempfile", "cc", "protox", "serde_derive", "syn", "x509-parser", "sled", "cedar-policy", "kube"] {
        ensure!(!names.contains(&name), "{name} is not in the program");
    }

    // Every dependency leads to a component, and each is reached from the image.
    let dependencies = bill["dependencies"].as_array().context("dependencies")?;
    let edges: BTreeMap<&str, Vec<&str>> = dependencies
        .iter()
        .filter_map(|one| Some((one["ref"].as_str()?, one["dependsOn"].as_array()?.iter().filter_map(Value::as_str).collect())))
        .collect();
    let mut reached = std::collections::BTreeSet::new();
    let mut next = vec![bill["metadata"]["component"]["bom-ref"].as_str().context("the image")?];
    while let Some(one) = next.pop() {
        if reached.insert(one) {
            next.extend(edges.get(one).into_iter().flatten());
        }
    }
    ensure!(reached.len() == components.len() + 1, "{} of {} are reached", reached.len(), components.len());
    Ok(())
}

#[test]
#[ignore = "needs Kubernetes, for its registry: tests/run"]
fn the_same_source_makes_the_same_image() -> Result<()> {
    let cluster = Cluster::of_this_run()?;
    let first = Image::pushed(&cluster)?;
    let again = |top: &Path, target: Option<&Path>| -> Result<Value> {
        let output = tempfile::tempdir()?;
        // A machine with habits of its own.
        let mut build = Command::new("bash");
        build.args(["-c", "umask 077; exec images/build --output \"$0\" agent"]).arg(output.path()).current_dir(top);
        build.envs([("TZ", "Asia/Kathmandu"), ("RUSTFLAGS", "-Cdebuginfo=2"), ("CFLAGS", "-O0"), ("LC_ALL", "C.UTF-8")]);
        if let Some(target) = target {
            build.env("CARGO_TARGET_DIR", target);
        }
        let line = printed(&mut build)?;
        let images = read(&output.path().join("images.json"))?;
        ensure!(line.trim().ends_with(images[0]["digest"].as_str().context("a digest")?), "{line}: {images}");
        Ok(images[0]["digest"].clone())
    };
    ensure!(again(Path::new(TOP), None)? == first.digest, "built once more");
    // From another folder nothing is there already: that takes minutes.
    if crate::long() {
        ensure!(
            !git(&["rev-parse", "HEAD"])?.is_empty() && !first.config.to_string().contains("-dirty"),
            "commit first: a clone has no changes"
        );
        let elsewhere = tempfile::tempdir()?;
        let clone = elsewhere.path().join("clone");
        printed(Command::new("git").args(["clone", "--quiet", TOP]).arg(&clone))?;
        ensure!(again(&clone, Some(&elsewhere.path().join("built")))? == first.digest, "built in another folder");
    }
    Ok(())
}

#[test]
#[ignore = "needs what images/build needs: tests/run"]
fn the_command_says_how_it_is_used_and_refuses_what_it_does_not_know() -> Result<()> {
    let build = Path::new(TOP).join("images/build");
    ensure!(fs::metadata(&build)?.permissions().mode() & 0o111 == 0o111);
    ensure!(printed(Command::new(&build).arg("--help"))?.starts_with("usage: images/build"));
    for arguments in [["nothing"].as_slice(), &["--push"], &["--push", "--tag"], &["--tag", ""], &["--quick"]] {
        let refused = Command::new(&build).args(arguments).output()?;
        ensure!(refused.status.code() == Some(2) && refused.stdout.is_empty(), "{arguments:?}: {refused:?}");
        ensure!(String::from_utf8_lossy(&refused.stderr).starts_with("usage: "), "{arguments:?}: {refused:?}");
    }
    Ok(())
}

fn memmem(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
