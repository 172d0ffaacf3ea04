//! OpenBao as somebody runs it: one node on raft, TLS 1.3, an audit file.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_tests::{process::Process, wait};
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    load::{Load, Requests, Target, Then},
    scene::{CREATION, DATABASE_CONNECTIONS, JWT_ACCOUNT, KEEPER, REVOCATION, Scene, Side, Work, body, value},
};

/// A running OpenBao.
pub(crate) struct OpenBao {
    program: PathBuf,
    folder: TempDir,
    process: Process,
    address: SocketAddr,
    target: Target,
    token: String,
}

impl OpenBao {
    /// Starts and fills it.
    pub(crate) async fn start(program: &Path, scene: &Scene) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("compare-bao-").tempdir_in(&scene.disk)?;
        let file = |name: &str| folder.path().join(name);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?.self_signed(&key)?;
        fs::write(file("cert.pem"), certificate.pem())?;
        fs::write(file("key.pem"), key.serialize_pem())?;
        fs::create_dir(file("data"))?;
        let (address, cluster) = (free()?, free()?);
        let folder_path = folder.path().display();
        fs::write(
            file("bao.hcl"),
            format!(
                "storage \"raft\" {{\n  path = \"{folder_path}/data\"\n  node_id = \"a\"\n}}\n\
                 listener \"tcp\" {{\n  address = \"{address}\"\n  tls_cert_file = \"{folder_path}/cert.pem\"\n  \
                 tls_key_file = \"{folder_path}/key.pem\"\n}}\n\
                 audit \"file\" \"to-file\" {{\n  options {{\n    file_path = \"{folder_path}/audit.log\"\n  }}\n}}\n\
                 api_addr = \"https://{address}\"\ncluster_addr = \"https://{cluster}\"\nlog_level = \"warn\"\n"
            ),
        )?;
        let mut command = Command::new(program);
        command.env_clear().args(["server", "-config"]).arg(file("bao.hcl"));
        let process = Process::start(&mut command, &file("log"))?;
        let target = Target::new(address, certificate.pem().as_bytes(), None)?;
        let mut bao = Self { program: program.to_owned(), folder, process, address, target, token: String::new() };
        bao.set_up(scene).await.with_context(|| bao.process.log().unwrap_or_default())?;
        Ok(bao)
    }

    async fn set_up(&mut self, scene: &Scene) -> Result<()> {
        let fruits = wait::until(wait::PATIENCE, "OpenBao to be initialised", || {
            Ok(self.bao(&["operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json"], "").ok())
        })?;
        let fruits: Value = serde_json::from_str(&fruits)?;
        let text = |pointer: &str| fruits.pointer(pointer).and_then(Value::as_str).map(str::to_owned).context("it is text");
        let share = text("/unseal_keys_b64/0")?;
        self.token = text("/root_token")?;
        self.bao(&["operator", "unseal", &share], "")?;
        wait::until(wait::PATIENCE, "OpenBao to serve", || {
            Ok(self.bao(&["secrets", "enable", "-path=secret", "-version=2", "kv"], "").ok())
        })?;
        self.bao(
            &["policy", "write", "bench", "-"],
            "path \"secret/*\" { capabilities = [\"create\", \"update\", \"read\", \"list\"] }\n\
             path \"transit/encrypt/bench\" { capabilities = [\"update\"] }\n\
             path \"pki/issue/*\" { capabilities = [\"update\"] }\n\
             path \"database/creds/bench\" { capabilities = [\"read\"] }\n\
             path \"sys/leases/revoke\" { capabilities = [\"update\"] }",
        )?;
        self.bao(&["secrets", "enable", "-max-lease-ttl=8760h", "pki"], "")?;
        let ca = ["common_name=bench", "key_type=ec", "key_bits=256", "ttl=8760h"];
        self.bao(&[["write", "pki/root/generate/internal"].as_slice(), &ca].concat(), "")?;
        for (name, no_store) in [("stored", "no_store=false"), ("unstored", "no_store=true")] {
            let hosts = ["allowed_domains=bench.test", "allow_subdomains=true", "max_ttl=1h"];
            let role = ["key_type=ec", "key_bits=256", no_store];
            self.bao(&[["write", &format!("pki/roles/{name}")].as_slice(), &hosts, &role].concat(), "")?;
        }
        self.bao(&["secrets", "enable", "transit"], "")?;
        self.bao(&["write", "-force", "transit/keys/bench"], "")?;
        if let Some(port) = scene.database {
            self.set_up_database(port)?;
        }
        self.bao(&["auth", "enable", "jwt"], "")?;
        let issuer = format!("bound_issuer={}", scene.issuer.url());
        let key = format!("jwt_validation_pubkeys={}", scene.issuer_pem()?);
        self.bao(&["write", "auth/jwt/config", &issuer, &key], "")?;
        let role = json!({
            "role_type": "jwt", "user_claim": "sub", "bound_audiences": [coffer_tests::issuer::AUDIENCE],
            "token_policies": ["bench"], "token_type": "batch", "token_ttl": "1h",
        });
        self.bao(&["write", "auth/jwt/role/bench", "-"], &role.to_string())?;
        // As its users have it: the policy `default` comes with every token.
        let token = self.bao(&["token", "create", "-policy=bench", "-field=token"], "")?;
        token.trim().clone_into(&mut self.token);
        self.target.fill(4, scene.read_keys, &self.put("read", scene.read_keys)).await?;
        self.target.fill(4, scene.list_keys, &self.put("list", scene.list_keys)).await
    }

    /// Runs the command of OpenBao.
    fn bao(&self, arguments: &[&str], input: &str) -> Result<String> {
        let file = self.folder.path().join("input");
        fs::write(&file, input)?;
        let output = Command::new(&self.program)
            .env_clear()
            .env("BAO_ADDR", format!("https://{}", self.address))
            .env("BAO_CACERT", self.folder.path().join("cert.pem"))
            .env("BAO_TOKEN", &self.token)
            .env("HOME", self.folder.path())
            .args(arguments)
            .stdin(fs::File::open(&file)?)
            .output()?;
        ensure!(output.status.success(), "bao {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn set_up_database(&self, port: u16) -> Result<()> {
        let (user, password) = KEEPER;
        self.bao(&["secrets", "enable", "database"], "")?;
        let url = format!("postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{port}/postgres?sslmode=disable");
        let connection = json!({
            "plugin_name": "postgresql-database-plugin", "allowed_roles": "bench", "connection_url": url, "username": user,
            "password": password, "max_open_connections": DATABASE_CONNECTIONS, "max_idle_connections": DATABASE_CONNECTIONS,
        });
        self.bao(&["write", "database/config/bench", "-"], &connection.to_string())?;
        let role = json!({
            "db_name": "bench", "creation_statements": [CREATION], "revocation_statements": [REVOCATION], "default_ttl": "1h",
        });
        self.bao(&["write", "database/roles/bench", "-"], &role.to_string())?;
        Ok(())
    }

    /// Ends the user of an answer, and comes back when that is done.
    fn end(&self) -> Then {
        let (address, token) = (self.address, self.token.clone());
        Arc::new(move |answer| {
            let answer: Value = serde_json::from_slice(answer)?;
            let lease = answer.pointer("/lease_id").context("there is a lease")?;
            Ok(http(address, "PUT", "sys/leases/revoke", &token, json!({"lease_id": lease, "sync": true}).to_string()))
        })
    }

    fn certificates(&self, role: &'static str) -> Requests {
        let (address, token) = (self.address, self.token.clone());
        Arc::new(move |number| {
            let body = json!({"common_name": format!("host-{number}.bench.test")}).to_string();
            http(address, "POST", &format!("pki/issue/{role}"), &token, body)
        })
    }

    fn put(&self, folder: &'static str, keys: u64) -> Requests {
        let (address, token) = (self.address, self.token.clone());
        Arc::new(move |number| {
            let key = number.wrapping_mul(7_919) % keys;
            let body = json!({"data": {"value": STANDARD.encode(value(number))}}).to_string();
            http(address, "POST", &format!("secret/data/{folder}/{key}"), &token, body)
        })
    }
}

impl Side for OpenBao {
    fn process(&self) -> u32 {
        self.process.id()
    }

    fn target(&self) -> &Target {
        &self.target
    }

    fn load(&self, work: Work, scene: &Scene) -> Result<Load> {
        let (address, token) = (self.address, self.token.clone());
        let keys = scene.read_keys;
        let requests: Requests = match work {
            Work::Read => Arc::new(move |number| {
                http(address, "GET", &format!("secret/data/read/{}", number % keys), &token, String::new())
            }),
            Work::Write => self.put("write", scene.write_keys),
            Work::Login => {
                let body = json!({"role": "bench", "jwt": scene.token(JWT_ACCOUNT)?}).to_string();
                Arc::new(move |_| http(address, "POST", "auth/jwt/login", "", body.clone()))
            }
            Work::List => Arc::new(move |_| http(address, "LIST", "secret/metadata/list", &token, String::new())),
            Work::Pki => self.certificates("stored"),
            Work::PkiUnstored => self.certificates("unstored"),
            Work::Database => Arc::new(move |_| http(address, "GET", "database/creds/bench", &token, String::new())),
            Work::Transit => Arc::new(move |number| {
                let body = json!({"plaintext": STANDARD.encode(value(number))}).to_string();
                http(address, "POST", "transit/encrypt/bench", &token, body)
            }),
        };
        Ok(Load { then: (work == Work::Database).then(|| self.end()), ..Load::from(requests) })
    }
}

fn http(address: SocketAddr, method: &str, path: &str, token: &str, content: String) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(format!("https://{address}/v1/{path}"));
    let request = if token.is_empty() { request } else { request.header("x-vault-token", token) };
    body(request, Bytes::from(content))
}

/// A loopback port that nothing listens on.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
