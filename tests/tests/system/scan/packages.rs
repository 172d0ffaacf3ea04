//! Packages of an image that a real builder made: bills of materials, and advisories.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{command::Coffer, programs::Programs};
use serde_json::Value;

use super::{Builder, failures};

const STATUS: &str = "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nSource: openssl\nVersion: 3.0.1-1\n\n\
    Package: base\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n";

/// One of OSV's, with a name for what is mended.
fn osv(id: &str, aliases: &str, ecosystem: &str, package: &str, fixed: &str) -> String {
    format!(
        r#"{{ "id": "{id}", "modified": "2026-10-01T00:00:00Z", {aliases} "summary": "It leaks",
            "severity": [{{ "type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H" }}],
            "affected": [{{ "package": {{ "ecosystem": "{ecosystem}", "name": "{package}" }},
            "ranges": [{{ "type": "ECOSYSTEM", "events": [{{ "introduced": "0" }}, {{ "fixed": "{fixed}" }}] }}] }}] }}"#
    )
}

const RUSTSEC: &str = "```toml\n[advisory]\nid = \"RUSTSEC-2026-0001\"\npackage = \"serde\"\ndate = \"2026-04-01\"\naliases = [\"CVE-2026-9\"]\n\
    cvss = \"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H\"\n\n[versions]\npatched = [\">= 1.0.201\"]\n```\n\n# It stops\n";

/// A program with modules of Go and crates in it, and what Debian has installed.
fn root(root: &Path) -> Result<()> {
    for folder in ["app", "etc", "var/lib/dpkg", "usr/lib"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/program/both");
    fs::copy(program, root.join("app/run"))?;
    fs::write(root.join("usr/lib/os-release"), "ID=debian\nVERSION_ID=\"12\"\n")?;
    fs::write(root.join("var/lib/dpkg/status"), STATUS)?;
    Ok(())
}

#[test]
fn packages_are_listed_and_compared_with_advisories() -> Result<()> {
    let (builder, coffer) = (Builder::new()?, Coffer::new(Programs::built()?)?);
    builder.image("scratch", "packages:1", &["--user", "65532"], root)?;
    let at = |name: &str| builder.path(name).display().to_string();
    let layout = at("layout");
    builder.push("packages:1", &format!("oci:{layout}:1"))?;

    // The bill, twice the same.
    let bill = coffer.run(["scan", "image", &layout, "--sbom", "-"])?;
    ensure!(bill.code == 0 && bill.stdout == coffer.run(["scan", "image", &layout, "--sbom", "-"])?.stdout, "{bill:?}");
    let told: Value = serde_json::from_str(&bill.stdout)?;
    let purls: Vec<_> =
        told["components"].as_array().context("components")?.iter().filter_map(|one| one["purl"].as_str()).collect();
    let expected = [
        "pkg:deb/debian/base@1?arch=all&distro=debian-12",
        "pkg:deb/debian/libssl3@3.0.1-1?arch=amd64&distro=debian-12&upstream=openssl",
        "pkg:golang/example.com/app@v1.2.3",
        "pkg:golang/github.com/a/b@v1.2.3",
        "pkg:golang/github.com/e/d@v0.1.1",
        "pkg:golang/github.com/local",
        "pkg:golang/stdlib@1.23.4",
        "pkg:cargo/app@0.1.0",
        "pkg:cargo/serde@1.0.200",
    ];
    ensure!(purls == expected, "{purls:#?}");

    // Advisories of both formats, in one file.
    let advisories = builder.path("advisories");
    fs::create_dir_all(advisories.join("crates/serde"))?;
    fs::write(advisories.join("crates/serde/RUSTSEC-2026-0001.md"), RUSTSEC)?;
    fs::write(advisories.join("go.json"), osv("GO-2026-1", r#""aliases": ["CVE-2026-1"],"#, "Go", "stdlib", "1.23.5"))?;
    fs::write(advisories.join("again.json"), osv("GHSA-x", r#""aliases": ["CVE-2026-1"],"#, "Go", "stdlib", "1.23.5"))?;
    let debian = osv("DEBIAN-CVE-2026-2", r#""upstream": ["CVE-2026-2"],"#, "Debian:12", "openssl", "3.0.1-1+deb12u1");
    fs::write(advisories.join("debian.json"), debian)?;
    fs::write(advisories.join("mended.json"), osv("DEBIAN-CVE-2026-3", "", "Debian:12", "openssl", "3.0.1-1~deb12u1"))?;
    let file = at("advisories.coffer");
    let imported = coffer.run(["advisories", "import", &advisories.display().to_string(), "--to", &file, "-o", "json"])?;
    ensure!(imported.code == 0 && serde_json::from_str::<Value>(&imported.stdout)?["advisories"] == 5, "{imported:?}");

    let known = |arguments: &[&str]| -> Result<(i32, Vec<String>)> {
        let (code, failed) = failures(&coffer, &[&[layout.as_str(), "--advisories", &file], arguments].concat())?;
        let known = failed.iter().filter(|failed| failed.id == "IMG-25");
        Ok((code, known.map(|failed| format!("{}: {}", failed.subject, failed.evidence)).collect()))
    };
    let (code, found) = known(&[])?;
    let expected = [
        "openssl 3.0.1-1 (debian): CVE-2026-2 (DEBIAN-CVE-2026-2) fixed in 3.0.1-1+deb12u1; in libssl3: It leaks",
        "stdlib go1.23.4 (go): CVE-2026-1 (GHSA-x) fixed in 1.23.5; in /app/run: It leaks",
        "serde 1.0.200 (rust): CVE-2026-9 (RUSTSEC-2026-0001) fixed in 1.0.201; in /app/run: It stops",
    ];
    ensure!(code == 7 && found == expected, "{code}: {found:#?}");

    // Who answers for a package, or for one advisory by whatever name, is heard.
    let exceptions = builder.path("exceptions.yaml");
    let exception =
        |check: &str, more: &str| format!("- check: {check}\n  reason: not reached\n  owner: team\n  until: 2099-01-01\n{more}");
    let all =
        [exception("IMG-25", "  subject: \"openssl *\"\n"), exception("CVE-2026-1", ""), exception("RUSTSEC-2026-0001", "")];
    fs::write(&exceptions, format!("exceptions:\n{}", all.concat()))?;
    let (code, _) = known(&["--exceptions", &exceptions.display().to_string()])?;
    ensure!(code == 0, "{code}");
    Ok(())
}

#[test]
fn a_package_that_a_later_layer_removes_is_none_of_the_image_s() -> Result<()> {
    let (builder, coffer) = (Builder::new()?, Coffer::new(Programs::built()?)?);
    builder.image("scratch", "packages:1", &[], root)?;
    builder.image("localhost/packages:1", "packages:2", &[], |root| {
        fs::remove_file(root.join("app/run"))?;
        Ok(fs::write(root.join("var/lib/dpkg/status"), STATUS.split_inclusive("\n\n").next().context("a paragraph")?)?)
    })?;
    let layout = builder.path("layout").display().to_string();
    builder.push("packages:2", &format!("oci:{layout}:2"))?;
    let file = builder.path("bill.json");
    let ran = coffer.run(["scan", "image", &layout, "--sbom", &file.display().to_string(), "--fail-on", "none"])?;
    ensure!(ran.code == 0 && ran.stdout.contains("IMG-25"), "{ran:?}");
    let bill: Value = serde_json::from_slice(&fs::read(file)?)?;
    let names: Vec<_> = bill["components"].as_array().context("components")?.iter().map(|one| one["name"].as_str()).collect();
    ensure!(names == [Some("debian"), Some("libssl3")], "{names:?}");
    Ok(())
}

#[test]
fn advisories_that_cannot_be_read_are_refused_with_what_to_do() -> Result<()> {
    let coffer = Coffer::new(Programs::built()?)?;
    let at = |name: &str| coffer.home().join(name).display().to_string();
    fs::write(at("file"), "nothing")?;
    fs::create_dir(at("folder"))?;
    for (arguments, said) in [
        (["scan", "image", "app.tar", "--advisories", &at("none")], "cannot read"),
        (["scan", "image", "app.tar", "--advisories", &at("file")], "it is no file of advisories"),
        (["advisories", "import", &at("folder"), "--to", &at("new")], "there is no advisory about"),
        (["advisories", "import", &at("file"), "--to", &at("new")], "neither a folder nor a zip archive"),
    ] {
        let ran = coffer.run(arguments)?;
        ensure!(ran.code == 2 && ran.stderr.contains(said), "{arguments:?}: {ran:?}");
    }
    fs::write(at("folder/x.json"), r#"{"id":"X","modified":"x","affected":7}"#)?;
    let ran = coffer.run(["advisories", "import", &at("folder"), "--to", &at("new")])?;
    ensure!(ran.code == 2 && ran.stderr.contains("x.json is no advisory that can be read"), "{ran:?}");
    ensure!(!Path::new(&at("new")).exists(), "a file was left");
    Ok(())
}
