//! `examples/certificate` as it is written: a pod with a certificate of its own.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use coffer_tests::wait;

use super::{Deployed, POD_PATIENCE, applied};

const CERTIFICATE: &str = "/coffer/secrets/tls.crt";
const KEY: &str = "/coffer/secrets/tls.key";

fn openssl(arguments: &[&str]) -> Result<String> {
    let made = Command::new("openssl").args(arguments).output()?;
    ensure!(made.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
    Ok(String::from_utf8(made.stdout)?)
}

/// The pod has several certificates, one after the other, each with its key; none of the keys may be found anywhere.
pub(super) fn a_pod_has_a_certificate_of_its_own(deployed: &Deployed) -> Result<()> {
    let (cluster, admin) = (&deployed.cluster, &deployed.admin);
    admin.ok(["mount", "create", "pki", "--engine", "pki"])?;
    admin.ok(["pki", "ca", "create", "root", "--common-name", "Shop Root", "--ttl", "10y"])?;
    // A life that is short enough to see several.
    let role = ["pki", "role", "put", "service", "--allow", "{service_account}.{namespace}.svc", "--ttl", "6s"];
    admin.ok(role)?;
    deployed.officer.ok(["grant", "read", "pki/issue/service", "--to", "k8s:prod/*/*"])?;
    let file = |name: &str| admin.home().join(name).display().to_string();
    let (ca, certificate, key) = (file("root.pem"), file("web.pem"), file("web.key"));
    fs::write(&ca, admin.ok(["pki", "ca", "get", "root"])?)?;

    applied(cluster, "certificate/web.yaml")?;
    deployed.ready("web")?;
    let mut keys: Vec<String> = Vec::new();
    while keys.len() < 3 {
        // One command reads both: the files are swapped together.
        let both = wait::until(POD_PATIENCE, "another key", || {
            let both = deployed.in_pod("web", &["cat", CERTIFICATE, KEY])?;
            Ok((!keys.iter().any(|key| both.contains(key.as_str()))).then_some(both))
        })?;
        let at = both.find("-----BEGIN PRIVATE KEY-----").context("there is a key")?;
        let (chain, private) = both.split_at(at);
        fs::write(&certificate, chain)?;
        fs::write(&key, private)?;
        openssl(&["verify", "-CAfile", &ca, "-verify_hostname", "web.shop.svc", "-no_check_time", &certificate])?;
        let of_certificate = openssl(&["x509", "-in", &certificate, "-noout", "-pubkey"])?;
        if of_certificate != openssl(&["pkey", "-in", &key, "-pubout"])? {
            // Between the two files the one was swapped for the next.
            continue;
        }
        let body = private.lines().nth(1).context("a key has a body")?.to_owned();
        deployed.canaries.add("a certificate's private key", &body);
        keys.push(body);
    }
    deployed.delete("shop", "web")
}
