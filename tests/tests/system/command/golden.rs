//! A vault as the first version wrote it, with something of everything in it: every later version reads it, and goes on with it.
//!
//! It is kept as a snapshot, with what opens it and what was seen in it, and is written once, by [`write`], when there is a new format.

use std::{collections::BTreeMap, fs, mem, path::Path, sync::Arc};

use age::{secrecy::ExposeSecret as _, x25519::Identity};
use anyhow::{Context as _, Result, ensure};
use coffer_client::proto::InitResponse;
use coffer_tests::{command::Coffer, postgres::Postgres, programs::Programs, server::Server};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Office, person};
use crate::vault::{ADMIN, OFFICER, Vault};

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/vault-1.snapshot");
const SEEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/vault-1.json");

/// What shows everything in the vault that does not change by itself.
const LOOKS: &[&str] = &[
    "mount list",
    "kv metadata get kv/dev/db",
    "database connection list",
    "database role get app",
    "pki ca list",
    "pki role get web",
    "transit key get sealing",
    "transit key get signing",
    "kubernetes role get view",
    "user list",
];

/// What opens the vault, and what was seen in it.
#[derive(Serialize, Deserialize)]
struct Golden {
    shares: Vec<String>,
    identity: String,
    ciphertext: String,
    signature: String,
    lease: String,
    static_users: Vec<String>,
    seen: BTreeMap<String, Value>,
}

fn look(coffer: &Coffer, command: &str) -> Result<Value> {
    let text = coffer.ok(command.split(' ').chain(["-o", "json"]))?;
    serde_json::from_str(&text).with_context(|| text)
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    Ok(value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("{pointer} of {value}"))?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes the golden vault of a new format; run it by hand, once, with other names for the files"]
async fn write() -> Result<()> {
    let office = Office::new().await?;
    let (admin, officer, developer) = (&office.admin, &office.officer, &office.developer);
    let file = |name: &str| admin.home().join(name).display().to_string();
    developer.ok(["kv", "put", "kv/dev/db", "user=golden"])?;
    developer.ok(["kv", "put", "kv/dev/db", "user=golden", "password=hunter2"])?;
    for engine in ["database", "pki", "transit", "kubernetes"] {
        admin.ok(["mount", "create", engine, "--engine", engine])?;
    }
    for path in ["database/creds/app", "database/static-creds/reports", "pki/issue/web"] {
        officer.ok(["grant", "read", path, "--to", "operator:dev"])?;
    }
    officer.ok(["grant", "use", "transit/**", "--to", "operator:dev"])?;
    fs::write(
        file("policy"),
        "forbid (principal, action == Action::\"read\", resource in Folder::\"kv/prod\") unless { context.pod.known };",
    )?;
    officer.ok(["policy", "put", "pods-only", &format!("@{}", file("policy"))])?;

    let postgres = Postgres::start()?;
    postgres.sql("CREATE ROLE coffer LOGIN CREATEROLE PASSWORD 'keeper'; CREATE ROLE a LOGIN; CREATE ROLE b LOGIN")?;
    let port = postgres.port().to_string();
    let to = ["--host", "127.0.0.1", "--port", &port, "--database", "postgres", "--user", "coffer", "--plaintext"];
    admin.ok_with(["database", "connection", "put", "shop", "--password-file", "-"].into_iter().chain(to), "keeper")?;
    let create = "CREATE ROLE {{name}} LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'";
    admin.ok([
        "database",
        "role",
        "put",
        "app",
        "--connection",
        "shop",
        "--create",
        create,
        "--ttl",
        "1h",
        "--max-ttl",
        "24h",
    ])?;
    admin.ok(["database", "static-role", "put", "reports", "--connection", "shop", "--user", "a", "--user", "b"])?;
    let lease = text(&look(developer, "issue database/creds/app")?, "/lease/id")?;

    admin.ok(["pki", "ca", "create", "root", "--common-name", "Golden Root", "--ttl", "30y"])?;
    admin.ok(["pki", "ca", "create", "other", "--common-name", "Golden Other", "--ttl", "30y", "--key-type", "ed25519"])?;
    admin.ok(["pki", "role", "put", "web", "--allow", "web.shop.svc", "--ttl", "24h", "--max-ttl", "30d"])?;
    // Kept for some weeks after their ends: they are read now, and gone one day.
    let issued = look(developer, "issue pki/issue/web common_name=web.shop.svc --ttl 30d")?;
    fs::write(file("web.pem"), text(&issued, "/fields/certificate")?)?;
    admin.ok(["pki", "revoke", &format!("@{}", file("web.pem")), "--yes"])?;

    admin.ok(["transit", "key", "create", "sealing"])?;
    admin.ok(["transit", "key", "rotate", "sealing"])?;
    admin.ok(["transit", "key", "create", "signing", "--type", "ecdsa-p256"])?;
    let ciphertext = developer.ok_with(["transit", "encrypt", "sealing", "-"], "golden")?.trim().to_owned();
    let signature = developer.ok_with(["transit", "sign", "signing", "-"], "golden")?.trim().to_owned();

    fs::write(file("ca.pem"), fs::read(office.vault.server.ca())?)?;
    fs::write(file("jwks.json"), office.vault.issuer.jwks().to_string())?;
    let (jwks, ca) = (format!("@{}", file("jwks.json")), format!("@{}", file("ca.pem")));
    let cluster = ["--issuer", "https://golden.test", "--jwks", &jwks, "--api-server=https://127.0.0.1:1", "--api-ca", &ca];
    admin.ok(["cluster", "create", "golden"].into_iter().chain(cluster).chain(["--pod-check", "none"]))?;
    let of = ["--cluster", "golden", "--namespace", "shop", "--cluster-role", "view", "--ttl", "15m"];
    admin.ok(["kubernetes", "role", "put", "view"].into_iter().chain(of))?;

    let identity = Identity::generate();
    admin.ok(["operator", "snapshot", "save", SNAPSHOT, "--recipient", &identity.to_public().to_string()])?;
    let golden = Golden {
        shares: office.vault.fruits.shares.clone(),
        identity: identity.to_string().expose_secret().to_owned(),
        ciphertext,
        signature,
        lease,
        static_users: vec!["a".to_owned(), "b".to_owned()],
        seen: LOOKS.iter().map(|command| Ok(((*command).to_owned(), look(admin, command)?))).collect::<Result<_>>()?,
    };
    let seen = serde_json::to_string_pretty(&golden)? + "\n";
    // Never over an older one.
    std::io::Write::write_all(&mut fs::File::create_new(SEEN)?, seen.as_bytes())?;
    Ok(())
}

/// The vault, on a server of this version.
async fn restored(golden: &Golden) -> Result<Vault> {
    let mut server = Server::new(Programs::built()?)?;
    server.start()?;
    let (local, folder) = (Coffer::new(Programs::built()?)?, tempfile::tempdir()?);
    let key = folder.path().join("key");
    fs::write(&key, &golden.identity)?;
    let restore = ["--address", &server.socket_url(), "operator", "snapshot", "restore", SNAPSHOT, "--identity"];
    local.ok(restore.iter().copied().map(str::as_ref).chain([key.as_os_str()]))?;
    let mut vault = Vault::on(Server::new(Programs::built()?)?).await?;
    drop(mem::replace(&mut vault.server, server));
    vault.fruits = Arc::new(InitResponse { shares: golden.shares.clone(), ..InitResponse::default() });
    vault.unseal().await?;
    Ok(vault)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_of_the_first_format_is_read_and_goes_on() -> Result<()> {
    let golden: Golden = serde_json::from_str(&fs::read_to_string(SEEN)?)?;
    ensure!(Path::new(SNAPSHOT).exists());
    let vault = restored(&golden).await?;
    let (admin, developer) = (person(&vault, ADMIN)?, person(&vault, super::DEVELOPER)?);
    for command in LOOKS {
        let (seen, now) = (golden.seen.get(*command).with_context(|| (*command).to_owned())?, look(&admin, command)?);
        ensure!(now == *seen, "{command}: {now:#}\nrather than {seen:#}");
    }
    ensure!(developer.ok(["kv", "get", "kv/dev/db", "--field", "password"])?.trim() == "hunter2");
    ensure!(developer.ok(["kv", "get", "kv/dev/db", "--version", "1", "--field", "user"])?.trim() == "golden");
    ensure!(person(&vault, OFFICER)?.ok(["policy", "list"])?.contains("pods-only"));
    // A lease that ended meanwhile is known, and goes on being ended until its database is back.
    ensure!(look(&admin, "lease list")?.to_string().contains(&golden.lease));
    let static_role = look(&admin, "database static-role get reports")?.to_string();
    ensure!(golden.static_users.iter().all(|user| static_role.contains(&format!("\"{user}\""))), "{static_role}");
    ensure!(look(&admin, "cluster list")?.to_string().contains("golden"));

    let decrypted = developer.ok_with(["transit", "decrypt", "sealing", "-"], &golden.ciphertext)?;
    ensure!(decrypted == "golden", "{decrypted}");
    developer.ok_with(["transit", "verify", "signing", "-", "--signature", &golden.signature], "golden")?;
    admin.ok(["transit", "key", "rotate", "sealing"])?;
    let issued = look(&developer, "issue pki/issue/web common_name=web.shop.svc")?;
    ensure!(issued.to_string().contains("BEGIN CERTIFICATE"), "{issued}");
    ensure!(developer.ok(["kv", "put", "kv/dev/db", "user=next"]).is_ok());
    Ok(())
}
