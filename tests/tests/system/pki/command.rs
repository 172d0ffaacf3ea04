//! `coffer pki`, as people use it.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::{command::Coffer, programs::Programs};
use serde_json::Value;

use crate::vault::{ADMIN, OFFICER, PASSWORD, Vault};

fn person(vault: &Vault, name: &str) -> Result<Coffer> {
    let coffer = Coffer::new(Programs::built()?)?;
    let ca = vault.server.ca();
    coffer.ok(["context", "set", "t", "--address", &vault.server.url()?, "--ca", ca.to_str().context("a plain path")?])?;
    coffer.ok_with(["login", name, "--password-file", "-"], PASSWORD)?;
    Ok(coffer)
}

fn json(coffer: &Coffer, arguments: &[&str]) -> Result<Value> {
    let text = coffer.ok(arguments.iter().copied().chain(["-o", "json"]))?;
    serde_json::from_str(&text).with_context(|| text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_a_role_and_a_certificate_are_a_command_each() -> Result<()> {
    let vault = Vault::new().await?;
    let admin = person(&vault, ADMIN)?;
    admin.ok(["mount", "create", "pki", "--engine", "pki"])?;
    let planned = admin.ok(["pki", "ca", "create", "root", "--common-name", "Shop Root", "--ttl", "10y", "--dry-run"])?;
    ensure!(planned.contains("Nothing was changed."), "{planned}");
    let made = admin.ok(["pki", "ca", "create", "root", "--common-name", "Shop Root", "--key-type", "p384", "--ttl", "10y"])?;
    ensure!(made.starts_with("CA pki/issuers/root made, the default one of its mount; it ends in "), "{made}");
    admin.ok([
        "pki",
        "role",
        "put",
        "web",
        "--allow",
        "web.shop.svc",
        "--allow",
        "10.0.0.0/8",
        "--ttl",
        "24h",
        "--max-ttl",
        "30d",
    ])?;
    let role = json(&admin, &["pki", "role", "get", "web"])?;
    ensure!(role["allowed_hosts"][0] == "web.shop.svc" && role["allowed_addresses"][0] == "10.0.0.0/8", "{role}");
    ensure!(role["ttl_seconds"] == 86_400 && role["max_ttl_seconds"] == 2_592_000 && role["ca_missing"] == false, "{role}");
    ensure!(admin.run(["pki", "role", "put", "web", "--allow", "a.svc", "--etag", "new"])?.code == 6, "there is one already");

    // Who writes roles uses none; an officer lets somebody.
    let refused = admin.run(["pki", "issue", "web", "--name", "web.shop.svc"])?;
    ensure!(refused.code == 3 && refused.stderr.contains("coffer grant read pki/issue/web"), "{}", refused.stderr);
    admin.ok_with(["user", "create", "dev", "--password-file", "-"], PASSWORD)?;
    let officer = person(&vault, OFFICER)?;
    officer.ok(["grant", "read", "pki/issue/web", "--to", "operator:dev"])?;
    officer.ok(["grant", "use", "pki/sign/web", "--to", "operator:dev"])?;
    let dev = person(&vault, "dev")?;

    let folder = dev.home().join("tls");
    let out = folder.to_str().context("a plain path")?;
    let said = dev.ok(["pki", "issue", "web", "--name", "web.shop.svc", "--out", out])?;
    ensure!(said.contains("for web.shop.svc, in ") && !said.contains("PRIVATE"), "{said}");
    for (file, begins) in [("tls.key", "PRIVATE KEY"), ("tls.crt", "CERTIFICATE"), ("ca.crt", "CERTIFICATE")] {
        let path = folder.join(file);
        ensure!(fs::read_to_string(&path)?.starts_with(&format!("-----BEGIN {begins}-----")), "{file}");
        ensure!(fs::metadata(&path)?.permissions().mode() & 0o777 == 0o600, "{file}");
    }
    let ca = admin.ok(["pki", "ca", "get", "root"])?;
    ensure!(fs::read_to_string(folder.join("ca.crt"))?.trim() == ca.trim());
    let piped = dev.ok(["pki", "issue", "web", "--name", "10.1.2.3", "--ttl", "1h", "--key-type", "p256"])?;
    ensure!(piped.starts_with("-----BEGIN PRIVATE KEY-----") && piped.matches("BEGIN CERTIFICATE").count() == 2, "{piped}");
    let issued = json(&dev, &["pki", "issue", "web", "--name", "web.shop.svc"])?;
    ensure!(issued["private_key"].as_str().is_some_and(|key| key.contains("PRIVATE KEY")) && issued["issuer"] == "root");
    let wrong = dev.run(["pki", "issue", "web", "--name", "evil.svc"])?;
    ensure!(wrong.code == 2 && wrong.stderr.contains("the role does not let evil.svc be asked for"), "{}", wrong.stderr);
    ensure!(dev.run(["pki", "issue", "web", "--name", "web.shop.svc", "--ttl", "31d"])?.code == 2);
    ensure!(dev.run_with(["pki", "sign", "web", "-"], "no request")?.code == 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_is_listed_taken_back_and_deleted_on_purpose_alone() -> Result<()> {
    let vault = Vault::new().await?;
    let admin = person(&vault, ADMIN)?;
    admin.ok(["mount", "create", "pki", "--engine", "pki"])?;
    admin.ok(["pki", "ca", "create", "root", "--common-name", "Shop Root", "--ttl", "10y"])?;
    admin.ok(["pki", "role", "put", "web", "--allow", "web.shop.svc"])?;
    admin.ok_with(["user", "create", "dev", "--password-file", "-"], PASSWORD)?;
    person(&vault, OFFICER)?.ok(["grant", "read", "pki/issue/web", "--to", "operator:dev"])?;
    let dev = person(&vault, "dev")?;
    dev.ok(["pki", "issue", "web", "--name", "web.shop.svc"])?;
    let folder = dev.home().join("tls");
    let out = folder.to_str().context("a plain path")?;

    // Taken back by the file, since the role keeps nothing; and only on purpose.
    admin.ok(["pki", "role", "put", "web", "--allow", "web.shop.svc", "--allow", "10.0.0.0/8", "--no-store"])?;
    dev.ok(["pki", "issue", "web", "--name", "web.shop.svc", "--out", out])?;
    let file = format!("@{out}/tls.crt");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    ensure!(admin.run(["pki", "revoke", &file])?.code == 2, "nobody was asked");
    let revoked = json(&admin, &["pki", "revoke", &file, "--yes", "--reason", "superseded"])?;
    ensure!(revoked["reason"] == "superseded", "{revoked}");
    let serial = revoked["serial"].as_str().context("it has a number")?;
    ensure!(admin.run(["pki", "revoke", serial, "--yes"])?.code == 3, "it is not kept");
    ensure!(json(&admin, &["pki", "crl", "root"])?["entries"] == 1);
    ensure!(admin.ok(["pki", "crl", "root"])?.starts_with("-----BEGIN X509 CRL-----"));
    let kept = json(&admin, &["pki", "cert", "list"])?;
    let kept = kept[0]["serial"].as_str().context("the first ones were kept")?;
    ensure!(admin.ok(["pki", "cert", "get", kept])?.starts_with("-----BEGIN CERTIFICATE-----"));
    ensure!(admin.run(["pki", "config", "--url", "https://vault.test"])?.code == 2);
    ensure!(admin.ok(["pki", "config", "--url", "http://vault.test:8201"])?.contains("http://vault.test:8201"));

    let list = admin.ok(["pki", "ca", "list"])?;
    ensure!(list.contains("root") && list.contains("CN=Shop Root") && list.contains("yes"), "{list}");
    ensure!(admin.ok(["pki", "role", "list"])?.contains("web.shop.svc and 1 more"));
    admin.ok(["pki", "ca", "create", "next", "--common-name", "Next", "--ttl", "10y"])?;
    admin.ok(["pki", "ca", "default", "next"])?;
    ensure!(json(&dev, &["pki", "issue", "web", "--name", "web.shop.svc"])?["issuer"] == "next");
    ensure!(admin.run(["pki", "ca", "delete", "next"])?.code == 2, "nobody was asked");
    admin.ok(["pki", "ca", "delete", "next", "--yes"])?;
    ensure!(dev.run(["pki", "issue", "web", "--name", "web.shop.svc"])?.code == 2, "there is no default CA");
    admin.ok(["pki", "role", "delete", "web", "--yes"])?;
    ensure!(json(&admin, &["pki", "role", "list"])? == Value::Array(Vec::new()));
    Ok(())
}
